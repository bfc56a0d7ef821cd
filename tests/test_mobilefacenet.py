"""MobileFaceNet against its paper (arXiv 1804.07573): Table 1, parameters and multiply-adds."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.blocks import Bottleneck, activation, multiply_adds  # noqa: E402
from models.mobilefacenet import MobileFaceNet  # noqa: E402

pytestmark = pytest.mark.train
FACE = torch.zeros(1, 3, 112, 112)


def test_parameters_and_multiply_adds_are_the_papers():
    network = MobileFaceNet("prelu")
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == pytest.approx(0.99e6, rel=0.02)
    assert multiply_adds(network, FACE) == pytest.approx(221e6, rel=0.005)


def test_table_1_shapes():
    stages = MobileFaceNet().eval().stage_outputs(FACE)
    assert [tuple(stage.shape[1:]) for stage in stages] == [(64, 28, 28), (128, 14, 14), (128, 7, 7), (128,)]


def test_fifteen_bottlenecks_twelve_of_them_with_a_shortcut():
    blocks = [m for m in MobileFaceNet().modules() if isinstance(m, Bottleneck)]
    assert len(blocks) == 15
    assert sum(block.shortcut for block in blocks) == 12


@pytest.mark.parametrize("act", ["prelu", "relu6"])
def test_every_parameter_gets_a_gradient(act):
    network = MobileFaceNet(act)
    network(torch.randn(4, 3, 112, 112)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().any()] == []


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="prelu, relu6, received 'swish'"):
        activation("swish", 8)
