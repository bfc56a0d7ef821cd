"""Equalization of channels before a PReLU: the function stays, the ranges meet."""

from __future__ import annotations

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.int8.equalization import channel_ranges, equalize  # noqa: E402
from models.networks.blocks import ConvBlock  # noqa: E402
from models.networks.mobilefacenet import MobileFaceNet  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture
def faces():
    return torch.randn(8, 3, 112, 112, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)


@pytest.fixture
def uneven(faces):
    """A network whose channels differ in range by a factor of a hundred, as trained ones do."""
    torch.manual_seed(5)
    network = MobileFaceNet("prelu").train()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.PReLU):
                layer.weight.uniform_(-0.9, 0.9)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.copy_(
                    torch.logspace(-1, 1, len(layer.weight))[torch.randperm(len(layer.weight))]
                )
        for _ in range(3):
            network(faces)
    return network.eval()


def before_depthwise(network):
    blocks = [m for m in network.modules() if isinstance(m, ConvBlock)]
    return [a for a, b in pairwise(blocks) if b[0].groups > 1 and len(a) == 3]


def test_the_function_stays_and_ranges_before_depthwise_layers_become_one(uneven, faces):
    with torch.no_grad():
        expected = uneven(faces)
        before = channel_ranges(uneven, before_depthwise(uneven), faces)
        found = equalize(uneven, faces)(faces)
        after = channel_ranges(uneven, before_depthwise(uneven), faces)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    assert len(after) == 17
    assert min(float(ranges.max() / ranges.min()) for ranges in before.values()) > 10
    for ranges in after.values():
        assert float(ranges.max() / ranges.min()) == pytest.approx(1, rel=1e-3)


def test_what_shortcuts_carry_keeps_its_scale(uneven, faces):
    """A linear layer's output has more readers than the next convolution."""
    with torch.no_grad():
        expected = uneven.stage_outputs(faces)[:-1]
        found = equalize(uneven, faces).stage_outputs(faces)[:-1]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())
