"""From false accepts per approach to a similarity: the bound, its limits, and that it follows the gallery."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.build import WEIGHTS, build_gallery, decision_rule, shortfall, threshold_for
from device.config import Config, DecisionConfig
from device.decide.decider import Decider, Sight
from device.decide.threshold import Approach, door_threshold, in_words, threshold_at
from device.types import Match, Reason
from device.vision.embed import LiteRTEmbedder, load_manifest
from tests.support.doors.deciding import make_decider

CURVE = {1e-3: 0.3, 1e-4: 0.4, 1e-5: 0.5}
APPROACH = Approach(frames=30, k=3)
TINY = Path(__file__).parents[1] / "data" / "tiny.json"


def threshold(false_accepts: float, templates: int, approach: Approach = APPROACH) -> float:
    found = door_threshold(CURVE, false_accepts=false_accepts, templates=templates, approach=approach)
    return found.threshold


def test_one_template_and_ten_tries():
    assert threshold(1e-3, 1) == pytest.approx(0.4)  # 1e-3 / (1 template * 30 / 3 tries) = FMR 1e-4
    assert threshold(1e-3, 10) == pytest.approx(0.5)
    assert threshold(1e-2, 10) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("fmr", "similarity"), [(10**-3.5, 0.35), (10**-4.5, 0.45), (10**-3.25, 0.325), (1e-3, 0.3), (1e-5, 0.5)]
)
def test_between_two_rates_the_threshold_is_linear_over_their_logarithm(fmr, similarity):
    """Linear over the rate itself, 10 ** -3.5 would have 0.376: stricter than it needs to be, or more lenient."""
    assert threshold_at(CURVE, fmr) == pytest.approx(similarity)
    assert threshold(10 * fmr, 1) == pytest.approx(similarity)


def test_no_template_counts_as_one():
    assert threshold(1e-3, 0) == threshold(1e-3, 1)


def test_more_matches_for_a_grant_ask_for_less():
    assert threshold(1e-3, 1, Approach(30, 6)) < threshold(1e-3, 1, Approach(30, 3))
    assert threshold(1e-3, 1, Approach(300, 3)) == pytest.approx(0.5)


def test_fewer_looks_than_a_grant_needs_are_one_try():
    assert Approach(frames=2, k=3).false_accepts(1e-4, 5) == pytest.approx(5e-4)


def test_what_was_not_measured_is_not_promised():
    found = door_threshold(CURVE, false_accepts=1e-4, templates=5, approach=APPROACH)
    assert found.threshold == 0.5
    assert found.fmr == 1e-5
    assert found.promised == pytest.approx(5e-4)
    assert not found.is_kept
    for said in (
        "in 10,000 tries cannot",
        "5 templates",
        "FMR 1e-05",
        "0.5000",
        "keeps one stranger in 2,000",
    ):
        assert said in found.shortfall
    assert "\n" not in found.shortfall


@pytest.mark.parametrize(
    ("share", "words"),
    [(5e-4, "2,000"), (6e-4, "1,600"), (1e-4, "10,000"), (1e-2, "100"), (0.013, "76"), (1.0, "1")],
)
def test_a_share_is_said_in_tries_never_more_than_it_is(share, words):
    assert in_words(share) == f"one stranger in {words} tries"


def test_the_default_is_kept_by_a_default_enrollment_with_the_default_network():
    config, manifest = Config(), load_manifest(WEIGHTS / "mobilefacenet.json")
    found = threshold_for(config, manifest, config.enrollment.samples)
    assert found.is_kept
    assert in_words(found.promised) == "one stranger in 2,000 tries"


@pytest.mark.parametrize(
    ("asked", "templates", "told"), [(None, 50, False), (4e-4, 5, True), (4e-4, 4, False)]
)
def test_a_start_says_only_to_who_asked_for_more_than_the_default_that_it_is_not_kept(asked, templates, told):
    config = Config() if asked is None else Config(false_accepts_per_approach=asked)
    assert bool(shortfall(config, templates)) is told


def test_between_two_measured_rates_the_threshold_is_linear_in_the_logarithm():
    known = {1e-5: 0.5, 1e-4: 0.4, 1e-3: 0.3}
    assert threshold_at(known, 10**-4.5) == pytest.approx(0.45)
    assert threshold_at(known, 2e-5) == pytest.approx(0.5 - 0.1 * math.log10(2))


def test_the_last_rate_that_was_measured_is_kept():
    found = door_threshold(CURVE, false_accepts=5e-4, templates=5, approach=APPROACH)
    assert found.is_kept
    assert found.shortfall == ""


def test_a_lenient_door_takes_the_most_lenient_rate_that_was_measured():
    found = door_threshold(CURVE, false_accepts=1e-1, templates=1, approach=Approach(3, 3))
    assert (found.threshold, found.promised) == (0.3, pytest.approx(1e-3))


@given(
    st.floats(1e-6, 1e-2), st.integers(0, 10_000), st.integers(1, 500), st.integers(1, 30), st.integers(1, 50)
)
def test_a_larger_gallery_never_lowers_the_threshold(false_accepts, templates, frames, k, more):
    approach = Approach(max(frames, k), k)
    few = door_threshold(CURVE, false_accepts=false_accepts, templates=templates, approach=approach)
    many = door_threshold(CURVE, false_accepts=false_accepts, templates=templates + more, approach=approach)
    assert 0.3 <= few.threshold <= many.threshold <= 0.5
    assert few.promised == pytest.approx(approach.false_accepts(few.fmr, templates))
    assert few.is_kept == (few.promised <= false_accepts * (1 + 1e-9))


@pytest.mark.parametrize("fmr", [1e-2, 9e-6, 0.0])
def test_nothing_is_extrapolated(fmr):
    with pytest.raises(ValueError, match="was not measured"):
        threshold_at(CURVE, fmr)


def hits(rng: np.random.Generator, approaches: int, frames: int, stickiness: float, fmr: float) -> np.ndarray:
    """Draw which looks match: each with probability `fmr`, a look like the one before with `stickiness`."""
    fresh = rng.random((approaches, frames)) < fmr
    for i in range(1, frames):
        fresh[:, i] = np.where(rng.random(approaches) < stickiness, fresh[:, i - 1], fresh[:, i])
    return fresh


@pytest.mark.parametrize("stickiness", [0.0, 0.5, 0.9, 1.0])
def test_the_bound_holds_however_alike_the_looks_are(stickiness):
    """Strangers drawn at random, through the real rule of k of n: no more are granted than promised."""
    fmr, frames, k, n = 0.02, 30, 3, 5
    seen = hits(np.random.default_rng(1), 20_000, frames, stickiness, fmr)
    windows = np.lib.stride_tricks.sliding_window_view(seen, n, axis=1).sum(axis=2)
    granted = (windows >= k).any(axis=1).mean()
    assert granted <= Approach(frames, k).false_accepts(fmr, 1)
    assert granted > 0


# At the door


CONFIG = Config(false_accepts_per_approach=1e-3, decision=DecisionConfig(k=1, n=1, frames_per_approach=10))


def units(count: int) -> np.ndarray:
    return np.eye(16, dtype=np.float32)[:count]


@pytest.fixture(scope="module")
def embedder() -> LiteRTEmbedder:
    return LiteRTEmbedder(manifest=TINY, threads=1)


def test_the_threshold_follows_enrollments_while_the_door_runs(tmp_path, embedder):
    config = replace(CONFIG, gallery=str(tmp_path / "gallery.db"))
    with build_gallery(config, embedder.manifest, read_only=False) as writer:
        writer.enroll("alice", units(1), replace=False)
        with build_gallery(config, embedder.manifest, read_only=True) as door:
            decider = make_decider(replace(decision_rule(config, embedder), dwell_s=0), "off")
            one = door.match(units(1)[0])
            writer.enroll("bob", units(9)[1:], replace=False)
            nine = door.match(units(1)[0])
            assert one.threshold == threshold_for(config, embedder.manifest, 1).threshold
            assert nine.threshold == threshold_for(config, embedder.manifest, 9).threshold > one.threshold
            similarity = (one.threshold + nine.threshold) / 2
            before = Match("alice", similarity, one.threshold)
            after = Match("alice", similarity, nine.threshold)
            assert decide(decider, before, 1.0).granted
            refused = decide(decider, after, 100.0)
    assert refused.reason is Reason.BELOW_THRESHOLD
    assert refused.threshold == nine.threshold


def decide(decider: Decider, match: Match, now_s: float):
    return decider.decide(Sight(now_s, 1, match, None), now_s)


@pytest.mark.parametrize(
    ("needed", "granted"), [(None, True), (0.1, True), (0.7, True), (0.71, False), (float("nan"), False)]
)
def test_the_gallery_may_ask_for_more_than_the_rule_and_never_for_less(needed, granted, embedder):
    rule = replace(decision_rule(CONFIG, embedder), threshold=0.6, dwell_s=0)
    assert decide(make_decider(rule, "off"), Match("alice", 0.7, needed), 1.0).granted is granted
    assert not decide(make_decider(rule, "off"), Match("alice", 0.59, needed), 1.0).granted
