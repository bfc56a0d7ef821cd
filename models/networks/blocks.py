"""Building blocks shared by the networks, named as in the papers. Tensors are (N, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ACTIVATIONS = ("prelu", "relu6", "relu")


def activation(name: str, channels: int) -> nn.Module:
    """Make the non-linearity `name` for `channels` channels.

    `prelu` is the MobileFaceNet paper's (`Int8PReLU` takes its place for the board), `relu6` the one that int8
    kernels fuse into the convolution before it.
    """
    if name == "prelu":
        return nn.PReLU(channels)
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
    """Convolution, batch norm and, unless linear, an activation."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        act: str | None = None,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        if act is not None:
            layers.append(activation(act, c_out))
        super().__init__(*layers)


class Bottleneck(nn.Module):
    """Inverted residual with a linear bottleneck (MobileNetV2, arXiv 1801.04381, Table 1).

    Expand by `t` (not at all where it is 1), 3x3 depthwise, linear projection; a shortcut only where stride is 1 and
    channels match.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int, t: int, act: str) -> None:
        super().__init__()
        hidden = c_in * t
        self.shortcut = stride == 1 and c_in == c_out
        self.expand = ConvBlock(c_in, hidden, 1, act=act) if t > 1 else nn.Identity()
        self.depthwise = ConvBlock(hidden, hidden, 3, stride=stride, padding=1, groups=hidden, act=act)
        self.project = ConvBlock(hidden, c_out, 1)
        self.sum = Stored()

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return self.sum(x + y) if self.shortcut else y


def bottlenecks(c_in: int, row: tuple[int, int, int, int], act: str) -> nn.Sequential:
    """Make one row (t, c, n, s) of a table: `n` bottlenecks, the first with stride `s`."""
    t, c, n, s = row
    blocks = [Bottleneck(c_in if i == 0 else c, c, stride=s if i == 0 else 1, t=t, act=act) for i in range(n)]
    return nn.Sequential(*blocks)


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


def scaled(channels: int, width: float, divisor: int = 8) -> int:
    """Return `channels` times the width multiplier, to the nearest multiple of `divisor` (MobileNetV2, section 5).

    As the authors' own code does, it rounds up where down would take more than a tenth.
    """
    nearest = max(divisor, int(channels * width + divisor / 2) // divisor * divisor)
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
