"""MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications.

Howard et al., 2017, arXiv 1704.04861. The rows are Table 1: output channels and stride of each separable pair.
"""

from __future__ import annotations

from torch import nn

from models.networks.blocks import ConvBlock, Staged, dilated, scaled
from models.networks.heads import bottleneck_head, classifier_head, global_depthwise_head

WIDTHS = (0.25, 0.5, 0.75, 1.0)
RESOLUTIONS_PX = (224, 192, 160, 128, 112)
OUTPUT_STRIDES = (8, 16, 32)
MIN_DEPTH = 8
STEM = 32
# (c, s); the last row's stride is 1: the 2 printed there does not fit the size printed beside it
ROWS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
STAGE_ROWS = (range(5), range(5, 11), range(11, 13))


def separable(c_in: int, c_out: int, stride: int, dilation: int, act: str) -> nn.Sequential:
    """Make a depthwise and a pointwise layer (Figure 3)."""
    return nn.Sequential(
        ConvBlock(c_in, c_in, 3, stride=stride, padding=dilation, dilation=dilation, groups=c_in, act=act),
        ConvBlock(c_in, c_out, 1, act=act),
    )


def check_output_stride(output_stride: int) -> None:
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride is one of {OUTPUT_STRIDES}, received {output_stride}")


def trunk(
    act: str,
    width: float,
    stem_stride: int,
    *,
    output_stride: int = OUTPUT_STRIDES[-1],
    min_depth: int = MIN_DEPTH,
) -> list[nn.Module]:
    """Make the three stages of Table 1 up to the pooling."""
    (stride, _), *steps = dilated([stem_stride, *(s for _, s in ROWS)], output_stride)
    c_in = scaled(STEM, width, min_depth=min_depth)
    stem = ConvBlock(3, c_in, 3, stride=stride, padding=1, act=act)
    layers: list[nn.Module] = []
    for (channels, _), step in zip(ROWS, steps, strict=True):
        c = scaled(channels, width, min_depth=min_depth)
        layers.append(separable(c_in, c, *step, act))
        c_in = c
    parts = [nn.Sequential(*(layers[i] for i in rows)) for rows in STAGE_ROWS]
    return [nn.Sequential(stem, parts[0]), *parts[1:]]


class MobileNetV1(Staged):
    """The paper's classifier: (N, 3, S, S) pictures to (N, classes) logits, at any width and resolution.

    Args:
        output_stride: 8, 16 or 32: how many times smaller than the picture the last map is.
        min_depth: the least channels of a layer at a small width.
        dropout: before the logits; the authors' own code keeps 0.999.
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
        dropout: float = 0.001,
    ) -> None:
        check_output_stride(output_stride)
        stages = trunk(act, width, 2, output_stride=output_stride, min_depth=min_depth)
        head = classifier_head(scaled(ROWS[-1][0], width, min_depth=min_depth), classes, dropout)
        super().__init__(act, (input_px, input_px), [*stages, head])


class MobileNetV1Face(Staged):
    """The trunk as a face embedder: (N, 3, 112, 112) to (N, 128).

    As MobileFaceNet's authors ran it beside theirs (arXiv 1804.07573, section 4.2): the first convolution has stride 1,
    since half of 112 is too little, and a global depthwise convolution takes the place of the pooling.
    """

    stage_act = "relu6"

    def __init__(self, act: str = "relu6", width: float = 1.0, dim: int = 128) -> None:
        head = global_depthwise_head(scaled(ROWS[-1][0], width), (7, 7), dim)
        super().__init__(act, (112, 112), [*trunk(act, width, stem_stride=1), head])


class FaceNet(Staged):
    """FaceNet: A Unified Embedding for Face Recognition and Clustering, on a MobileNetV1 trunk.

    Schroff, Kalenichenko, Philbin, 2015, arXiv 1503.03832: (N, 3, 160, 160) faces to (N, 128) embeddings.
    Dropout before the bottleneck keeps 0.4, as the published implementation was trained.
    """

    stage_act = "relu6"

    def __init__(self, act: str = "relu6", width: float = 1.0, dim: int = 128, dropout: float = 0.6) -> None:
        head = bottleneck_head(scaled(ROWS[-1][0], width), dim, dropout)
        super().__init__(act, (160, 160), [*trunk(act, width, stem_stride=2), head])
