"""Layers whose gradient PyTorch computes slowly on a CPU, with the same function and a faster gradient.

On one core in bfloat16 a MobileFaceNet with PReLU learns from twice as many faces by them. They matter in training
alone: in evaluation, export and on other devices these are the plain layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from shutil import which
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_COMPILED = (
    2**21
)  # values of a tensor from which on a compiled gradient earns the minute of its compilation

Gradient = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Halving(torch.autograd.Function):
    """A 3x3 depthwise convolution of stride 2.

    Its gradient is that of stride 1 where every other place has no gradient, for which there is a fast kernel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return F.conv2d(x, weight, bias, 2, 1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        spread = torch.zeros_like(x)
        spread[:, :, ::2, ::2] = gradients[0]
        return torch.ops.aten.convolution_backward(
            *(spread, x, weight, [x.shape[1]], [1, 1], [1, 1], [1, 1], False, [0, 0], x.shape[1]),
            [True, True, ctx.has_bias],
        )


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a convolution with other numbers than its own, by the faster gradient where there is one."""
    halving = conv.stride == (2, 2) and conv.kernel_size == (3, 3) and conv.padding == (1, 1)
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    if not (halving and depthwise and x.device.type == "cpu" and x.requires_grad):
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    if torch.is_autocast_enabled("cpu"):  # an autograd function is handed its tensors as they are
        kind = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    return Halving.apply(x, weight, bias)


class Convolution(nn.Conv2d):
    """A convolution that learns faster on a CPU where it is depthwise and halves the map."""

    def forward(self, input: Tensor) -> Tensor:
        return convolve(self, input, self.weight, self.bias) if self.training else super().forward(input)


class Bend(torch.autograd.Function):
    """PReLU of (N, C, H, W) by the slopes (C,), its gradient in one pass over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(x, slopes)
        return F.prelu(x, slopes.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return compiled_gradient()(gradients[0], *ctx.saved_tensors)


def prelu_gradient(gradient: Tensor, x: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of PReLU's input and of its slopes; sums are float32."""
    full = gradient.float()
    positive = x > 0
    to_input = torch.where(positive, full, full * slopes.view(1, -1, 1, 1)).to(gradient.dtype)
    return to_input, torch.where(positive, 0.0, full * x.float()).sum(dim=(0, 2, 3))


@cache
def compiled_gradient() -> Gradient:
    return torch.compile(prelu_gradient, dynamic=True)


class PReLU(nn.PReLU):
    """A PReLU that learns faster on a CPU in bfloat16, from large tensors on, where there is a C++ compiler."""

    def forward(self, input: Tensor) -> Tensor:
        fast = self.training and input.device.type == "cpu" and input.dtype == torch.bfloat16
        if fast and input.ndim == 4 and input.numel() >= LEAST_COMPILED and which("g++"):
            return Bend.apply(input, self.weight)
        return super().forward(input)
