"""Batches of P identities with K faces each; batches of all faces are in test_loop.py."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.training.data import (  # noqa: E402
    Augment,
    EpochRows,
    FaceCrops,
    IdentityRows,
    batches,
    gain,
    load_targets,
)

pytestmark = pytest.mark.train
# eight identities of six faces (0 is held out), one of two, four unlabeled, in mixed order
IDENTITIES = np.random.default_rng(0).permutation([*np.repeat(np.arange(8), 6), 8, 8, -1, -1, -1, -1])


@pytest.fixture(scope="module")
def crops():
    images = np.random.default_rng(1).integers(0, 256, (len(IDENTITIES), 112, 112, 3), dtype=np.uint8)
    return FaceCrops(images, IDENTITIES, IDENTITIES == 0)


def test_a_batch_is_p_identities_of_k_different_faces(crops):
    chooser = IdentityRows(crops, 4, seed=3)
    for number in range(40):
        rows = chooser.choose(number, 12, 0, 1)
        assert len(set(rows.tolist())) == 12
        groups = IDENTITIES[rows].reshape(3, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0].tolist())) == 3


def test_every_identity_with_enough_faces_is_chosen_and_no_other(crops):
    chooser = IdentityRows(crops, 4, seed=3)
    rows = np.concatenate([chooser.choose(number, 12, 0, 1) for number in range(80)])
    assert set(IDENTITIES[rows].tolist()) == set(range(1, 8))  # not 0, 8 or -1
    assert set(rows.tolist()) == set(np.flatnonzero((IDENTITIES > 0) & (IDENTITIES < 8)).tolist())


def test_a_batch_is_a_function_of_seed_number_and_process(crops):
    first = IdentityRows(crops, 4, seed=3).choose(5, 12, 0, 2)
    assert (IdentityRows(crops, 4, seed=3).choose(5, 12, 0, 2) == first).all()
    others = [IdentityRows(crops, 4, seed=3).choose(6, 12, 0, 2)]
    others += [IdentityRows(crops, 4, seed=3).choose(5, 12, 1, 2)]
    others += [IdentityRows(crops, 4, seed=4).choose(5, 12, 0, 2)]
    assert not any((other == first).all() for other in others)


def test_a_batch_that_cannot_be_filled_is_named(crops):
    chooser = IdentityRows(crops, 4, seed=3)
    with pytest.raises(ValueError, match="a batch of 32 needs 8 identities of 4 faces, there are 7"):
        chooser.choose(0, 32, 0, 1)
    with pytest.raises(ValueError, match=r"a batch of 10 needs 2.5 identities of 4 faces, there are 7"):
        chooser.choose(0, 10, 0, 1)


def test_batches_of_identities_go_on_where_they_were(crops):
    stream = batches(crops, Augment(), 8, seed=1, faces_per_identity=4)
    seen = [next(stream) for _ in range(3)]
    later = next(batches(crops, Augment(), 8, seed=1, start=2, faces_per_identity=4))
    assert torch.equal(later.faces, seen[2].faces)
    assert (later.rows == seen[2].rows).all()
    assert len(set(IDENTITIES[later.rows].tolist())) == 2


def test_rows_listed_again_are_seen_that_many_more_times_an_epoch(crops):
    chooser = EpochRows(crops, seed=2, again=np.array([0, 1, 1]))
    kept = np.flatnonzero(IDENTITIES != 0)
    expected = np.bincount(kept, minlength=len(crops))
    for row in (0, 1, 1):
        expected[row] += IDENTITIES[row] != 0  # a held-out face stays out
    batch = 7
    rows = np.concatenate([chooser.choose(i, batch, 0, 1) for i in range(len(chooser.rows) // batch)])
    seen = np.bincount(rows, minlength=len(crops))
    assert (seen <= expected).all()
    assert expected.sum() - seen.sum() < batch


def test_stored_targets_are_read_for_the_first_faces_and_normalized(tmp_path):
    q = np.random.default_rng(0).integers(-127, 128, (5, 6)).astype(np.int8)
    np.savez(tmp_path / "joint_targets.npz", q=q, scale=np.float32(0.01))
    targets = load_targets(tmp_path, 4)
    assert targets.shape == (4, 6)
    assert np.allclose(np.linalg.norm(targets, axis=1), 1)
    assert np.allclose(targets, q[:4] / np.linalg.norm(q[:4].astype(float), axis=1, keepdims=True))


def test_without_stored_targets_there_are_none(tmp_path):
    assert load_targets(tmp_path, 4) is None


def test_targets_of_other_data_are_named(tmp_path):
    np.savez(tmp_path / "joint_targets.npz", q=np.ones((5, 6), np.int8), scale=np.float32(0.01))
    with pytest.raises(ValueError, match=r"joint_targets.npz has 5 targets, index.csv has 9 faces"):
        load_targets(tmp_path, 9)


def test_gain_brightens_the_dim_and_leaves_the_bright():
    rng = np.random.default_rng(0)
    dim, bright = np.full((8, 8, 3), 20, np.uint8), np.full((8, 8, 3), 200, np.uint8)
    assert 55 <= gain(dim, rng).mean() <= 121
    assert gain(np.full((8, 8, 3), 2, np.uint8), rng).mean() <= 12
    assert (gain(bright, rng) == bright).all()
