"""Quantization-aware fine-tuning: folding, rounding, and what is left of it in the exported file."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.mobilefacenet import MobileFaceNet  # noqa: E402
from models.quantization_aware import RoundActivation, RoundWeight, fold, plain, prepare  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = MobileFaceNet("relu6").train()
    with torch.no_grad():
        for _ in range(3):  # gives the batch norms statistics worth folding
            network(faces(16))
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
    from models import export

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
