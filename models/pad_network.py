"""The liveness network: inverted residuals on an aligned face, one logit, high for live.

MobileNetV2's blocks (arXiv 1801.04381, Table 1) in a table of its own: what gives an attack away is fine texture, so
more is done at 56x56 and 28x28 than a classifier of things does, and the head averages over all places.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import ConvBlock, Staged, bottlenecks

INPUT_PX = 112
STEM = 16
# (t, c, n, s) of the bottleneck rows
ROWS = ((1, 16, 1, 1), (3, 24, 2, 2), (3, 32, 3, 2), (3, 64, 3, 2))
STAGE_ROWS = ((0, 1), (2,), (3,))
HEAD = 160
SMOOTHING = 0.03  # of the labels: a simulated attack may have nothing that shows it


class PadNetwork(Staged):
    """Map (N, 3, 112, 112) RGB faces, (pixel - 127.5) / 128, to (N, 1) logits."""

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


class LiveLoss(nn.Module):
    """The objective: cross-entropy of live against attack."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, pictures: Tensor, live: Tensor, progress: float) -> dict[str, Tensor]:
        logit = self.student(pictures).float().flatten()
        target = live * (1 - 2 * SMOOTHING) + SMOOTHING
        right = ((logit > 0) == (live > 0.5)).float().mean()
        return {"total": F.binary_cross_entropy_with_logits(logit, target), "right": right.detach()}


@torch.no_grad()
def logits(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return (N,) logits of a network in eval mode."""
    was_training = network.training
    network.eval()
    found = torch.cat([network(part) for part in pictures.split(64)]).flatten()
    network.train(was_training)
    return found
