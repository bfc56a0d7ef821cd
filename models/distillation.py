"""Distillation of a student from a teacher of the same table: stage by stage, end to end, then to the clean face.

The objectives are modules (so that DistributedDataParallel can wrap them): they hold the student, share the teacher,
and map faces (B, 3, 112, 112), target embeddings (B, D) and the progress of their phase in [0, 1] to named losses;
`total` is the one to minimize.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.losses import embedding_loss, relational_loss, stage_loss
from models.mobilefacenet import MobileFaceNet

HINT_WEIGHT = 0.1
RELATIONAL_WEIGHT = 1.0


class Stagewise(nn.Module):
    """Each stage of the student is given the teacher's input of that stage and regresses the teacher's output of it."""

    def __init__(self, student: MobileFaceNet, teacher: MobileFaceNet) -> None:
        super().__init__()
        self.student = student
        self.teacher = [teacher]  # a list hides it from parameters() and state_dict()

    def forward(self, faces: Tensor, targets: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs = self.teacher[0].stage_outputs(faces)
        inputs = [faces, *outputs[:-1]]
        losses = {
            f"stage_{i}": stage_loss(stage(x).float(), y.float())
            for i, (stage, x, y) in enumerate(zip(self.student.stages, inputs, outputs, strict=True), start=1)
        }
        return losses | {"total": torch.stack(list(losses.values())).sum()}


class EndToEnd(nn.Module):
    """The student's embedding is pulled to the teacher's on the same augmented view, with stage hints that fade out."""

    def __init__(self, student: MobileFaceNet, teacher: MobileFaceNet) -> None:
        super().__init__()
        self.student = student
        self.teacher = [teacher]

    def forward(self, faces: Tensor, targets: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            taught = self.teacher[0].stage_outputs(faces)
        outputs = self.student.stage_outputs(faces)
        embedding, target = outputs[-1].float(), taught[-1].float()
        losses = {
            "embedding": embedding_loss(embedding, target),
            "relational": relational_loss(embedding, target),
            "hints": torch.stack(
                [stage_loss(y.float(), t.float()) for y, t in zip(outputs[:-1], taught[:-1], strict=True)]
            ).sum(),
        }
        fade = HINT_WEIGHT * max(0.0, 1 - 2 * progress)
        total = losses["embedding"] + RELATIONAL_WEIGHT * losses["relational"] + fade * losses["hints"]
        return losses | {"total": total}


class CleanTarget(nn.Module):
    """The embedding of a worn view is pulled to the target: the teacher's embedding of the clean face.

    The teacher itself is not run, which makes a sample cheaper, and its own weakness on worn views is not copied.
    """

    def __init__(self, student: MobileFaceNet, teacher: MobileFaceNet) -> None:
        super().__init__()
        self.student = student

    def forward(self, faces: Tensor, targets: Tensor, progress: float) -> dict[str, Tensor]:
        embedding = self.student(faces).float()
        losses = {
            "embedding": embedding_loss(embedding, targets),
            "relational": relational_loss(embedding, targets),
        }
        return losses | {"total": losses["embedding"] + RELATIONAL_WEIGHT * losses["relational"]}


OBJECTIVES = {"stagewise": Stagewise, "end_to_end": EndToEnd, "clean_target": CleanTarget}


def pull_to_identity(
    embeddings: npt.NDArray[np.float32], identities: npt.NDArray[np.int64], pull: float, least_faces: int = 3
) -> npt.NDArray[np.float32]:
    """Move each labeled embedding (N, D) toward the mean of its identity by `pull`, and normalize all.

    Faces of unknown identity (-1), and identities of fewer than `least_faces`, stay where they are.
    """
    moved = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    known = np.flatnonzero(identities >= 0)
    _, group, sizes = np.unique(identities[known], return_inverse=True, return_counts=True)
    means = np.zeros((len(sizes), embeddings.shape[1]), np.float32)
    np.add.at(means, group, moved[known])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    enough = sizes[group] >= least_faces
    moved[known[enough]] += pull * means[group[enough]]
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


@torch.no_grad()
def inherit(student: MobileFaceNet, teacher: MobileFaceNet) -> None:
    """Start the student from the teacher's convolutions and batch norms; the activations stay the student's own.

    A PReLU passes both signs, a ReLU6 only the positive one. Where the teacher's channel says more with its negative
    side (slope beyond 1 in size), the channel is turned over: its batch norm is negated, the next layer takes -slope.
    """
    pairs = list(zip(weighted_layers(teacher), weighted_layers(student), strict=True))
    for source, target in pairs:
        target.load_state_dict(source.state_dict())
    if student.act == "prelu":
        return
    layers = [m for m in teacher.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.PReLU))]
    mirror = {id(source): target for source, target in pairs}
    for norm, slope, following in zip(layers, layers[1:], layers[2:], strict=False):
        if isinstance(slope, nn.PReLU):
            turn_over(mirror[id(norm)], mirror[id(following)], slope.weight)


def weighted_layers(network: nn.Module) -> list[nn.Module]:
    """Return convolutions and batch norms in the order of the table."""
    return [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]


def turn_over(norm: nn.BatchNorm2d, following: nn.Conv2d, slope: Tensor) -> None:
    """Negate the channels of `norm` whose |slope| is above 1, and let `following` make up for it."""
    sign = torch.where(slope.abs() > 1, -1.0, 1.0)
    factor = torch.where(slope.abs() > 1, -slope, torch.ones_like(slope))
    norm.weight.mul_(sign)
    norm.bias.mul_(sign)
    shape = (-1, 1, 1, 1) if following.groups > 1 else (1, -1, 1, 1)
    following.weight.mul_(factor.view(shape))
