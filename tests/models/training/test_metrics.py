"""Verification metrics against numbers that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from device.numeric.intervals import clopper_pearson
from models.training.metrics import (
    all_pairs,
    best_threshold,
    identity_tar,
    lfw_accuracy,
    pair_similarities,
    tar_at,
    threshold_at,
)


def clusters(subjects=40, faces=5, spread=0.1, dimension=32, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(subjects, dimension))
    embeddings = np.repeat(centers, faces, axis=0) + spread * rng.normal(size=(subjects * faces, dimension))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings.astype(np.float32), np.repeat(np.arange(subjects), faces)


def test_threshold_lets_in_at_most_the_asked_share():
    scores = np.arange(1000, dtype=np.float32) / 1000
    for fmr in (0.1, 0.01, 0.001):
        assert np.mean(scores >= threshold_at(scores, fmr)) == pytest.approx(fmr)


def test_all_pairs_agree_with_the_plain_count():
    embeddings, subjects = clusters(spread=1.2)
    mated, non_mated = pair_similarities(embeddings, subjects)
    pairs = all_pairs(embeddings, subjects, keep=0.05)
    assert pairs.non_mated_total == len(non_mated) == pairs.non_mated_counts.sum() == 40 * 39 // 2 * 25
    assert np.allclose(np.sort(pairs.mated), np.sort(mated), atol=1e-6)
    for fmr in (1e-2, 1e-3):
        assert pairs.tar(fmr) == pytest.approx(tar_at(mated, non_mated, fmr))
        assert 0.1 < pairs.tar(fmr) < 0.9  # neither trivial


def test_interval_holds_the_value_and_narrows_with_more_subjects():
    widths = []
    for subjects in (20, 200):
        interval = all_pairs(*clusters(subjects=subjects, spread=1.2), keep=0.1).tar_interval(
            1e-2, resamples=200
        )
        assert interval.low <= interval.value <= interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0]


def test_fmr_intervals_hold_the_plain_count_and_know_that_pairs_share_subjects():
    embeddings, subjects = clusters(spread=1.2)
    _, non_mated = pair_similarities(embeddings, subjects)
    thresholds = np.array([np.quantile(non_mated, 1 - rate) for rate in (0.04, 0.01, 0.002)])
    found = all_pairs(embeddings, subjects, keep=0.05).fmr_intervals(thresholds)
    for threshold, interval in zip(thresholds, found, strict=True):
        count = int((non_mated >= np.float32(threshold)).sum())
        assert interval.value == count / len(non_mated)
        assert interval.low <= interval.value <= interval.high
        low, high = clopper_pearson(count, len(non_mated))
        assert interval.high - interval.low > high - low


def test_a_face_that_was_not_found_matches_nobody():
    embeddings, subjects = clusters()
    embeddings[::5] = 0
    pairs = all_pairs(embeddings, subjects)
    assert pairs.tar(1e-2) == pytest.approx(0.6)  # of ten pairs of five faces, four have the lost one
    assert (pairs.mated == -1).mean() == pytest.approx(0.4)


def test_lfw_protocol_chooses_the_threshold_on_the_other_folds():
    rng = np.random.default_rng(0)
    folds = []
    for i in range(10):
        mated = np.repeat([True, False], 50)
        scores = np.where(mated, 0.6, 0.2) + rng.normal(0, 0.05, 100)
        # The last fold is shifted: a threshold chosen on itself would be right, the others' is wrong.
        folds.append(((scores + (0.4 if i == 9 else 0)).astype(np.float32), mated))
    accuracy, error = lfw_accuracy(folds)
    assert accuracy == pytest.approx(0.95, abs=0.02)
    assert error > 0.02


def test_best_threshold_counts_right_answers():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8], np.float32)
    mated = np.array([False, False, True, True, True])
    assert best_threshold(scores, mated) == pytest.approx(0.25)
    assert best_threshold(scores, ~np.ones(5, bool)) > 0.8


def test_without_pairs_there_is_no_figure():
    embeddings, _ = clusters()
    assert np.isnan(identity_tar(embeddings, np.full(len(embeddings), -1), 1e-3))
