"""Quantization-aware fine-tuning: folding, rounding, and what is left of it in the exported file."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.int8.quantization_aware import (  # noqa: E402
    RoundActivation,
    RoundWeight,
    fold,
    int8_activations,
    plain,
    prepare,
    set_rounding,
)
from models.networks.blocks import Bottleneck, ConvBlock, Int8PReLU, Stored  # noqa: E402
from models.networks.gradients import PReLU  # noqa: E402
from models.networks.mobilefacenet import MobileFaceNet  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = MobileFaceNet("relu6").train()
    with torch.no_grad():
        for _ in range(3):  # gives the batch norms statistics worth folding
            network(faces(16))
    return network.eval()


@pytest.fixture(params=["relu6", "prelu"])
def either(request):
    """A small network, all of whose blocks a MobileFaceNet has: a shortcut, and a stride that has none."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        ConvBlock(3, 16, 3, stride=2, padding=1, act=request.param),
        Bottleneck(16, 16, stride=1, t=2, act=request.param),
        Bottleneck(16, 24, stride=2, t=2, act=request.param),
    )
    for module in network.modules():
        if isinstance(module, torch.nn.PReLU):
            torch.nn.init.uniform_(module.weight, -1, 1)
    with torch.no_grad():
        for _ in range(3):
            network.train()(faces(4))
    return network.eval()


def faces(count, seed=1):
    return torch.randn(count, 3, 112, 112, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b).mean().item()


def test_folding_changes_nothing(network):
    with torch.no_grad():
        before = network(faces(4))
        after = fold(network)(faces(4))
    assert torch.allclose(before, after, atol=1e-3 * before.abs().max().item())


def test_weights_lie_on_an_int8_grid_of_their_channel():
    weight = torch.randn(6, 4, 3, 3)
    rounded = RoundWeight()(weight)
    steps = rounded / (weight.flatten(1).abs().amax(1) / 127).view(-1, 1, 1, 1)
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert torch.equal(rounded.flatten(1).abs().amax(1), weight.flatten(1).abs().amax(1))


def test_activations_round_to_their_range_and_gradients_pass():
    layer = RoundActivation().train()
    x = torch.linspace(0, 6, 101).repeat(4, 1).requires_grad_()
    y = layer(x)
    assert (y - x).abs().max() <= 6 / 255 / 2 + 1e-6
    assert len(y.detach().unique()) <= 101
    y.sum().backward()
    assert (x.grad == 1).float().mean() > 0.9
    layer.eval()
    assert layer(torch.tensor([[50.0]])).item() == pytest.approx(6, abs=0.05)


def test_a_prepared_network_trains_all_its_weights(network):
    prepared = prepare(network).train()
    reference = MobileFaceNet("relu6")
    prepared(faces(8)).square().mean().backward()
    assert all(
        p.grad is not None and p.grad.abs().any() for n, p in prepared.named_parameters() if "weight" in n
    )
    assert (
        len(list(prepared.parameters()))
        == sum(isinstance(m, torch.nn.Conv2d) for m in reference.modules()) * 2
    )


def test_the_exported_file_does_what_the_rounded_network_did(network, tmp_path):
    from models.int8 import export

    images = np.random.default_rng(0).integers(0, 256, (24, 112, 112, 3), dtype=np.uint8)
    with torch.no_grad():
        prepared = prepare(network).train()
        inputs = torch.from_numpy(export.normalize(images)).permute(0, 3, 1, 2)
        for _ in range(2):
            prepared(inputs)
        rounded = prepared.eval()(inputs)
        exported = plain(prepared)
        unrounded = exported(inputs)
    export.to_litert(exported, tmp_path / "single.tflite")
    export.to_int8(tmp_path / "single.tflite", images, tmp_path / "int8.tflite")
    int8 = torch.from_numpy(export.embeddings(tmp_path / "int8.tflite", images))
    assert cosine(rounded, unrounded) > 0.95
    assert cosine(int8, rounded) > 0.97


def modules(network, kind):
    return [m for m in network.modules() if type(m) is kind]


def test_folding_twice_is_folding_once(either):
    with torch.no_grad():
        once = fold(either)(faces(2))
        assert torch.equal(fold(either)(faces(2)), once)


def test_activations_of_int8_change_no_answer(either):
    prelus = len(modules(either, PReLU))
    with torch.no_grad():
        before = either(faces(2))
        after = int8_activations(either)(faces(2))
    assert torch.allclose(before, after, atol=1e-5)
    assert modules(either, PReLU) == []
    assert len(modules(either, Int8PReLU)) == prelus


def test_rounding_goes_in_where_a_value_is_stored_and_comes_out_again(either):
    """Once per convolution that ends in its own value, thrice per `Int8PReLU`, once per sum."""
    with torch.no_grad():
        before = either(faces(2))
        fold(int8_activations(either))
        stored, products = len(modules(either, Stored)), len(modules(either, Int8PReLU))
        prepared = prepare(either).train()
        rounded = prepared(faces(2))
        blocks, roundings = modules(prepared, ConvBlock), modules(prepared, RoundActivation)
        assert len(roundings) == len(blocks) - products
        assert modules(prepared, Stored) == []
        assert stored == 2 + 3 * products
        weights = [block[0].weight.clone() for block in blocks]
        network = plain(prepared).eval()
        after = network(faces(2))
    assert not torch.equal(rounded, before)
    assert cosine(rounded.flatten(1), before.flatten(1)) > 0.99
    assert cosine(after.flatten(1), before.flatten(1)) > 0.99
    assert not any(isinstance(m, RoundActivation) for m in network.modules())
    assert len(modules(network, Stored)) == stored
    for block, weight in zip(modules(network, ConvBlock), weights, strict=True):
        assert torch.equal(block[0].weight, weight)  # still on its grid
        assert len(block[0].weight[0].unique()) <= 255


def test_slopes_are_learned_with_the_rounding_and_come_out_as_slopes():
    torch.manual_seed(0)
    network = torch.nn.Sequential(ConvBlock(3, 8, 3, act="prelu"))
    prepared = prepare(network.eval()).train()
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.1)
    before = network[0][2].weight.detach().clone()
    assert torch.allclose(before, torch.full_like(before, 0.25 - 1))
    prepared(faces(2)).square().mean().backward()
    optimizer.step()
    moved = plain(prepared)[0][2].weight
    assert (moved != before).all()


def test_a_rounded_sum_holds_at_most_256_values(either):
    with torch.no_grad():
        prepared = prepare(either).train()
        prepared(faces(2))
        sums = prepared.eval()[:2](faces(2))
    assert len(sums.unique()) <= 256


def test_rounding_can_begin_later_while_ranges_are_followed(either):
    """`quant_delay` of a recipe."""
    expected_of = int8_activations(fold(copy.deepcopy(either)))
    prepared = prepare(either).train()
    set_rounding(prepared, False)
    with torch.no_grad():
        expected = expected_of(faces(4))
        assert torch.allclose(prepared(faces(4)), expected, atol=1e-4)
        assert all(m.started for m in modules(prepared, RoundActivation))
        set_rounding(prepared, True)
        assert not torch.allclose(prepared(faces(4)), expected, atol=1e-4)
