"""Where the decision's limits begin and end, and what a frame between two others does to them."""

from __future__ import annotations

import pytest

from device.decide.decider import DecisionRule, Sight
from device.types import Match, Reason
from tests.support.doors.deciding import RULE, Door, make_decider


@pytest.mark.parametrize("threshold", [-1.0, 1.0])
def test_a_threshold_may_be_any_cosine(threshold: float) -> None:
    assert DecisionRule(**{**RULE, "threshold": threshold}).threshold == threshold


def test_a_cosine_that_rounding_made_a_little_too_large_matches() -> None:
    assert Door(k=1).see("alice", 1.001).granted
    assert not Door(k=1).see("alice", 1.0011).granted


def sights(decider, *times: tuple[float, float]) -> list[Reason]:
    """Hand in frames of alice, each with the time it was captured and the time it is handled."""
    return [
        decider.decide(Sight(at_s, 1, Match("alice", 0.9), None, score=0.9), now_s).reason
        for at_s, now_s in times
    ]


def test_one_frame_that_is_handled_twice_is_one_witness_and_takes_nothing_back() -> None:
    decider = make_decider(DecisionRule(**{**RULE, "k": 2, "n": 3}))
    found = sights(decider, (10.0, 10.0), (10.0, 10.25), (10.5, 10.5))
    assert found == [Reason.CONFIRMING, Reason.STALE_FRAME, Reason.GRANTED]


def test_a_stale_frame_takes_a_place_in_the_window() -> None:
    decider = make_decider(DecisionRule(**{**RULE, "k": 2, "n": 2}))
    found = sights(decider, (10.0, 10.0), (10.25, 13.0), (13.0, 13.0), (13.25, 13.25))
    assert found == [Reason.CONFIRMING, Reason.STALE_FRAME, Reason.CONFIRMING, Reason.GRANTED]


def test_a_frame_that_came_to_no_score_says_nothing_of_liveness() -> None:
    door = Door(k=2, n=5)
    door.see("alice", score=0.85)
    assert door.see(None, reason=Reason.TOO_DARK, score=None).liveness == pytest.approx(0.85)
    assert door.see("alice", score=0.85).granted


def test_scores_slide_out_of_the_window_with_frames_that_have_none() -> None:
    """Somebody who was suspected once, then too dark for a window, is judged by what is seen now."""
    door = Door(k=1, n=3)
    door.see("alice", score=0.5)
    for _ in range(3):
        door.see(None, reason=Reason.TOO_DARK, score=None)
    assert door.see("alice", score=0.85).granted


def test_what_was_seen_while_the_door_waits_counts_for_nothing() -> None:
    door = Door(k=3, n=5, mode="off")
    door.see("alice"), door.see("alice")
    for _ in range(5):
        door.decider._refusals.refuse(door.now_s)
    waiting = door.see("alice")
    assert waiting.reason is Reason.WAITING
    assert waiting.wait_s is not None
    door.now_s += waiting.wait_s
    assert [str(door.see("alice").reason) for _ in range(3)] == ["confirming", "confirming", "granted"]
