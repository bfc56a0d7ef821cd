"""Training losses as pure functions of tensors, each with its source.

Embeddings are (B, D), cosines to the class weights (B, C), labels (B,) int64.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def embedding_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine between (B, D) embeddings: half their squared distance on the unit sphere."""
    return 1 - F.cosine_similarity(student, teacher, dim=1).mean()


def angular_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of the normalized embeddings (VarGFaceNet, arXiv 1910.04985, Eq. 4): twice 1 - cosine."""
    return (F.normalize(student) - F.normalize(teacher)).square().sum(dim=1).mean()


def relational_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the (B, B) cosine matrices (relational distillation, arXiv 1907.09682, Eq. 4)."""
    student, teacher = F.normalize(student), F.normalize(teacher)
    return F.mse_loss(student @ student.T, teacher @ teacher.T)


def stage_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of a stage's output as a share of the teacher's variance (hints, arXiv 1412.6550, Eq. 3)."""
    return F.mse_loss(student, teacher) / teacher.var()


def softmax_loss(cosines: Tensor, labels: Tensor, scale: float = 32.0) -> Tensor:
    """Cross-entropy of scaled cosines (normalized softmax, NormFace, arXiv 1704.06369, Eq. 6)."""
    return F.cross_entropy(scale * cosines, labels)


def am_softmax_loss(cosines: Tensor, labels: Tensor, scale: float = 30.0, margin: float = 0.35) -> Tensor:
    """Cross-entropy with `margin` taken off the own class's cosine (AM-Softmax, arXiv 1801.05599, Eq. 6)."""
    own = F.one_hot(labels, cosines.shape[1])
    return F.cross_entropy(scale * (cosines - margin * own), labels)


def arcface_loss(cosines: Tensor, labels: Tensor, scale: float = 64.0, margin: float = 0.5) -> Tensor:
    """Cross-entropy with `margin` radians added to the own class's angle (ArcFace, arXiv 1801.07698, Eq. 3).

    Where angle and margin together pass pi, the cosine would rise again; there it falls in a straight line instead.
    """
    own = cosines.gather(1, labels[:, None])
    sine = (1 - own.square()).clamp(min=1e-6).sqrt()
    moved = own * math.cos(margin) - sine * math.sin(margin)
    moved = torch.where(own > math.cos(math.pi - margin), moved, own - margin * math.sin(margin))
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], moved), labels)


def triplet_loss(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> tuple[Tensor, Tensor]:
    """Semi-hard triplet loss within the batch (FaceNet, arXiv 1503.03832, Eq. 3 and 4).

    For every anchor and positive, the nearest negative that is farther than the positive, or, where there is none, the
    farthest of all; distances are squared, on the unit sphere.

    Returns:
        the mean over all anchor-positive pairs, and the share of those whose triplet breaks the margin ("active").
    """
    embeddings = F.normalize(embeddings)
    distance = 2 - 2 * embeddings @ embeddings.T
    same = labels[:, None] == labels[None]
    anchors, positives = (same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)).nonzero().T
    if len(anchors) == 0:
        return embeddings.sum() * 0, embeddings.new_zeros(())
    near = distance[anchors, positives]
    far, mine = distance[anchors], same[anchors]
    semi_hard = far.masked_fill(mine | (far <= near[:, None]), math.inf).amin(dim=1)
    farthest = far.masked_fill(mine, -math.inf).amax(dim=1)
    losses = F.relu(near - torch.where(semi_hard.isfinite(), semi_hard, farthest) + margin)
    return losses.mean(), (losses > 0).float().mean()
