"""MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices.

Chen, Liu, Gao, Han, 2018, arXiv 1804.07573.

The rows below are Table 1; `t` is the expansion, `c` the output channels, `n` the repeats, `s` the first stride.
"""

from __future__ import annotations

from torch import nn

from models.networks.blocks import ConvBlock, Staged, bottlenecks

INPUT_PX = 112
EMBEDDING_DIM = 128
STEM = 64
# (t, c, n, s) of the bottleneck rows
ROWS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
HEAD = 512
# Rows that end a distillation stage: the last linear bottleneck at 28x28, 14x14 and 7x7.
STAGE_ROWS = ((0,), (1, 2), (3, 4))
VARIANTS = ("", "m", "s")
STEMS = ("stride", "pool")


class MobileFaceNet(Staged):
    """Map (N, 3, H, W) RGB faces, (pixel - 127.5) / 128, to (N, 128) embeddings that are not normalized.

    Its stages have the shapes of any other MobileFaceNet's, which is what stage-wise distillation rests on.

    Args:
        input_px: height and width, multiples of 16; the paper has 112x112, 112x96 and 96x96.
        variant: "m" leaves out the last 1x1 convolution (512 numbers), "s" also the one before the global depthwise
            convolution (128 numbers); section 4.2.
        stem: "stride" is Table 1's stride-2 convolution; "pool" a stride-1 convolution and 2x2 max pooling.
        dim: numbers of the output; 254 for 127 landmarks.
    """

    def __init__(
        self,
        act: str = "relu6",
        *,
        input_px: tuple[int, int] = (INPUT_PX, INPUT_PX),
        variant: str = "",
        stem: str = "stride",
        dim: int = EMBEDDING_DIM,
    ) -> None:
        if variant not in VARIANTS or stem not in STEMS:
            raise ValueError(
                f"variant is one of {VARIANTS}, stem one of {STEMS}; received {variant!r}, {stem!r}"
            )
        rows, c_in = [], STEM
        for row in ROWS:
            rows.append(bottlenecks(c_in, row, act))
            c_in = row[1]
        parts = [nn.Sequential(*(rows[i] for i in group)) for group in STAGE_ROWS]
        size = (input_px[0] // 16, input_px[1] // 16)
        stages = [
            nn.Sequential(make_stem(stem, act), parts[0]),
            *parts[1:],
            make_head(c_in, size, variant, dim, act),
        ]
        super().__init__(act, input_px, stages)


def make_stem(kind: str, act: str) -> nn.Sequential:
    """Halve the picture into 64 channels and filter them depthwise."""
    first = ConvBlock(3, STEM, 3, stride=2 if kind == "stride" else 1, padding=1, act=act)
    pool = [] if kind == "stride" else [nn.MaxPool2d(2)]
    return nn.Sequential(first, *pool, ConvBlock(STEM, STEM, 3, padding=1, groups=STEM, act=act))


def make_head(c_in: int, size: tuple[int, int], variant: str, dim: int, act: str) -> nn.Sequential:
    """Widen, weigh the places (linear global depthwise convolution), and project to `dim`; less for -M and -S."""
    channels = c_in if variant == "s" else HEAD
    widen = [] if variant == "s" else [ConvBlock(c_in, HEAD, 1, act=act)]
    project = [ConvBlock(HEAD, dim, 1)] if variant == "" else []
    return nn.Sequential(*widen, ConvBlock(channels, channels, size, groups=channels), *project, nn.Flatten())
