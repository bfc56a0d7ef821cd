"""Distillation: stage by stage, end to end, to the clean face, and beside it the identities.

The objectives are modules (so that DistributedDataParallel can wrap them): they hold the student, share the teacher,
and map faces (B, 3, 112, 112), target embeddings (B, D), labels (B,) (-1: unknown) and the progress of their phase in
[0, 1] to named losses; `total` is the one to minimize.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.blocks import Staged
from models.networks.heads import Classifier
from models.networks.mobilefacenet import MobileFaceNet
from models.training.losses import (
    angular_distillation_loss,
    arcface_loss,
    embedding_loss,
    relational_loss,
    softmax_loss,
    stage_loss,
    triplet_loss,
)

HINT_WEIGHT = 0.1
RELATIONAL_WEIGHT = 1.0
ANGULAR_WEIGHT = 7.0  # VarGFaceNet, arXiv 1910.04985, section 4.1
CLASS_WEIGHT = 0.05  # classification beside distillation: the identities are few, the teacher knows many
TRIPLET_WEIGHT = 1.0
RECTIFIED_SPREAD, RECTIFIED_SHIFT = 1.5, 0.75


def mixture(c_in: int, c_out: int) -> Tensor:
    """Return a fixed random (c_in, c_out) matrix, orthonormal in its smaller direction."""
    drawn = torch.randn(c_out, c_in, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.T.float()


def isometry(c_in: int, c_out: int) -> Tensor:
    """Return a fixed (c_in, c_out) matrix with orthonormal rows: every angle between (N, c_in) vectors is kept."""
    return torch.eye(c_in) if c_in == c_out else mixture(c_in, c_out)


def resize(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bring (N, C, h, w) to (N, C, *size), bilinear; unchanged where it has that size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x.float(), tuple(size), mode="bilinear", align_corners=False)


class Lift(nn.Module):
    """Bring a stage's output of the teacher to the shape of a student that has another table.

    A linear student gets mixtures of the directions that vary most; a rectified one gets mixtures of equal spread
    through its own activation. The matrix is fixed: it follows from `calibration`, the teacher's (N, C, h, w) output
    for some faces, and from a seed.
    """

    matrix: Tensor
    shift: Tensor

    def __init__(self, calibration: Tensor, channels: int, size: torch.Size, act: str) -> None:
        super().__init__()
        self.size, self.act = size, act
        flat = calibration.float().permute(0, 2, 3, 1).flatten(0, 2)
        mean = flat.mean(dim=0)
        variances, directions = torch.linalg.eigh(torch.cov(flat.T))
        kept = directions[:, -channels:]
        matrix = kept @ mixture(kept.shape[1], channels).to(kept.device)
        if act == "linear":
            matrix = matrix / variances.mean().sqrt()
            shift = -mean @ matrix
        else:
            matrix = matrix / (flat @ matrix).std(dim=0) * RECTIFIED_SPREAD
            shift = RECTIFIED_SHIFT - mean @ matrix
        self.register_buffer("matrix", matrix)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        lifted = F.conv2d(resize(x.float(), self.size), self.matrix.T[:, :, None, None], self.shift)
        return lifted if self.act == "linear" else lifted.clamp(0, 6)


class Lesson:
    """What one student is taught, in its own picture size, its stages' shapes and its embedding's width.

    Args:
        teacher: its stages are the hints.
        target_dim: numbers of a target embedding.
        calibration: some faces (N, 3, 112, 112), from which the lifts follow.
    """

    def __init__(self, student: Staged, teacher: MobileFaceNet, target_dim: int, calibration: Tensor) -> None:
        self.teacher, self.input_px = teacher, student.input_px
        with torch.no_grad():
            taught = teacher.stage_outputs(calibration)[:-1]
            was_training = student.training
            shapes = [
                y.shape for y in student.eval().stage_outputs(resize(calibration[:1], student.input_px))
            ]
            student.train(was_training)
        self.to_student = Redimension(target_dim, shapes[-1][1]).to(calibration.device)
        self.map_size = shapes[-2][2:]
        self.lifts: list[nn.Module] = [
            # a MobileFaceNet has the teacher's own table
            nn.Identity()
            if isinstance(student, MobileFaceNet)
            else Lift(outputs, shape[1], shape[2:], student.stage_act)
            for outputs, shape in zip(taught, shapes[:-1], strict=True)
        ]

    def view(self, faces: Tensor) -> Tensor:
        """Return the faces in the student's size."""
        return resize(faces, self.input_px)

    @torch.no_grad()
    def hints(self, faces: Tensor) -> list[Tensor]:
        """Return what the student's stages before the head should give for the faces."""
        taught = self.teacher.stage_outputs(faces)[:-1]
        return [lift(y) for lift, y in zip(self.lifts, taught, strict=True)]

    def embedding(self, targets: Tensor) -> Tensor:
        """Return target embeddings (B, T) as the student should give them (B, D)."""
        return self.to_student(targets)


class Redimension(nn.Module):
    """Bring a target embedding to the width of the student's.

    To more numbers without changing an angle. Of fewer, the first are kept: targets are ordered by variance
    (`joint_targets.npz`), and the similarities of all are taught beside them.
    """

    matrix: Tensor

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.register_buffer("matrix", isometry(c_in, c_out) if c_out > c_in else torch.eye(c_in)[:, :c_out])

    def forward(self, x: Tensor) -> Tensor:
        return x.float() @ self.matrix


class Objective(nn.Module):
    """What every objective holds: the student, its lesson, and the class weights where identities are used.

    Args:
        face_px: side of the faces that the student sees; 0: its own. Smaller ones cost less (progressive resolution,
            arXiv 2104.00298), and a network that is taught by maps cannot have them.

    Raises:
        ValueError: a network that is taught by maps is to see smaller faces.
    """

    by_maps = False

    def __init__(
        self, student: Staged, lesson: Lesson, classifier: Classifier | None = None, face_px: int = 0
    ) -> None:
        super().__init__()
        if face_px and self.by_maps:
            raise ValueError(
                f"face_px is for phases without maps of the teacher, received {face_px}: leave it out"
            )
        self.student, self.lesson, self.classifier = student, lesson, classifier
        self.size = (face_px, face_px) if face_px else lesson.input_px

    def embed(self, faces: Tensor) -> Tensor:
        """Return the student's embeddings (B, D) of the faces in this phase's size, float32.

        The head weighs every place of the last map, so a smaller face's map is brought to the size it knows.
        """
        *trunk, head = self.student.stages
        x = resize(faces, self.size)
        for stage in trunk:
            x = stage(x)
        return head(resize(x, self.lesson.map_size)).float()


class Stagewise(Objective):
    """Each stage is given the teacher's input of that stage and regresses its output; the head is given the target."""

    by_maps = True

    def forward(self, faces: Tensor, targets: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        hints = self.lesson.hints(faces)
        inputs = [self.lesson.view(faces), *hints]
        *outputs, embedding = [stage(x).float() for stage, x in zip(self.student.stages, inputs, strict=True)]
        losses = {
            f"stage_{i}": stage_loss(y, hint.float())
            for i, (y, hint) in enumerate(zip(outputs, hints, strict=True), start=1)
        }
        losses["embedding"] = embedding_loss(embedding, self.lesson.embedding(targets))
        return losses | {"total": torch.stack(list(losses.values())).sum()}


def clean_losses(embedding: Tensor, target: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the losses of embeddings (B, D): to the `target` of that width, and to the similarities of `targets`."""
    losses = {
        "embedding": embedding_loss(embedding, target),
        "relational": relational_loss(embedding, targets.float()),
    }
    return losses | {"total": losses["embedding"] + RELATIONAL_WEIGHT * losses["relational"]}


class EndToEnd(Objective):
    """The embedding is pulled to the target, with the teacher's stages on the same view as hints that fade out.

    From the middle of the phase on there are no hints, and the teacher is not run.
    """

    by_maps = True

    def forward(self, faces: Tensor, targets: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        fade = HINT_WEIGHT * max(0.0, 1 - 2 * progress)
        hints = self.lesson.hints(faces) if fade > 0 else []
        *stages, embedding = self.student.stage_outputs(self.lesson.view(faces))
        losses = clean_losses(embedding.float(), self.lesson.embedding(targets), targets)
        if hints:
            apart = [stage_loss(y.float(), t.float()) for y, t in zip(stages, hints, strict=True)]
            losses["hints"] = torch.stack(apart).sum()
            losses["total"] = losses["total"] + fade * losses["hints"]
        return losses


class CleanTarget(Objective):
    """The embedding of a worn view is pulled to the target: the teachers' embedding of the clean face.

    No teacher is run, which makes a sample cheaper, and their own weakness on worn views is not copied.
    """

    def forward(self, faces: Tensor, targets: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        embedding = self.embed(faces)
        return clean_losses(embedding, self.lesson.embedding(targets), targets)


class SoftmaxTriplet(Objective):
    """FaceNet's training: softmax over identities and semi-hard triplets of a P x K batch, the teacher beside them."""

    def forward(self, faces: Tensor, targets: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        embedding = self.embed(faces)
        known = labels >= 0
        triplet, active = triplet_loss(embedding[known], labels[known])
        losses = {
            "embedding": embedding_loss(embedding, self.lesson.embedding(targets)),
            "triplet": triplet,
            "softmax": softmax_loss(self.classifier(embedding[known]), labels[known]),
        }
        total = losses["embedding"] + TRIPLET_WEIGHT * triplet + CLASS_WEIGHT * losses["softmax"]
        return losses | {"active_triplets": active, "total": total}


class AngularArcFace(Objective):
    """VarGFaceNet's training: ArcFace over the identities and angular distillation (arXiv 1910.04985, Eq. 5)."""

    def forward(self, faces: Tensor, targets: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        embedding = self.embed(faces)
        known = labels >= 0
        losses = {"angular": angular_distillation_loss(embedding, self.lesson.embedding(targets))}
        total = ANGULAR_WEIGHT * losses["angular"]
        if known.any():
            losses["arcface"] = arcface_loss(self.classifier(embedding[known]), labels[known])
            total = total + CLASS_WEIGHT * losses["arcface"]
        return losses | {"total": total}


OBJECTIVES = {
    "stagewise": Stagewise,
    "end_to_end": EndToEnd,
    "clean_target": CleanTarget,
    "softmax_triplet": SoftmaxTriplet,
    "angular_arcface": AngularArcFace,
}
CLASSIFYING = {"softmax_triplet", "angular_arcface"}


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
    """Start the student from the teacher's convolutions and batch norms, and from its slopes where it has any.

    A channel whose slope is beyond 1 in size says more with its negative side; it is turned over: its batch norm is
    negated, the next layer takes -slope, and 1 / slope is the new one. A PReLU stays the same function by that, of a
    slope that `Int8PReLU` can have; a ReLU6, which passes the positive side only, keeps the stronger half.
    """
    pairs = list(zip(weighted_layers(teacher), weighted_layers(student), strict=True))
    for source, target in pairs:
        if target.state_dict().keys() and all(
            v.shape == source.state_dict()[k].shape for k, v in target.state_dict().items()
        ):
            target.load_state_dict(source.state_dict())
    layers = [m for m in teacher.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.PReLU))]
    mirror = {id(source): target for source, target in pairs}
    slopes = []
    for norm, slope, following in zip(layers, layers[1:], layers[2:], strict=False):
        if isinstance(slope, nn.PReLU):
            turn_over(mirror[id(norm)], mirror[id(following)], slope.weight)
            slopes.append(torch.where(slope.weight.abs() > 1, 1 / slope.weight, slope.weight))
    own = [m for m in student.modules() if isinstance(m, nn.PReLU)]
    for activation, slope in zip(own, slopes if own else [], strict=True):
        activation.weight.copy_(slope)


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
