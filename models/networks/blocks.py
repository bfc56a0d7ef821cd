"""Building blocks shared by the networks, named as in the papers. Tensors are (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.networks.gradients import Convolution, PReLU, convolve

ACTIVATIONS = ("prelu", "relu6", "relu")


def activation(name: str, channels: int) -> nn.Module:
    """Make the non-linearity `name` for `channels` channels.

    `prelu` is the MobileFaceNet paper's (`Int8PReLU` takes its place for the board), `relu6` the one that int8
    kernels fuse into the convolution before it.
    """
    if name == "prelu":
        return PReLU(channels)
    if name == "relu6":
        return nn.ReLU6(inplace=True)
    if name == "relu":
        return nn.ReLU(inplace=True)
    raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}, received {name!r}")


class Stored(nn.Identity):
    """Mark a value that an int8 file rounds outside a convolution: `quantization_aware` puts the rounding here."""


class Int8PReLU(nn.Module):
    """PReLU (arXiv 1502.01852, Eq. 1) as x + ReLU((a - 1) x): a product with a constant, and a sum.

    XNNPACK has no int8 kernel for PReLU, but for these two. Slopes a above 1 become 1.
    """

    def __init__(self, slopes: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter((slopes.detach().clamp(max=1) - 1).view(1, -1, 1, 1))
        self.linear, self.bend, self.sum = Stored(), Stored(), Stored()

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.sum(x + self.bend(torch.relu(self.weight * x)))


class ConvBlock(nn.Sequential):
    """Convolution, batch norm and, unless linear, an activation.

    Where `frozen`, the batch norm keeps its statistics in training, and is folded into the convolution at each step:
    a third less to compute for a network that starts from trained weights.
    """

    frozen = False

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        act: str | None = None,
    ) -> None:
        layers: list[nn.Module] = [
            Convolution(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        if act is not None:
            layers.append(activation(act, c_out))
        super().__init__(*layers)

    def forward(self, input: Tensor) -> Tensor:
        if not (self.frozen and self.training):
            return super().forward(input)
        conv, norm = self[0], self[1]
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = norm.bias - norm.running_mean * scale
        x = convolve(conv, input, conv.weight * scale.view(-1, 1, 1, 1), bias)
        return self[2](x) if len(self) > 2 else x


def freeze_norms(network: nn.Module) -> None:
    """Keep the statistics of every batch norm of the network in training."""
    for block in network.modules():
        if isinstance(block, ConvBlock):
            block.frozen = True


class Bottleneck(nn.Module):
    """Inverted residual with a linear bottleneck (MobileNetV2, arXiv 1801.04381, Table 1).

    Expand by `t` (not at all where it is 1), 3x3 depthwise, linear projection; a shortcut only where stride is 1 and
    channels match.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int, t: int, act: str, dilation: int = 1) -> None:
        super().__init__()
        hidden = c_in * t
        self.shortcut = stride == 1 and c_in == c_out
        self.expand = ConvBlock(c_in, hidden, 1, act=act) if t > 1 else nn.Identity()
        self.depthwise = ConvBlock(
            hidden, hidden, 3, stride=stride, padding=dilation, dilation=dilation, groups=hidden, act=act
        )
        self.project = ConvBlock(hidden, c_out, 1)
        self.sum = Stored()

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return self.sum(x + y) if self.shortcut else y


def bottlenecks(
    c_in: int,
    row: tuple[int, int, int, int],
    act: str,
    steps: Sequence[tuple[int, int]] = (),
) -> nn.Sequential:
    """Make one row (t, c, n, s) of a table: `n` bottlenecks, the first with stride `s`.

    `steps` gives stride and dilation of each bottleneck where they are not the row's.
    """
    t, c, n, s = row
    blocks = [
        Bottleneck(c_in if i == 0 else c, c, stride=stride, dilation=dilation, t=t, act=act)
        for i, (stride, dilation) in enumerate(steps or [(s, 1)] + [(1, 1)] * (n - 1))
    ]
    return nn.Sequential(*blocks)


def dilated(strides: Sequence[int], output_stride: int) -> list[tuple[int, int]]:
    """Return (stride, dilation) of layers so that the map is not made smaller than 1 / `output_stride` of the picture.

    Once it is that small, a layer that would halve it keeps its size, and the layers behind it look twice as far
    (atrous convolution, arXiv 1706.05587; `output_stride` of the authors' MobileNets).
    """
    steps, reached, dilation = [], 1, 1
    for stride in strides:
        if reached == output_stride:
            steps.append((1, dilation))
            dilation *= stride
        else:
            steps.append((stride, 1))
            reached *= stride
    return steps


class SqueezeExcite(nn.Module):
    """Scale each channel by what the whole picture says of it (arXiv 1709.01507, Eq. 2-4), reduction `ratio`."""

    def __init__(self, channels: int, act: str, ratio: int = 4) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // ratio, 1),
            activation(act, channels // ratio),
            nn.Conv2d(channels // ratio, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Staged(nn.Module):
    """A network of four parts: up to 28x28, 14x14 and 7x7 (of a 112x112 face), and the head.

    The parts are what stage-wise distillation teaches one by one. `stage_act` says what the values between them are:
    "linear" for linear bottlenecks, else the activation's name.
    """

    stage_act = "linear"

    def __init__(self, act: str, input_px: tuple[int, int], stages: list[nn.Module]) -> None:
        super().__init__()
        self.act, self.input_px = act, input_px
        self.stages = nn.ModuleList(stages)
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


def scaled(channels: int, width: float, divisor: int = 8, min_depth: int = 0) -> int:
    """Return `channels` times the width multiplier, to the nearest multiple of `divisor` (MobileNetV2, section 5).

    As the authors' own code does, it rounds up where down would take more than a tenth, and gives at least
    `min_depth` (0: the divisor).
    """
    nearest = max(min_depth or divisor, int(channels * width + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels * width else nearest + divisor


def multiply_adds(network: nn.Module, example: Tensor) -> int:
    """Count the multiply-adds of every convolution and linear layer in one forward pass of `example` (1, C, H, W)."""
    total = 0

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * layer.weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = network.training
    network.eval()(example)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
