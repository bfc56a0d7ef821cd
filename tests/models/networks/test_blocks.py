"""Building blocks against their equations; bottlenecks are in test_networks.py."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from torch import nn  # noqa: E402

from models.networks.blocks import Int8PReLU, SqueezeExcite, activation, multiply_adds, scaled  # noqa: E402

pytestmark = pytest.mark.train
SLOPES = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.25, 1.0])


def test_int8_prelu_is_prelu_for_slopes_up_to_1():
    prelu = nn.PReLU(6)
    prelu.weight = nn.Parameter(SLOPES)
    x = torch.linspace(-6, 6, 121).expand(2, 6, 121)[..., None].contiguous()
    with torch.no_grad():
        assert torch.allclose(Int8PReLU(SLOPES)(x), prelu(x), atol=1e-6)


def test_int8_prelu_holds_no_slope_above_1():
    layer = Int8PReLU(torch.tensor([1.5, 40.0]))
    x = torch.linspace(-6, 6, 25).expand(1, 2, 25)[..., None].contiguous()
    with torch.no_grad():
        assert torch.equal(layer(x), x)
    assert torch.equal(layer.weight, torch.zeros(1, 2, 1, 1))


def test_int8_prelu_leaves_the_slopes_it_was_made_of_alone():
    slopes = torch.tensor([0.5, 2.0])
    with torch.no_grad():
        Int8PReLU(slopes).weight.zero_()
    assert slopes.tolist() == [0.5, 2.0]


def test_squeeze_and_excitation_scales_whole_channels():
    torch.manual_seed(0)
    block = SqueezeExcite(8, "prelu")
    x = torch.rand(2, 8, 5, 5) + 0.1
    with torch.no_grad():
        share = block(x) / x
    assert torch.allclose(share, share[..., :1, :1].expand_as(share), atol=1e-5)
    assert 0 < share.min() < share.max() < 1
    assert not torch.allclose(share[0], share[1])  # it depends on the picture


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 0.25, 8),
        (16, 0.25, 8),
        (24, 0.5, 16),
        (96, 0.35, 32),
        (24, 0.75, 24),
        (32, 0.35, 16),
    ],
)
def test_channels_are_scaled_to_multiples_of_8_and_lose_no_more_than_a_tenth(channels, width, expected):
    """The last two: the nearest multiples, 16 and 8, would be too few."""
    assert scaled(channels, width) == expected


def test_multiply_adds_are_those_of_convolutions_and_linear_layers():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(288, 5)
    ).train()
    expected = 8 * 8 * 8 * (3 * 9) + 6 * 6 * 8 * 9 + 288 * 5
    assert multiply_adds(network, torch.zeros(1, 3, 16, 16)) == expected
    assert network.training


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="prelu, relu6, relu, received 'swish'"):
        activation("swish", 8)
