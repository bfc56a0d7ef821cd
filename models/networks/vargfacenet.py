"""VarGFaceNet: An Efficient Variable Group Convolutional Neural Network for Lightweight Face Recognition.

Yan et al., 2019, arXiv 1910.04985. The rows are Table 1: channels and blocks of each stage. In a variable group
convolution the number of channels in a group is fixed (S), and the number of groups follows.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.networks.blocks import ConvBlock, SqueezeExcite, Staged, Stored, activation

S = 8
HEAD = 40
# (channels, blocks); the first block of a stage halves the map
ROWS = ((80, 3), (160, 7), (320, 4))
LAST = 1024
EXPANSION = 2


def variable_group(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, padding: int = 0, act: str | None
) -> ConvBlock:
    """Make a group convolution with `S` input channels a group (section 3.1)."""
    return ConvBlock(c_in, c_out, kernel, stride=stride, padding=padding, groups=c_in // S, act=act)


def separable(
    c_in: int, c_out: int, *, stride: int = 1, factor: int = EXPANSION, act: str, last: str | None = None
) -> nn.Sequential:
    """Make a 3x3 variable group convolution, `factor` times as wide, and a pointwise one, linear without `last`."""
    wide = c_in * factor
    return nn.Sequential(
        variable_group(c_in, wide, 3, stride=stride, padding=1, act=act), ConvBlock(wide, c_out, 1, act=last)
    )


class NormalBlock(nn.Module):
    """Figure 1 (a): two separable layers, squeeze and excitation, and the shortcut.

    Where stride is not 1 (the head setting, Figure 1 (c)), the shortcut is a separable layer of its own.
    """

    def __init__(self, c: int, act: str, *, stride: int = 1, factor: int = EXPANSION) -> None:
        super().__init__()
        self.shortcut = (
            separable(c, c, stride=stride, factor=factor, act=act) if stride > 1 else nn.Identity()
        )
        self.body = nn.Sequential(
            separable(c, c, stride=stride, factor=factor, act=act, last=act),
            separable(c, c, factor=factor, act=act),
            SqueezeExcite(c, act),
        )
        self.sum, self.act = Stored(), activation(act, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.sum(self.body(x) + self.shortcut(x)))


class DownBlock(nn.Module):
    """Figure 1 (b): two branches that halve the map, merged, one more layer, and a halving shortcut."""

    def __init__(self, c_in: int, c_out: int, act: str) -> None:
        super().__init__()
        self.shortcut, self.left, self.right = (separable(c_in, c_out, stride=2, act=act) for _ in range(3))
        self.merged, self.merged_act = Stored(), activation(act, c_out)
        self.body = separable(c_out, c_out, act=act)
        self.sum, self.act = Stored(), activation(act, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.merged_act(self.merged(self.left(x) + self.right(x)))
        return self.act(self.sum(self.body(y) + self.shortcut(x)))


def stage(c_in: int, c: int, blocks: int, act: str) -> nn.Sequential:
    """Make one row of Table 1."""
    return nn.Sequential(DownBlock(c_in, c, act), *(NormalBlock(c, act) for _ in range(blocks - 1)))


class VarGFaceNet(Staged):
    """Map (N, 3, 112, 112) faces to (N, 512) embeddings that are not normalized.

    The first convolution keeps the full picture (head setting); the embedding block widens to 1024, weighs the 7x7
    places with a variable group convolution, halves, and ends in a linear layer (embedding setting).
    """

    def __init__(self, act: str = "relu6", dim: int = 512) -> None:
        head = nn.Sequential(
            ConvBlock(3, HEAD, 3, padding=1, act=act), NormalBlock(HEAD, act, stride=2, factor=1)
        )
        widths = (HEAD, *(c for c, _ in ROWS))
        parts = [stage(c_in, c, n, act) for c_in, (c, n) in zip(widths, ROWS, strict=False)]
        embedding = nn.Sequential(
            ConvBlock(widths[-1], LAST, 1, act=act),
            variable_group(LAST, LAST, 7, act=None),
            ConvBlock(LAST, LAST // 2, 1, act=act),
            ConvBlock(LAST // 2, dim, 1),
            nn.Flatten(),
        )
        super().__init__(act, (112, 112), [nn.Sequential(head, parts[0]), *parts[1:], embedding])
        self.stage_act = act
