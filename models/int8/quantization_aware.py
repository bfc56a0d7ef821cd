"""Fine-tune a trained network with the rounding of int8 in the loop (Jacob et al., arXiv 1712.05877, section 3).

Batch norm is folded first, then every weight is rounded per output channel and every activation per tensor, exactly
where the int8 file will round; gradients pass straight through. `plain` takes the rounding out again for the export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.networks.blocks import ConvBlock, Int8PReLU, Stored

RANGE_MOMENTUM = 0.01
INT8 = (-128, 127)


class Rounding(nn.Module):
    """What rounds in a prepared network; passes everything on as it is while not `on`."""

    on = True


class RoundWeight(Rounding):
    """Round a weight to int8, symmetric per output channel; the largest keeps its value."""

    def forward(self, weight: Tensor) -> Tensor:
        if not self.on:
            return weight
        scale = weight.detach().flatten(1).abs().amax(dim=1).clamp(min=1e-8) / 127
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


class RoundActivation(Rounding):
    """Round an activation to int8, affine per tensor; the range follows the mean extremes of the faces seen."""

    low: Tensor
    high: Tensor
    started: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.ones(()))
        self.register_buffer("started", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.follow(x.detach().float().flatten(1))
        if not self.on:
            return x
        scale = ((self.high - self.low) / 255).clamp(min=1e-8)
        zero = torch.round(INT8[0] - self.low / scale).clamp(*INT8).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, *INT8)

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        momentum = torch.where(self.started > 0, RANGE_MOMENTUM, 1.0)
        self.low.lerp_(x.amin(dim=1).mean().clamp(max=0), momentum)
        self.high.lerp_(x.amax(dim=1).mean().clamp(min=1e-6), momentum)
        self.started.fill_(1)


def fold(network: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, in place; return the network.

    Where a run went through this before, nothing is left to fold.
    """
    blocks = [m for m in network.modules() if isinstance(m, ConvBlock)]
    for block in [block for block in blocks if isinstance(block[1], nn.BatchNorm2d)]:
        block[0] = fuse_conv_bn_eval(block[0].eval(), block[1].eval())
        block[0].bias.requires_grad_(True)  # the convolution had none, and torch takes the new one for fixed
        block[1] = nn.Identity()
    return network


def int8_activations(network: nn.Module) -> nn.Module:
    """Put an `Int8PReLU` of the same slopes in the place of every PReLU, in place; return the network."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.PReLU):
                setattr(parent, name, Int8PReLU(child.weight))
    return network


def prepare(network: nn.Module) -> nn.Module:
    """Fold a network, its activations in int8's operators, and put the rounding in, in place; return it."""
    for block in [m for m in int8_activations(fold(network)).modules() if isinstance(m, ConvBlock)]:
        parametrize.register_parametrization(block[0], "weight", RoundWeight())
        if not isinstance(block[-1], Int8PReLU):  # that one rounds what it stores by itself
            block.append(RoundActivation())
    replace(network, Stored, RoundedStored)
    return network


def set_rounding(network: nn.Module, on: bool) -> None:
    """Round in a prepared network from now on, or not yet: `quant_delay` of a recipe (as in the authors' own code)."""
    for module in network.modules():
        if isinstance(module, Rounding):
            module.on = on


def plain(network: nn.Module) -> nn.Module:
    """Take the rounding out of a prepared network, in place; the weights stay on their int8 grid."""
    for block in [m for m in network.modules() if isinstance(m, ConvBlock)]:
        parametrize.remove_parametrizations(block[0], "weight")
        if isinstance(block[-1], RoundActivation):
            del block[-1]
    replace(network, RoundedStored, Stored)
    return network


class RoundedStored(RoundActivation):
    """What a `Stored` value becomes."""


def replace(network: nn.Module, kind: type[nn.Module], other: type[nn.Module]) -> None:
    """Put a new `other` in the place of every module of `kind`."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, other())
