"""MobileNetV2: Inverted Residuals and Linear Bottlenecks.

Sandler, Howard, Zhu, Zhmoginov, Chen, 2018, arXiv 1801.04381. The rows are those of Table 2.
"""

from __future__ import annotations

from torch import nn

from models.networks.blocks import ConvBlock, Staged, bottlenecks, dilated, scaled
from models.networks.heads import classifier_head, global_depthwise_head
from models.networks.mobilenet_v1 import MIN_DEPTH, OUTPUT_STRIDES, check_output_stride

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


def trunk(
    act: str,
    width: float,
    stem_stride: int,
    *,
    output_stride: int = OUTPUT_STRIDES[-1],
    min_depth: int = MIN_DEPTH,
) -> list[nn.Module]:
    """Make the three stages of Table 2 up to the last linear bottleneck."""
    strides = [stem_stride, *(stride for _, _, n, s in ROWS for stride in [s] + [1] * (n - 1))]
    (stride, _), *steps = dilated(strides, output_stride)
    c_in = scaled(STEM, width, min_depth=min_depth)
    stem = ConvBlock(3, c_in, 3, stride=stride, padding=1, act=act)
    rows: list[nn.Module] = []
    for t, channels, n, s in ROWS:
        c, own = scaled(channels, width, min_depth=min_depth), steps[:n]
        rows.append(bottlenecks(c_in, (t, c, n, s), act, own))
        c_in, steps = c, steps[n:]
    parts = [nn.Sequential(*(rows[i] for i in group)) for group in STAGE_ROWS]
    return [nn.Sequential(stem, parts[0]), *parts[1:]]


def last(act: str, width: float, min_depth: int = MIN_DEPTH) -> ConvBlock:
    """Make the 1x1 convolution before the pooling; it is not made narrower than the paper's (section 5)."""
    return ConvBlock(scaled(ROWS[-1][1], width, min_depth=min_depth), last_channels(width), 1, act=act)


def last_channels(width: float) -> int:
    return scaled(LAST, max(1.0, width))


class MobileNetV2(Staged):
    """The paper's classifier: (N, 3, S, S) pictures to (N, classes) logits, at any width and resolution.

    Args:
        output_stride: 8, 16 or 32: how many times smaller than the picture the last map is.
        min_depth: the least channels of a layer at a small width.
        dropout: before the logits; the authors' own code keeps 0.8.
    """

    def __init__(
        self,
        act: str = "relu6",
        width: float = 1.0,
        input_px: int = 224,
        classes: int = 1000,
        *,
        output_stride: int = OUTPUT_STRIDES[-1],
        min_depth: int = MIN_DEPTH,
        dropout: float = 0.2,
    ) -> None:
        check_output_stride(output_stride)
        stages = trunk(act, width, 2, output_stride=output_stride, min_depth=min_depth)
        head = nn.Sequential(
            last(act, width, min_depth), *classifier_head(last_channels(width), classes, dropout)
        )
        super().__init__(act, (input_px, input_px), [*stages, head])


class MobileNetV2Face(Staged):
    """The trunk as a face embedder: (N, 3, 112, 112) to (N, 128), changed as MobileNetV1Face is."""

    def __init__(self, act: str = "relu6", width: float = 1.0, dim: int = 128) -> None:
        head = nn.Sequential(last(act, width), *global_depthwise_head(last_channels(width), (7, 7), dim))
        super().__init__(act, (112, 112), [*trunk(act, width, stem_stride=1), head])
