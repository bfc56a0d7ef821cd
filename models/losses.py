"""Training losses as pure functions of tensors, each with its source."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def embedding_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine between (B, D) embeddings: half their squared distance on the unit sphere."""
    return 1 - F.cosine_similarity(student, teacher, dim=1).mean()


def relational_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the (B, B) cosine matrices (relational distillation, arXiv 1907.09682, Eq. 4)."""
    student, teacher = F.normalize(student), F.normalize(teacher)
    return F.mse_loss(student @ student.T, teacher @ teacher.T)


def stage_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of a stage's output as a share of the teacher's variance (hints, arXiv 1412.6550, Eq. 3)."""
    return F.mse_loss(student, teacher) / teacher.var()
