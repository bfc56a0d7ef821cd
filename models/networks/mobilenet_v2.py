"""MobileNetV2: Inverted Residuals and Linear Bottlenecks.

Sandler, Howard, Zhu, Zhmoginov, Chen, 2018, arXiv 1801.04381. The rows are those of Table 2.
"""

from __future__ import annotations

from torch import nn

from models.networks.blocks import ConvBlock, Staged, bottlenecks, scaled
from models.networks.heads import classifier_head, global_depthwise_head

STEM, LAST = 32, 1280
# (t, c, n, s): expansion, channels, repeats, first stride
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STAGE_ROWS = ((0, 1, 2), (3, 4), (5, 6))


def trunk(act: str, width: float, stem_stride: int) -> list[nn.Module]:
    """Make the three stages of Table 2 up to the last linear bottleneck."""
    c_in = scaled(STEM, width)
    stem = ConvBlock(3, c_in, 3, stride=stem_stride, padding=1, act=act)
    rows: list[nn.Module] = []
    for t, c, n, s in ROWS:
        rows.append(bottlenecks(c_in, (t, scaled(c, width), n, s), act))
        c_in = scaled(c, width)
    parts = [nn.Sequential(*(rows[i] for i in group)) for group in STAGE_ROWS]
    return [nn.Sequential(stem, parts[0]), *parts[1:]]


def last(act: str, width: float) -> ConvBlock:
    """Make the 1x1 convolution before the pooling; it is not made narrower than the paper's (section 5)."""
    return ConvBlock(scaled(ROWS[-1][1], width), last_channels(width), 1, act=act)


def last_channels(width: float) -> int:
    return scaled(LAST, max(1.0, width))


class MobileNetV2(Staged):
    """The paper's classifier: (N, 3, S, S) pictures to (N, classes) logits, at any width and resolution."""

    def __init__(
        self, act: str = "relu6", width: float = 1.0, input_px: int = 224, classes: int = 1000
    ) -> None:
        head = nn.Sequential(last(act, width), classifier_head(last_channels(width), classes))
        super().__init__(act, (input_px, input_px), [*trunk(act, width, stem_stride=2), head])


class MobileNetV2Face(Staged):
    """The trunk as a face embedder: (N, 3, 112, 112) to (N, 128), changed as MobileNetV1Face is."""

    def __init__(self, act: str = "relu6", width: float = 1.0, dim: int = 128) -> None:
        head = nn.Sequential(last(act, width), *global_depthwise_head(last_channels(width), (7, 7), dim))
        super().__init__(act, (112, 112), [*trunk(act, width, stem_stride=1), head])
