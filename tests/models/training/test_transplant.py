"""A MobileNetV1 trunk that starts from a MobileFaceNet: what is taken is the same function."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from models.int8.recover import restore_statistics  # noqa: E402
from models.networks.blocks import Bottleneck  # noqa: E402
from models.networks.mobilefacenet import MobileFaceNet  # noqa: E402
from models.networks.mobilenet_v1 import MobileNetV1Face  # noqa: E402
from models.training.transplant import TAKEN, transplant  # noqa: E402

pytestmark = pytest.mark.train


def source(silent: bool):
    """Return a MobileFaceNet; where `silent`, the bottlenecks that have no place in a MobileNetV1 add nothing."""
    torch.manual_seed(0)
    network = MobileFaceNet("relu6").eval()
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.bias.normal_(0, 0.2)
        network.train()(faces(8, 112))
        for number, block in enumerate(m for m in network.modules() if isinstance(m, Bottleneck)):
            if silent and number not in TAKEN:
                block.project[1].weight.zero_()
                block.project[1].bias.zero_()
                block.project[1].running_mean.zero_()
    return network.eval()


def faces(count: int, size: int, seed: int = 1):
    spots = torch.rand(count, 3, 7, 7, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(spots, (size, size), mode="bilinear").clamp(0, 1) * 2 - 1


def cosine(a, b) -> float:
    return F.cosine_similarity(a, b).mean().item()


def test_where_nothing_is_left_out_the_embedding_is_the_same():
    donor, target = source(silent=True), MobileNetV1Face()
    transplant(donor, target, faces(8, 112))
    with torch.no_grad():
        ours, theirs = target.eval()(faces(8, 112)), donor(faces(8, 112))
    assert torch.allclose(ours, theirs, atol=1e-3 * theirs.abs().max().item())
    fresh = MobileNetV1Face().eval()
    with torch.no_grad():
        assert cosine(fresh(faces(8, 112)), theirs) < 0.5


def test_layers_that_are_left_out_are_missed():
    donor, target = source(silent=False), MobileNetV1Face()
    transplant(donor, target, faces(8, 112))
    with torch.no_grad():
        found = cosine(target.eval()(faces(8, 112)), donor(faces(8, 112)))
    assert found < 0.999


def test_batch_norms_know_the_faces_and_every_weight_can_learn():
    target = MobileNetV1Face()
    transplant(source(silent=True), target, faces(8, 112))
    with torch.no_grad():
        answers = target.eval()(faces(8, 112))
        trained = target.train()(faces(8, 112))
    assert cosine(answers, trained) > 0.99
    target(faces(4, 112)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in target.parameters())


def test_norms_that_only_shift_get_statistics_and_change_no_answer():
    torch.manual_seed(0)
    network = MobileFaceNet("relu6").eval()
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.bias.normal_(0, 0.2)
            norm.running_var.fill_(1 - norm.eps)
        before = network(faces(4, 112, seed=2))
        restore_statistics(network, faces(8, 112))
        after = network(faces(4, 112, seed=2))
        evaluated, trained = network(faces(8, 112)), network.train()(faces(8, 112))
    assert torch.allclose(before, after, atol=1e-3 * before.abs().max().item())
    assert cosine(trained, evaluated) > 0.99
