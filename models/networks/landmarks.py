"""MobileFaceNet's trunk as a landmark regressor: a loose square around a face in, 127 points out.

The table is MobileFaceNet's (arXiv 1804.07573, Table 1) on a 96x96 input, thinner where the picture is large: that is
where the time goes, and 127 points need less there than an identity does. The head ends in 254 numbers.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.landmarks.points import FIVE, OUTPUTS
from models.networks.blocks import ConvBlock, Staged, bottlenecks

INPUT_PX = 96
STEM = 16
# (t, c, n, s) of the bottleneck rows
ROWS = ((2, 24, 2, 2), (2, 64, 1, 2), (2, 64, 6, 1), (2, 128, 1, 2), (2, 128, 2, 1))
HEAD = 256
GAIN = 0.05
WING_WIDTH, WING_CURVE = 0.15, 0.03  # shares of the inter-ocular distance


class LandmarkNetwork(Staged):
    """Map (N, 3, 96, 96) RGB squares, (pixel - 127.5) / 128, to (N, 254): x, y of 127 points in shares of the side."""

    def __init__(self, act: str = "relu6") -> None:
        rows, c_in = [], STEM
        for row in ROWS:
            rows.append(bottlenecks(c_in, row, act))
            c_in = row[1]
        stem = nn.Sequential(
            ConvBlock(3, STEM, 3, stride=2, padding=1, act=act),
            ConvBlock(STEM, STEM, 3, padding=1, groups=STEM, act=act),
        )
        head = nn.Sequential(
            ConvBlock(c_in, HEAD, 1, act=act),
            ConvBlock(HEAD, HEAD, INPUT_PX // 16, groups=HEAD),  # linear global depthwise convolution
            Places(HEAD, OUTPUTS, 1),
            nn.Flatten(),
        )
        stages = [nn.Sequential(stem, rows[0]), nn.Sequential(*rows[1:3]), nn.Sequential(*rows[3:]), head]
        super().__init__(act, (INPUT_PX, INPUT_PX), stages)
        self.start_at(torch.full((OUTPUTS,), 0.5))

    def start_at(self, mean: Tensor) -> None:
        """Let an untrained network answer with the `mean` shape, 254 numbers."""
        places = next(layer for layer in self.modules() if isinstance(layer, Places))
        assert places.bias is not None
        with torch.no_grad():
            places.weight.mul_(0.2)
            places.bias.copy_(mean.flatten())


class Places(nn.Conv2d):
    """A convolution to places: its weights count `GAIN`-fold, and the bias is added apart.

    A step of the optimizer moves every weight alike; at full weight 256 of them move a point across half the picture.
    bfloat16 would round a place near 0.5 by up to a fifth of a pixel.
    """

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return F.conv2d(x, self.weight * GAIN) + self.bias[:, None, None]


def wing_loss(guess: Tensor, truth: Tensor, unit: Tensor) -> Tensor:
    """Wing loss of (B, N, 2) points, in shares of `unit` (B,): small errors weigh more than in L1.

    "Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks", 2018, arXiv 1711.06753,
    Equation 5.
    """
    error = (guess - truth).abs() / unit[:, None, None]
    offset = WING_WIDTH - WING_WIDTH * np.log1p(WING_WIDTH / WING_CURVE)
    inner = WING_WIDTH * torch.log1p(error / WING_CURVE)
    return torch.where(error < WING_WIDTH, inner, error - offset).mean()


class PointsLoss(nn.Module):
    """The objective: the wing loss of all points, and that of the five points by which faces are aligned."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, pictures: Tensor, truth: Tensor, progress: float) -> dict[str, Tensor]:
        guess = self.student(pictures).float().reshape(truth.shape)
        aligned, true = five_tensor(guess), five_tensor(truth)
        unit = (true[:, 1] - true[:, 0]).norm(dim=1)
        losses = {"points": wing_loss(guess, truth, unit), "five": wing_loss(aligned, true, unit)}
        return losses | {"total": losses["points"] + losses["five"]}


def five_tensor(points: Tensor) -> Tensor:
    """Return (B, 5, 2) eyes, nose tip and mouth corners of (B, 127, 2) points."""
    return torch.stack([points[:, list(group)].mean(dim=1) for group in FIVE], dim=1)
