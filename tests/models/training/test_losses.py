"""Every loss against its equation, with values worked out by hand or in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.training.losses import (  # noqa: E402
    am_softmax_loss,
    angular_distillation_loss,
    arcface_loss,
    embedding_loss,
    relational_loss,
    softmax_loss,
    stage_loss,
    triplet_loss,
)

pytestmark = pytest.mark.train


def unit(*degrees: float) -> torch.Tensor:
    """Return points of the unit circle (N, 2) at the given angles."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def cross_entropy(logits, labels) -> float:
    """Work out the mean of -log softmax in plain numpy."""
    logits = np.asarray(logits, np.float64)
    own = logits[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - own))


def test_embedding_loss_is_one_minus_cosine_whatever_the_lengths():
    student, teacher = 3 * unit(0, 90), 0.5 * unit(60, 90)
    assert embedding_loss(student, teacher).item() == pytest.approx(1 - (0.5 + 1) / 2)


def test_angular_distillation_is_the_squared_chord():
    student, teacher = 2 * unit(0, 0, 0), 7 * unit(0, 60, 180)
    assert angular_distillation_loss(student, teacher).item() == pytest.approx((0 + 1 + 4) / 3)
    twice = 2 * embedding_loss(student, teacher).item()
    assert angular_distillation_loss(student, teacher).item() == pytest.approx(twice)


def test_relational_loss_compares_the_cosines_of_all_pairs():
    student, teacher = unit(0, 60), 5 * unit(10, 100)
    assert relational_loss(student, teacher).item() == pytest.approx(2 * 0.5**2 / 4)
    assert relational_loss(student, 3 * unit(90, 150)).item() == pytest.approx(0, abs=1e-12)


def test_stage_loss_is_a_share_of_the_teachers_variance():
    teacher = torch.tensor([[1.0, 3.0], [5.0, 7.0]])  # variance 20 / 3
    assert stage_loss(teacher + 2, teacher).item() == pytest.approx(4 / (20 / 3))
    assert stage_loss(10 * teacher + 20, 10 * teacher).item() == pytest.approx(4 / (20 / 3))


COSINES = torch.tensor([[0.8, 0.1, -0.3], [0.2, 0.5, 0.4]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


def test_softmax_loss_is_the_cross_entropy_of_scaled_cosines():
    assert softmax_loss(COSINES, LABELS, scale=4).item() == pytest.approx(
        cross_entropy(4 * COSINES, LABELS.numpy())
    )


def test_am_softmax_takes_its_margin_off_the_own_cosine():
    moved = [[0.8 - 0.35, 0.1, -0.3], [0.2, 0.5, 0.4 - 0.35]]
    expected = cross_entropy(30 * np.array(moved), LABELS.numpy())
    assert am_softmax_loss(COSINES, LABELS).item() == pytest.approx(expected)
    assert am_softmax_loss(COSINES, LABELS, margin=0).item() == pytest.approx(
        softmax_loss(COSINES, LABELS, scale=30).item()
    )


def test_arcface_adds_its_margin_to_the_own_angle():
    moved = COSINES.numpy().copy()
    for row, label in enumerate(LABELS):
        moved[row, label] = np.cos(np.arccos(moved[row, label]) + 0.5)
    assert arcface_loss(COSINES, LABELS).item() == pytest.approx(cross_entropy(64 * moved, LABELS.numpy()))
    assert arcface_loss(COSINES, LABELS, margin=0, scale=30).item() == pytest.approx(
        softmax_loss(COSINES, LABELS, scale=30).item()
    )


def test_arcface_keeps_falling_with_the_cosine_past_pi():
    own = torch.linspace(-1, 1, 401, dtype=torch.float64)
    losses = [
        arcface_loss(torch.tensor([[value, 0.0]]), torch.tensor([0]), scale=8).item()
        for value in own.tolist()
    ]
    assert (np.diff(losses) < 1e-6).all()
    straight = np.array([value - 0.5 * np.sin(0.5) for value in (-1.0, -0.95)])  # angle and margin pass pi
    for value, moved in zip((-1.0, -0.95), straight, strict=True):
        found = arcface_loss(torch.tensor([[value, 0.0]]), torch.tensor([0]), scale=8).item()
        assert found == pytest.approx(cross_entropy(8 * np.array([[moved, 0.0]]), [0]), rel=1e-5)


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_arcface_has_a_finite_gradient_at_the_ends(value):
    cosines = torch.tensor([[value, 0.3, 0.9]], requires_grad=True)
    loss = arcface_loss(cosines, torch.tensor([0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(cosines.grad).all()
    assert cosines.grad[0, 0] < 0  # a nearer own class is a smaller loss


def squared(first: float, second: float) -> float:
    """Return the squared distance of two points of the unit circle, in degrees."""
    return 2 - 2 * float(np.cos(np.deg2rad(first - second)))


def test_triplets_take_the_nearest_negative_beyond_the_positive():
    """Anchor and positive at 0 and 30 degrees; negatives inside, just outside, and far away."""
    embeddings = 4 * unit(0, 30, 20, 40, 170)
    labels = torch.tensor([0, 0, 1, 2, 3])
    loss, active = triplet_loss(embeddings, labels, margin=0.2)
    near = squared(0, 30)
    from_0 = max(0.0, near - squared(0, 40) + 0.2)  # 20 is nearer than the positive, 40 is the first beyond
    from_30 = max(0.0, near - squared(30, 170) + 0.2)  # 20 and 40 are both nearer
    assert from_0 > 0 == from_30
    assert loss.item() == pytest.approx((from_0 + from_30) / 2)
    assert active.item() == pytest.approx(0.5)


def test_without_a_negative_beyond_the_positive_the_farthest_is_taken():
    embeddings, labels = unit(0, 90, 10, 40), torch.tensor([0, 0, 1, 2])
    loss, active = triplet_loss(embeddings, labels, margin=0.2)
    near = squared(0, 90)
    expected = (near - squared(0, 40) + 0.2 + near - squared(90, 10) + 0.2) / 2
    assert loss.item() == pytest.approx(expected)
    assert active.item() == 1


def test_triplets_far_apart_cost_nothing():
    loss, active = triplet_loss(unit(0, 5, 180, 185), torch.tensor([0, 0, 1, 1]))
    assert loss.item() == 0
    assert active.item() == 0


@pytest.mark.parametrize("labels", [[0, 1, 2], []])
def test_a_batch_without_a_pair_has_no_triplets_and_a_gradient(labels):
    embeddings = torch.randn(len(labels), 4, requires_grad=True)
    loss, active = triplet_loss(embeddings, torch.tensor(labels, dtype=torch.int64))
    loss.backward()
    assert loss.item() == active.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_triplets_pull_the_positive_and_push_the_negative():
    embeddings = unit(0, 30, 40).requires_grad_()
    triplet_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.2)[0].backward()
    stepped = (embeddings - 0.1 * embeddings.grad).detach()
    angles = torch.atan2(stepped[:, 1], stepped[:, 0]).rad2deg()
    assert (angles[1] - angles[0]).item() < 30
    assert (angles[2] - angles[1]).item() > 10
