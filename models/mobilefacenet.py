"""MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices.

Chen, Liu, Gao, Han, 2018, arXiv 1804.07573.

The rows below are Table 1; `t` is the expansion, `c` the output channels, `n` the repeats, `s` the first stride.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.blocks import Bottleneck, ConvBlock

INPUT_PX = 112
EMBEDDING_DIM = 128
STEM = 64
# (t, c, n, s) of the bottleneck rows
ROWS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
HEAD = 512
# Rows that end a distillation stage: the last linear bottleneck at 28x28, 14x14 and 7x7.
STAGE_ROWS = ((0,), (1, 2), (3, 4))


def bottlenecks(c_in: int, row: tuple[int, int, int, int], act: str) -> nn.Sequential:
    """Make one row of Table 1: `n` bottlenecks, the first with stride `s`."""
    t, c, n, s = row
    blocks = [Bottleneck(c_in if i == 0 else c, c, stride=s if i == 0 else 1, t=t, act=act) for i in range(n)]
    return nn.Sequential(*blocks)


class MobileFaceNet(nn.Module):
    """Map (N, 3, 112, 112) RGB faces, (pixel - 127.5) / 128, to (N, 128) embeddings that are not normalized.

    `stages` are the parts between the linear bottleneck outputs at 28x28, 14x14 and 7x7, and the head: their
    shapes are those of any other MobileFaceNet, which is what stage-wise distillation rests on.
    """

    def __init__(self, act: str = "relu6") -> None:
        super().__init__()
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
            ConvBlock(HEAD, EMBEDDING_DIM, 1),
            nn.Flatten(),
        )
        parts = [nn.Sequential(*(rows[i] for i in group)) for group in STAGE_ROWS]
        self.stages = nn.ModuleList([nn.Sequential(stem, parts[0]), *parts[1:], head])
        self.act = act
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x

    def stage_outputs(self, x: Tensor) -> list[Tensor]:
        """Return the output of every stage; the last is the embedding."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


def initialize(network: nn.Module) -> None:
    """Draw convolutions from He's normal distribution (fan-out)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
