"""Building blocks shared by the networks, named as in the papers. Tensors are (N, C, H, W)."""

from __future__ import annotations

from torch import Tensor, nn

ACTIVATIONS = ("prelu", "relu6")


def activation(name: str, channels: int) -> nn.Module:
    """Make the non-linearity `name` for `channels` channels.

    `prelu` is the MobileFaceNet paper's; `relu6` is the one that int8 kernels fuse into the convolution before it.
    """
    if name == "prelu":
        return nn.PReLU(channels)
    if name == "relu6":
        return nn.ReLU6(inplace=True)
    raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}, received {name!r}")


class ConvBlock(nn.Sequential):
    """Convolution, batch norm and, unless linear, an activation."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
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

    Expand by `t`, 3x3 depthwise, linear projection; a shortcut only where stride is 1 and channels match.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int, t: int, act: str) -> None:
        super().__init__()
        hidden = c_in * t
        self.shortcut = stride == 1 and c_in == c_out
        self.expand = ConvBlock(c_in, hidden, 1, act=act)
        self.depthwise = ConvBlock(hidden, hidden, 3, stride=stride, padding=1, groups=hidden, act=act)
        self.project = ConvBlock(hidden, c_out, 1)
        self.sum = nn.Identity()  # a place for what happens to the sum in int8

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return self.sum(x + y) if self.shortcut else y


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
