"""How the liveness network learns: looks made once, the joint teacher's soft answer, and the truth beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.int8.quantization_aware import fold
from models.networks.minifasnet import MiniFASNet
from models.networks.pad import NEAR_TEACHERS, WIDE_TEACHERS, TwoLooks
from models.pad.teachers import CLIP, joint, load_teacher

FIELDS = ("near", "wide", "teachers", "live", "kind", "source", "fills")
LEAN, LEAN_RECORDED = 0.5, 2.0  # of the target logit toward the truth; recordings are real, simulations not
BESIDE = 0.1  # weight of each teacher's own answer
RIDGE = 0.1  # of the features' variance
FITTED = 4_000  # looks that the first answers are fitted to
REFRESH = 200  # batches between looks for new parts


@dataclass
class Looks:
    """Looks of a folder's parts: near (N, 128, 128, 3), wide (N, 80, 80, 3) uint8, teachers (N, 6), truth and kind."""

    folder: Path
    part: str
    paths: list[Path]
    values: dict[str, list[npt.NDArray]]

    @classmethod
    def open(cls, folder: Path, part: str) -> Looks:
        looks = cls(folder, part, [], {name: [] for name in FIELDS})
        looks.refresh()
        return looks

    def refresh(self) -> None:
        """Read the parts that were made since."""
        for path in sorted(self.folder.glob(f"{self.part}-*.npz")):
            if path in self.paths or path.name.endswith(".tmp.npz"):
                continue
            with np.load(path) as file:
                for name in FIELDS:
                    self.values[name].append(file[name])
            self.paths.append(path)

    def __len__(self) -> int:
        return sum(map(len, self.values["live"]))

    def rows(self, chosen: npt.NDArray[np.int64]) -> dict[str, npt.NDArray]:
        """Return some looks; parts are of one size."""
        size = len(self.values["live"][0])
        return {
            name: np.stack([parts[row // size][row % size] for row in chosen])
            for name, parts in self.values.items()
        }

    def all(self, name: str) -> npt.NDArray:
        return np.concatenate(self.values[name])

    def target(self) -> npt.NDArray[np.floating]:
        return joint(self.all("teachers").astype(np.float32))

    def stream(self, size: int, seed: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield near, wide, teachers and target without end from batch `start` on; half of the looks mirrored."""
        for number in range(start, 2**40):
            if number % REFRESH == 0:
                self.refresh()
            rng = np.random.default_rng((seed, number))
            rows = self.rows(rng.integers(len(self), size=size))
            turned = rng.random(size) < 0.5
            near, wide = (mirrored(rows[name], turned) for name in ("near", "wide"))
            teachers = rows["teachers"].astype(np.float32)
            lean = np.where(rows["source"] == "recorded", LEAN_RECORDED, LEAN)
            target = joint(teachers) + np.where(rows["live"], lean, -lean)
            yield near, wide, torch.from_numpy(teachers), torch.from_numpy(target.astype(np.float32))


def mirrored(looks: npt.NDArray[np.uint8], turned: npt.NDArray[np.bool_]) -> Tensor:
    looks[turned] = looks[turned][:, :, ::-1]
    return to_input(looks)


def to_input(looks: npt.NDArray[np.uint8]) -> Tensor:
    """Return looks (N, H, W, 3) uint8 as the network takes them: (N, 3, H, W) in [0, 1]."""
    pictures = torch.from_numpy(looks).permute(0, 3, 1, 2).float().div_(255)
    return pictures.contiguous(memory_format=torch.channels_last)


class JointLoss(nn.Module):
    """The objective "joint": cross-entropy to the target's share, and each teacher's own logit beside it.

    With `late`, the objective "late", the early layers stay as they are: they have seen real recordings, and three
    quarters of the time is theirs. What learns runs in float32: depthwise gradients are slower in bfloat16.
    """

    def __init__(self, student: TwoLooks, *, late: bool = False) -> None:
        super().__init__()
        self.student, self.fixed = student, late

    def answers(self, trunk: MiniFASNet, looks: Tensor) -> Tensor:
        if self.fixed:
            with torch.no_grad():
                looks = trunk.early(looks).float()
        with torch.autocast(looks.device.type, enabled=False):
            maps = looks if self.fixed else trunk.early(looks)
            return trunk.answer(trunk.late(maps)).flatten(1)

    def forward(
        self, near: Tensor, wide: Tensor, teachers: Tensor, target: Tensor, progress: float
    ) -> dict[str, Tensor]:
        n, w = self.answers(self.student.near, near), self.answers(self.student.wide, wide)
        logit = n[:, 0] + w[:, 0]
        answer = F.binary_cross_entropy_with_logits(logit, target.sigmoid())
        floor = F.binary_cross_entropy_with_logits(target, target.sigmoid())
        beside = F.smooth_l1_loss(n[:, 1:], teachers[:, NEAR_TEACHERS]) * len(NEAR_TEACHERS)
        beside = beside + F.smooth_l1_loss(w[:, 1:], teachers[:, WIDE_TEACHERS]) * len(WIDE_TEACHERS)
        shape = F.smooth_l1_loss(logit, target.clamp(-CLIP, CLIP))
        return {
            "total": answer + BESIDE * (beside + 2 * shape),
            "answer": (answer - floor).detach(),
            "beside": beside.detach(),
        }


@torch.no_grad()
def load_parents(folder: Path, near: str, wide: str) -> TwoLooks:
    """Return two teachers' trunks as they were published, with PReLUs; their answers are random.

    Raises:
        ValueError: the near one has no gates, or the wide one has some.
    """
    parents = TwoLooks(parents=True)
    copy_trunk(parents.near, load_teacher(folder / f"pad_teacher_{near}.onnx"))
    copy_trunk(parents.wide, load_teacher(folder / f"pad_teacher_{wide}.onnx"))
    stem = parents.wide.trunk[0][0]  # Silent-Face wants BGR in [0, 255]
    stem.weight.copy_(stem.weight.flip(1) * 255)
    for trunk in (parents.near, parents.wide):
        trunk.eval().to(memory_format=torch.channels_last)
    return parents


@torch.no_grad()
def inherit(parents: TwoLooks, looks: Looks, count: int = FITTED) -> TwoLooks:
    """Fit the parents' answers to looks by ridge regression; return the network with all of theirs but the slopes."""
    rows = some_looks(looks, count)
    features = [trunk_features(parents.near, rows["near"]), trunk_features(parents.wide, rows["wide"])]
    teachers = rows["teachers"].astype(np.float32)
    target = torch.from_numpy(joint(teachers).astype(np.float32))
    weight, bias = ridge(torch.cat(features, dim=1), target[:, None])
    half = features[0].shape[1]
    for trunk, found, own, chosen in (
        (parents.near, weight[:, :half], features[0], NEAR_TEACHERS),
        (parents.wide, weight[:, half:], features[1], WIDE_TEACHERS),
    ):
        beside, offset = ridge(own, torch.from_numpy(teachers[:, chosen]))
        trunk.answer.weight.copy_(torch.cat([found, beside])[..., None, None])
        trunk.answer.bias.copy_(torch.cat([bias / 2, offset]))
    network = TwoLooks().to(memory_format=torch.channels_last)
    network.load_state_dict(parents.state_dict(), strict=False)  # all but the slopes
    return network


def some_looks(looks: Looks, count: int) -> dict[str, npt.NDArray]:
    """Return `count` looks that answers are fitted to."""
    return looks.rows(np.random.default_rng(0).permutation(len(looks))[:count])


@torch.no_grad()
def trunk_features(trunk: MiniFASNet, looks: npt.NDArray[np.uint8]) -> Tensor:
    """Return what a trunk's answers are linear in (N, 512), of looks (N, side, side, 3)."""
    with torch.autocast("cpu", torch.bfloat16):
        found = [
            trunk.late(trunk.early(to_input(part))).flatten(1).float() for part in np.array_split(looks, 64)
        ]
    return torch.cat(found)


def copy_trunk(network: MiniFASNet, teacher: MiniFASNet) -> None:
    """Copy all but the answers into a network that is folded."""
    values = {n: v for n, v in fold(teacher).state_dict().items() if not n.startswith("answer")}
    left = network.load_state_dict(values, strict=False)
    if left.unexpected_keys or any(not name.startswith("answer") for name in left.missing_keys):
        raise ValueError("the teacher's table is not this network's: near needs gates, wide none")


def ridge(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (T, D) and bias (T,) of the ridge regression of targets (N, T) on features (N, D)."""
    x, y = features.double(), targets.double()
    mean, level = x.mean(0), y.mean(0)
    x, y = x - mean, y - level
    gram = x.T @ x
    gram += RIDGE * len(x) * x.var() * torch.eye(x.shape[1], dtype=torch.double) * 0.1
    weight = torch.linalg.solve(gram, x.T @ y).T
    return weight.float(), (level - weight @ mean).float()
