"""Frames become a decision: K of N of one person on one track, fresh, and never anything else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decide.decider import DecisionRule, Sight
from device.errors import ConfigError
from device.types import Match, Reason
from tests.support.doors.deciding import RULE, Door, make_decider


def test_grants_on_the_kth_matching_frame():
    assert Door().reasons("alice", "alice", "alice") == ["confirming", "confirming", "granted"]


def test_k_of_one_grants_at_once():
    assert Door(k=1, n=1).see("alice").granted


def test_misses_within_n_are_forgiven_and_beyond_it_not():
    assert Door().reasons("alice", None, "alice", None, "alice")[-1] == "granted"
    assert Door().reasons("alice", None, "alice", None, None, "alice")[-1] == "confirming"


def test_only_a_matching_frame_grants():
    door = Door(k=2, n=5)
    door.see("alice")
    assert door.see("alice", 0.1).reason is Reason.BELOW_THRESHOLD
    assert not door.see(None, reason=Reason.TOO_BLURRED).granted
    assert door.see("alice").granted


def test_another_subject_starts_from_nothing():
    assert Door().reasons("alice", "alice", "bob", "alice", "alice") == ["confirming"] * 5
    assert Door().reasons("alice", "alice", "bob", "bob", "bob")[-1] == "granted"


def test_another_subject_below_the_threshold_is_only_a_miss():
    door = Door()
    door.see("alice"), door.see("alice"), door.see("bob", 0.3)
    assert door.see("alice").granted


def test_a_new_track_starts_from_nothing():
    door = Door()
    door.see("alice", track=1), door.see("alice", track=1)
    assert door.see("alice", track=2).reason is Reason.CONFIRMING
    assert not door.see("alice", track=2).granted
    assert door.see("alice", track=2).granted


def test_a_second_face_starts_from_nothing():
    door = Door()
    door.see("alice"), door.see("alice")
    assert door.see(None, reason=Reason.SEVERAL_FACES).reason is Reason.SEVERAL_FACES
    assert [door.see("alice").granted for _ in range(3)] == [False, False, True]


def test_a_second_face_on_a_stale_frame_resets_too():
    door = Door()
    door.see("alice"), door.see("alice")
    door.see(None, reason=Reason.SEVERAL_FACES, age_s=1.6, step_s=2.0)
    assert not door.see("alice").granted


def test_a_match_beside_a_failed_check_does_not_count():
    door = Door(k=1, n=1)
    assert door.see("alice", reason=Reason.TURNED_AWAY).reason is Reason.TURNED_AWAY


def test_a_match_without_a_track_does_not_count():
    assert Door(k=1, n=1).see("alice", track=None).reason is Reason.NO_FACE


def test_an_empty_gallery_says_so():
    assert Door().see(None).reason is Reason.EMPTY_GALLERY


def test_exactly_the_threshold_matches():
    assert Door(k=1, n=1).see("alice", 0.5).granted


@pytest.mark.parametrize("similarity", [math.nan, math.inf, -math.inf, 1.5, 0.49999])
def test_no_such_similarity_grants(similarity):
    decision = Door(k=1, n=1).see("alice", similarity)
    assert decision.reason is Reason.BELOW_THRESHOLD
    assert decision.subject_id is None


def test_a_stale_frame_never_grants_and_counts_for_nothing():
    door = Door()
    door.see("alice"), door.see("alice")
    assert door.see("alice", age_s=1.51, step_s=1.6).reason is Reason.STALE_FRAME
    assert door.see("alice").granted  # two fresh ones before it, within n


def test_late_answers_to_three_stale_frames_open_nothing():
    door = Door(k=1, n=1)
    assert [door.see("alice", age_s=30.0).reason for _ in range(3)] == [Reason.STALE_FRAME] * 3


def test_a_frame_of_exactly_the_limit_is_fresh():
    decider = make_decider(DecisionRule(**{**RULE, "k": 1}))
    assert decider.decide(Sight(8.5, 1, Match("alice", 0.9), None, score=0.9), 10.0).granted


@pytest.mark.parametrize(
    ("captured_at_s", "now_s"), [(math.nan, 1), (1, math.nan), (math.inf, 1), (1, -math.inf)]
)
def test_impossible_times_are_stale(captured_at_s, now_s):
    decider = make_decider(DecisionRule(**{**RULE, "k": 1}))
    decision = decider.decide(Sight(captured_at_s, 1, Match("alice", 0.9), None, score=0.9), now_s)
    assert decision.reason is Reason.STALE_FRAME


def test_the_same_frame_twice_is_no_second_witness():
    door = Door(k=2)
    assert door.see("alice").reason is Reason.CONFIRMING
    assert door.see("alice", age_s=0.15).reason is Reason.STALE_FRAME


def test_time_that_runs_backwards_starts_from_nothing():
    door = Door()
    door.see("alice"), door.see("alice")
    assert door.see("alice", age_s=0.4).reason is Reason.STALE_FRAME
    late = Door()
    late.see("alice"), late.see("alice"), late.see("alice", age_s=0.4)
    assert not late.see("alice").granted


def test_cooldown_follows_a_grant_and_k_frames_follow_the_cooldown():
    door = Door()
    assert door.reasons("alice", "alice", "alice")[-1] == "granted"
    assert door.reasons(*["alice"] * 19) == ["cooldown"] * 19
    door.now_s += 0.2
    assert door.reasons("alice", "alice", "alice") == ["confirming", "confirming", "granted"]


def test_cooldown_holds_for_everybody():
    door = Door(k=1)
    assert door.see("alice").granted
    assert door.see("bob", track=2).reason is Reason.COOLDOWN


def test_no_cooldown_still_needs_k_frames_again():
    door = Door(cooldown_s=0.0)
    assert door.reasons(*["alice"] * 6) == ["confirming", "confirming", "granted"] * 2


def test_during_the_cooldown_other_reasons_stay_visible():
    door = Door(k=1)
    door.see("alice")
    assert door.see("alice", 0.1).reason is Reason.BELOW_THRESHOLD


def test_a_clock_set_back_shortens_no_cooldown_and_locks_nobody_out():
    decider = make_decider(DecisionRule(**{**RULE, "k": 1}))
    say = [
        decider.decide(Sight(t, 1, Match("alice", 0.9), None, score=0.9), t).reason
        for t in (1000.0, 10.0, 10.1, 12.05, 12.2)
    ]
    assert say[0] is Reason.GRANTED
    assert say[1:3] == [Reason.STALE_FRAME, Reason.COOLDOWN]
    assert say[-1] is Reason.GRANTED


def test_reset_forgets_frames_but_not_the_cooldown():
    door = Door(k=2)
    door.see("alice")
    door.decider.reset()
    assert not door.see("alice").granted
    assert door.see("alice").granted
    door.decider.reset()
    assert door.see("alice").reason is Reason.COOLDOWN


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": math.nan},
        {"threshold": 1.01},
        {"k": 0},
        {"k": 6},
        {"cooldown_s": -1.0},
        {"cooldown_s": math.nan},
        {"max_frame_age_s": 0.0},
        {"max_frame_age_s": math.inf},
        {"dwell_s": -0.1},
        {"dwell_s": math.nan},
    ],
)
def test_an_impossible_rule_is_one_clear_line(change):
    with pytest.raises(ConfigError) as caught:
        DecisionRule(**{**RULE, **change})
    assert next(iter(change)) in str(caught.value)
    assert "\n" not in str(caught.value)


frames = st.fixed_dictionaries(
    {
        "subject": st.sampled_from([None, "alice", "alice", "alice", "bob"]),
        "similarity": st.sampled_from([0.9, 0.9, 0.9, 0.5, 0.49, math.nan]),
        "track": st.sampled_from([1, 1, 1, 1, 2, None]),
        "reason": st.sampled_from([None, None, None, None, Reason.TOO_DARK, Reason.SEVERAL_FACES]),
        "age_s": st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.3, 1.6]),
        "step_s": st.sampled_from([0.1, 0.1, 0.1, 0.0, 3.0, -0.5]),
        "score": st.sampled_from([0.9, 0.9, 0.9, 0.9, 0.8, 0.5, 0.1, math.nan, None]),
    }
)


@settings(max_examples=400, deadline=None)
@given(st.lists(frames, max_size=30), st.integers(1, 4), st.integers(0, 3))
def test_a_grant_always_has_k_fresh_frames_of_one_subject_on_one_track_behind_it(seen, k, slack):
    door = Door(k=k, n=k + slack, cooldown_s=1.0)
    newest_s, witnesses, granted_at_s = -math.inf, [], -math.inf
    for frame in seen:
        decision = door.see(**frame)
        captured_at_s = decision.captured_at_s
        good = (
            frame["subject"] is not None
            and frame["similarity"] >= 0.5
            and frame["track"] is not None
            and frame["reason"] is None
            and frame["age_s"] <= 1.5
            and captured_at_s > newest_s
            and frame["score"] is not None
            and 0 <= frame["score"] <= 1
        )
        newest_s = captured_at_s
        witnesses = ([*witnesses, (frame["subject"], frame["track"]) if good else None])[-door.rule.n :]
        if frame["reason"] is Reason.SEVERAL_FACES:
            witnesses = []
        if decision.granted:
            assert good
            assert witnesses.count((frame["subject"], frame["track"])) >= k
            assert not 0 <= door.now_s - granted_at_s < 1.0
            assert decision.subject_id == frame["subject"]
            assert decision.reason is Reason.GRANTED
            assert decision.liveness >= 0.8 - 1e-9
            granted_at_s, witnesses = door.now_s, []


@settings(max_examples=200, deadline=None)
@given(st.lists(frames, max_size=30))
def test_whatever_happened_before_k_good_frames_on_a_new_track_after_the_cooldown_open(seen):
    door = Door(cooldown_s=1.0)
    for frame in seen:
        door.see(**frame)
    door.now_s += 100.0
    assert [door.see("carol", track=99).granted for _ in range(3)] == [False, False, True]
