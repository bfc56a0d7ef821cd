"""The liveness network: one trunk looks at the aligned face, another at what stands around it.

MobileNetV2's blocks (arXiv 1801.04381, Table 1) in tables of their own. The near trunk looks for fine texture: more is
done at 56x56 and 28x28 than a classifier of things does, and the head averages over all places. The wide trunk looks
for edges of sheets and screens: one place is enough, and it also learns, at 14x14 places, where one is (pixel-wise
supervision: George and Marcel, "Deep Pixel-wise Binary Supervision for Face Presentation Attack Detection", arXiv
1907.04047).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.blocks import ConvBlock, Staged, bottlenecks

INPUT_PX = 112
STEM = 16
# (t, c, n, s) of the bottleneck rows
ROWS = ((1, 16, 1, 1), (3, 24, 2, 2), (3, 32, 3, 2), (3, 64, 3, 2))
STAGE_ROWS = ((0, 1), (2,), (3,))
HEAD, MAPPED = 160, 64
KEPT = 8.0  # weight of answering as before
SMOOTHING = 0.03  # of the labels: a simulated attack may have nothing that shows it


class NearNetwork(Staged):
    """Map (N, 3, 112, 112) RGB aligned faces, (pixel - 127.5) / 128, to (N, 1) logits."""

    def __init__(self, act: str = "relu6") -> None:
        rows, c_in = [], STEM
        for row in ROWS:
            rows.append(bottlenecks(c_in, row, act))
            c_in = row[1]
        parts = [nn.Sequential(*(rows[i] for i in group)) for group in STAGE_ROWS]
        stem = ConvBlock(3, STEM, 3, stride=2, padding=1, act=act)
        answer = nn.Conv2d(HEAD, 1, 1)
        head = nn.Sequential(ConvBlock(c_in, HEAD, 1, act=act), nn.AdaptiveAvgPool2d(1), answer, nn.Flatten())
        super().__init__(act, (INPUT_PX, INPUT_PX), [nn.Sequential(stem, parts[0]), *parts[1:], head])
        # He's weights would start with logits of 3 and more, and half of the answers sure and wrong
        nn.init.normal_(answer.weight, std=0.01)


class WideNetwork(Staged):
    """Map (N, 3, 112, 112) RGB wide looks, (pixel - 127.5) / 128, to (N, 1) logits."""

    def __init__(self, act: str = "relu6") -> None:
        stem = nn.Sequential(
            *(ConvBlock(c, d, 3, stride=2, padding=1, act=act) for c, d in ((3, 24), (24, 32)))
        )
        fine = nn.Sequential(stem, bottlenecks(32, (2, 40, 2, 1), act))
        stages = [fine, bottlenecks(40, (3, MAPPED, 4, 2), act), bottlenecks(MAPPED, (3, 96, 3, 2), act)]
        answer = nn.Conv2d(2 * HEAD, 1, 1)
        head = nn.Sequential(ConvBlock(96, HEAD, 1, act=act), MeanAndMax(), answer, nn.Flatten())
        super().__init__(act, (INPUT_PX, INPUT_PX), [*stages, head])
        nn.init.normal_(answer.weight, std=0.01)
        self.map = nn.Conv2d(MAPPED, 1, 1)  # learns along; not in the exported file

    def with_map(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, 1), and (N, 1, 14, 14): high where a sheet or a device is."""
        mapped = self.stages[1](self.stages[0](pictures))
        return self.stages[3](self.stages[2](mapped)), self.map(mapped)


class MeanAndMax(nn.Module):
    """Pool (N, C, 7, 7) to (N, 2C, 1, 1): the mean over all places, and the largest."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean((2, 3), keepdim=True), F.max_pool2d(maps, 7)], dim=1)


class BothLooks(nn.Module):
    """What is shipped: map (N, 9, 112, 112), aligned faces, wide looks and their mirror images, to (N, 2) logits.

    The first is the near trunk's, the second the wide one's, the mean of look and mirror image. Each is moved so that
    zero is its own threshold: the lower of the two decides.
    """

    def __init__(self, near: NearNetwork, wide: WideNetwork, thresholds: tuple[float, float]) -> None:
        super().__init__()
        self.near, self.wide = copy.deepcopy(near), copy.deepcopy(wide)
        self.input_px = (INPUT_PX, INPUT_PX)
        with torch.no_grad():
            for trunk, threshold in zip((self.near, self.wide), thresholds, strict=True):
                answer_of(trunk).bias -= threshold

    def forward(self, looks: Tensor) -> Tensor:
        both = self.wide(
            torch.cat([looks[:, 3:6], looks[:, 6:]])
        )  # one batch: the weights stand in the file once
        wide = both.reshape(2, -1, 1).mean(0)
        return torch.cat([self.near(looks[:, :3]), wide], dim=1)


def answer_of(trunk: Staged) -> nn.Conv2d:
    """Return the last layer of a trunk."""
    return trunk.stages[-1][2]


def cross_entropy(logit: Tensor, live: Tensor) -> dict[str, Tensor]:
    """Return the cross-entropy of live against attack, and the share of right answers."""
    logit = logit.float().flatten()
    target = live * (1 - 2 * SMOOTHING) + SMOOTHING
    right = ((logit > 0) == (live > 0.5)).float().mean()
    return {"total": F.binary_cross_entropy_with_logits(logit, target), "right": right.detach()}


class LiveLoss(nn.Module):
    """The objective "live": cross-entropy of live against attack."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, pictures: Tensor, live: Tensor, progress: float) -> dict[str, Tensor]:
        return cross_entropy(self.student(pictures), live)


class KeptLoss(nn.Module):
    """The objective "kept": learn new live faces, and go on answering for recorded pictures as the start did.

    Without the second term a network learns to tell the recordings' camera from photographs, of which all are live.
    """

    def __init__(self, student: nn.Module, start: nn.Module) -> None:
        super().__init__()
        self.student, self.start = student, start.requires_grad_(False)

    def forward(self, pictures: Tensor, live: Tensor, recorded: Tensor, progress: float) -> dict[str, Tensor]:
        logit = self.student(pictures)
        with torch.no_grad():
            before = self.start.eval()(pictures).float().flatten().sigmoid()
        moved = (logit.float().flatten().sigmoid() - before) ** 2 * recorded
        found = cross_entropy(logit, live)
        kept = KEPT * moved.sum() / recorded.sum().clamp(min=1)
        return found | {"kept": kept, "total": found["total"] + kept}


class MapLoss(nn.Module):
    """The objective "mapped": cross-entropy of live against attack, and of where the sheet or device is."""

    def __init__(self, student: WideNetwork) -> None:
        super().__init__()
        self.student = student

    def forward(self, pictures: Tensor, live: Tensor, maps: Tensor, progress: float) -> dict[str, Tensor]:
        logit, found_map = self.student.with_map(pictures)
        found = cross_entropy(logit, live)
        where = F.binary_cross_entropy_with_logits(found_map.float().squeeze(1), maps)
        return found | {"map": where, "total": found["total"] + where}


@torch.no_grad()
def logits(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return what a network in eval mode answers: (N,) of a trunk, (N, 2) of both looks."""
    was_training = network.training
    network.eval()
    found = torch.cat([network(part) for part in pictures.split(64)]).squeeze(1)
    network.train(was_training)
    return found
