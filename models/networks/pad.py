"""The liveness network: one MiniFASNet looks near, for texture, another looks wide, for what stands around.

`near` sees 1.5 box sides at 128 px, `wide` 2.7 box widths at 80 px. Each gives its part of the joint teacher's logit;
the sum is the answer. Beside it each repeats what the public networks of its kind say, so that it keeps their eyes;
those answers are not exported, but `mix_answers` puts their mean into the answer that is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.int8.quantization_aware import fold
from models.networks.minifasnet import MiniFASNet

NEAR_PX, WIDE_PX = 128, 80
NEAR_TEACHERS, WIDE_TEACHERS = (2, 3, 4, 5), (0, 1)  # of models.pad.teachers.NAMES
MIXED = 0.5  # agrees more with the joint teacher than either alone
# The layers whose slopes the parents need most for the time they take (docs/research/train.md). In every other layer a
# ReLU takes the place of the PReLU, which costs nothing in int8.
NEAR_SLOPES = (
    "trunk.0",
    "trunk.2.depthwise",
    "trunk.3.depthwise",
    "trunk.5.expand",
    "trunk.9.expand",
    "trunk.13.expand",
)
WIDE_SLOPES = (
    "trunk.0",
    "trunk.1",
    "trunk.2.expand",
    "trunk.2.depthwise",
    "trunk.3.expand",
    "trunk.4.expand",
    "trunk.4.depthwise",
    "trunk.6.expand",
    "trunk.7.expand",
    "trunk.16.expand",
    "trunk.16.depthwise",
)


class TwoLooks(nn.Module):
    """Map near looks (N, 3, 128, 128) and wide looks (N, 3, 80, 80), RGB in [0, 1], to their parts of the logit."""

    def __init__(self, *, parents: bool = False) -> None:
        """Make the student, or with `parents` the trunks it inherits from, of which every layer has its slopes."""
        super().__init__()
        near, wide = (None, None) if parents else (NEAR_SLOPES, WIDE_SLOPES)
        self.near = MiniFASNet(NEAR_PX, 1 + len(NEAR_TEACHERS), slopes=near, excite=True)
        self.wide = MiniFASNet(WIDE_PX, 1 + len(WIDE_TEACHERS), slopes=wide)
        fold(self)  # what is inherited has its batch norms folded, and learns on so: a third faster

    def forward(self, near: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
        """Return the answers (N, 5) of the near trunk and (N, 3) of the wide one; the first is its part."""
        return self.near(near), self.wide(wide)


@torch.no_grad()
def mix_answers(network: TwoLooks, share: float = MIXED) -> TwoLooks:
    """Move each part toward its share of the joint teacher, as the trunk repeats it, in place; return the network.

    The joint teacher is the mean over the mean of its wide networks and each near one (`models.pad.teachers.joint`).
    """
    teachers = 1 + len(NEAR_TEACHERS)
    for answer, count in ((network.near.answer, 1), (network.wide.answer, len(WIDE_TEACHERS))):
        for values in (answer.weight, answer.bias):
            values[0].lerp_(values[1:].sum(0) / (teachers * count), share)
    return network


@torch.no_grad()
def logits(network: TwoLooks, near: Tensor, wide: Tensor) -> Tensor:
    """Return the logit (N,) of looks, in batches."""
    was_training = network.training
    network.eval()
    found = []
    for a, b in zip(near.split(64), wide.split(64), strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            n, w = network(a, b)
        found.append(n[:, 0].float() + w[:, 0].float())
    network.train(was_training)
    return torch.cat(found)
