"""The faster gradients are PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.networks.blocks import ConvBlock, freeze_norms
from models.networks.gradients import Convolution, prelu_gradient
from models.networks.mobilefacenet import MobileFaceNet


def gradients(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_halving_depthwise_convolution_has_torchs_gradient(bias: bool, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    fast = Convolution(6, 6, 3, 2, 1, groups=6, bias=bias).train()
    plain = nn.Conv2d(6, 6, 3, 2, 1, groups=6, bias=bias)
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(3, 6, *size)
    for own, expected in zip(gradients(fast, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(own, expected)


def test_prelu_gradient_is_torchs() -> None:
    torch.manual_seed(0)
    x, slopes, gradient = torch.randn(2, 5, 4, 4, requires_grad=True), torch.randn(5), torch.randn(2, 5, 4, 4)
    slopes.requires_grad_()
    F.prelu(x, slopes).backward(gradient)
    own = prelu_gradient(gradient, x.detach(), slopes.detach())
    torch.testing.assert_close(own, (x.grad, slopes.grad))


def test_frozen_block_answers_in_training_as_in_evaluation_and_keeps_its_statistics() -> None:
    torch.manual_seed(0)
    network = MobileFaceNet("prelu").train()
    x = torch.randn(4, 3, 112, 112)
    with torch.no_grad():
        network(x)  # statistics other than those of a new network
        freeze_norms(network)
        before = copy.deepcopy(network.state_dict())
        trained, evaluated = network.train()(x), network.eval()(x)
    torch.testing.assert_close(trained, evaluated, atol=1e-4, rtol=1e-3)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_frozen_block_learns_its_batch_norm() -> None:
    block = ConvBlock(3, 4, 1, act="prelu").train()
    block.frozen = True
    gradients(block, torch.randn(2, 3, 5, 5))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
