"""VarGFaceNet: An Efficient Variable Group Convolutional Neural Network for Lightweight Face Recognition.

Yan et al., 2019, arXiv 1910.04985. The rows are Table 1: channels and blocks of each stage. In a variable group
convolution the number of channels in a group is fixed (S), and the number of groups follows. Defaults, batch norms'
constants included, are those of the authors' own code.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.networks.blocks import ConvBlock, SqueezeExcite, Staged, Stored, activation

S = 8
HEAD = 32
# (channels, blocks) before the multiplier; the first block of a stage halves the map, where the stage is not dilated
ROWS = ((64, 3), (128, 7), (256, 4))
MULTIPLIER = 1.25
LAST = 1024
EXPANSION = 2
NORM_EPSILON, NORM_MOMENTUM = (
    2e-5,
    0.1,
)  # 0.1 of the new statistics: the authors' framework says 0.9 of the old


def variable_group(
    c_in: int,
    c_out: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    act: str | None,
) -> ConvBlock:
    """Make a group convolution with `S` input channels a group (section 3.1)."""
    return ConvBlock(
        *(c_in, c_out, kernel),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=c_in // S,
        act=act,
    )


def separable(
    c_in: int,
    c_out: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    factor: int = EXPANSION,
    act: str,
    last: str | None = None,
) -> nn.Sequential:
    """Make a 3x3 variable group convolution, `factor` times as wide, and a pointwise one, linear without `last`."""
    wide = c_in * factor
    return nn.Sequential(
        variable_group(c_in, wide, 3, stride=stride, padding=dilation, dilation=dilation, act=act),
        ConvBlock(wide, c_out, 1, act=last),
    )


class NormalBlock(nn.Module):
    """Figure 1 (a): two separable layers, squeeze and excitation if `excite`, and the shortcut.

    Where stride is not 1 (the head setting, Figure 1 (c)), the shortcut is a separable layer of its own.
    """

    def __init__(
        self,
        c: int,
        act: str,
        *,
        stride: int = 1,
        dilation: int = 1,
        factor: int = EXPANSION,
        excite: bool = True,
    ) -> None:
        super().__init__()
        self.shortcut = (
            separable(c, c, stride=stride, factor=factor, act=act) if stride > 1 else nn.Identity()
        )
        self.body = nn.Sequential(
            separable(c, c, stride=stride, dilation=dilation, factor=factor, act=act, last=act),
            separable(c, c, dilation=dilation, factor=factor, act=act),
            *([SqueezeExcite(c, act)] if excite else []),
        )
        self.sum, self.act = Stored(), activation(act, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.sum(self.body(x) + self.shortcut(x)))


class DownBlock(nn.Module):
    """Figure 1 (b): two branches that halve the map, merged, one more layer, and a halving shortcut.

    A dilated one keeps the map's size, and looks farther.
    """

    def __init__(self, c_in: int, c_out: int, act: str, *, dilation: int = 1) -> None:
        super().__init__()
        stride = 2 if dilation == 1 else 1
        self.shortcut, self.left, self.right = (
            separable(c_in, c_out, stride=stride, dilation=dilation, act=act) for _ in range(3)
        )
        self.merged, self.merged_act = Stored(), activation(act, c_out)
        self.body = separable(c_out, c_out, dilation=dilation, act=act)
        self.sum, self.act = Stored(), activation(act, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.merged_act(self.merged(self.left(x) + self.right(x)))
        return self.act(self.sum(self.body(y) + self.shortcut(x)))


def stage(c_in: int, c: int, blocks: int, act: str, dilation: int, excite: bool) -> nn.Sequential:
    """Make one row of Table 1."""
    normal = (NormalBlock(c, act, dilation=dilation, excite=excite) for _ in range(blocks - 1))
    return nn.Sequential(DownBlock(c_in, c, act, dilation=dilation), *normal)


class VarGFaceNet(Staged):
    """Map (N, 3, H, W) faces to (N, 512) embeddings that are not normalized.

    The first convolution keeps the full picture (head setting); the embedding block widens to 1024, weighs all places
    of the last map (7x7 of a 112x112 face, 14x14 of a 224x224 one) with a variable group convolution, halves, and ends
    in a linear layer (embedding setting).

    Args:
        multiplier: of all channels of the rows.
        dilations: of the three stages; where it is above 1 the stage does not halve the map.
        head_pooling: whether a 3x3 max pooling halves the map in the head, in place of a block.
        excite: whether blocks have squeeze and excitation.
    """

    def __init__(
        self,
        act: str = "relu6",
        dim: int = 512,
        *,
        input_px: tuple[int, int] = (112, 112),
        multiplier: float = MULTIPLIER,
        dilations: tuple[int, int, int] = (1, 1, 1),
        head_pooling: bool = False,
        excite: bool = True,
    ) -> None:
        c_in = int(HEAD * multiplier)
        halve = (
            nn.MaxPool2d(3, 2, 1)
            if head_pooling
            else NormalBlock(c_in, act, stride=2, factor=1, excite=excite)
        )
        parts = []
        head = nn.Sequential(ConvBlock(3, c_in, 3, padding=1, act=act), halve)
        for (channels, blocks), dilation in zip(ROWS, dilations, strict=True):
            c = int(channels * multiplier)
            parts.append(stage(c_in, c, blocks, act, dilation, excite))
            c_in = c
        shrunk = 2 ** (1 + sum(dilation == 1 for dilation in dilations))
        embedding = nn.Sequential(
            ConvBlock(c_in, LAST, 1, act=act),
            variable_group(LAST, LAST, (input_px[0] // shrunk, input_px[1] // shrunk), act=None),
            ConvBlock(LAST, LAST // 2, 1, act=act),
            ConvBlock(LAST // 2, dim, 1),
            nn.Flatten(),
        )
        super().__init__(act, input_px, [nn.Sequential(head, parts[0]), *parts[1:], embedding])
        self.stage_act = act
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps, norm.momentum = NORM_EPSILON, NORM_MOMENTUM
