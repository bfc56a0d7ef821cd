"""Scores of liveness over the window: whom they let in, refuse, and call to a challenge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decide.backoff import Count
from device.decide.challenge import Outcome
from device.decide.decider import Sight
from device.decide.refusals import Refusals
from device.types import Match, Reason
from tests.support.doors.deciding import Door


def test_off_scores_nothing_and_lets_a_match_in():
    door = Door("off")
    assert [door.see("alice", score=None).granted for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1, None])
@pytest.mark.parametrize("mode", ["passive", "challenge", "always"])
def test_a_frame_without_a_score_empties_the_window_at_once(mode, score):
    door = Door(mode)
    door.see("alice", score=0.99), door.see("alice", score=0.99)
    assert door.see("alice", score=score).reason is Reason.SPOOF_SUSPECTED
    assert not door.see("alice", score=0.99).granted
    assert not door.see("alice", score=0.99).granted


@pytest.mark.parametrize("mode", ["passive", "challenge", "always"])
def test_a_track_that_is_suspected_empties_the_window(mode):
    door = Door(mode)
    assert [door.see("alice", score=0.19999).reason for _ in range(5)] == [Reason.SPOOF_SUSPECTED] * 5
    door = Door(mode)
    door.see("alice", score=0.99), door.see("alice", score=0.99), door.see("alice", score=0.0)
    assert door.see("alice", score=0.0).reason is Reason.SPOOF_SUSPECTED
    later = [door.see("alice", score=0.9999).reason for _ in range(3)]
    assert later[:2] == ([Reason.LIVENESS_UNSURE] if mode == "passive" else [Reason.CONFIRMING]) * 2


def test_one_unlucky_frame_of_a_living_person_neither_refuses_nor_challenges():
    door = Door("challenge")
    reasons = [door.see("alice", score=score).reason for score in (0.95, 0.15, 0.999)]
    assert reasons == [Reason.CONFIRMING, Reason.CONFIRMING, Reason.GRANTED]


def test_one_lucky_frame_of_an_attack_does_not_pass_for_live():
    door = Door("challenge")
    for score in (0.1, 0.15, 0.99, 0.1, 0.85, 0.1):
        assert door.see("alice", score=score).reason is not Reason.GRANTED
    door = Door("passive")
    reasons = {door.see("alice", score=score).reason for score in (0.5, 0.99, 0.3, 0.5, 0.95, 0.3)}
    assert Reason.GRANTED not in reasons


def test_a_perfect_score_weighs_no_more_than_one_clear_voice():
    """The network's int8 output reaches 1.0: one such frame must not outweigh an attack for good."""
    door = Door("challenge")
    reasons = [door.see("alice", score=score).reason for score in (1.0, 0.0, 0.0, 0.0, 1.0)]
    assert reasons[2:] == [Reason.SPOOF_SUSPECTED] * 3
    assert door.see("alice", score=0.0).liveness == pytest.approx(1 / (1 + math.exp(8 * 3 / 5)))


def test_scores_older_than_the_window_count_for_nothing():
    door = Door("challenge")
    for _ in range(30):
        door.see("alice", score=0.001)
    assert any(door.see("alice", score=0.9).granted for _ in range(8))


@pytest.mark.parametrize(
    "swap",
    [
        {"track": 2},
        {"reason": Reason.SEVERAL_FACES},
        {"subject": "bob"},
    ],
    ids=["a new track", "a second face", "another subject"],
)
def test_the_score_of_one_face_does_not_lift_the_next_one(swap):
    door = Door("challenge", k=1, n=5, cooldown_s=0.0)
    for _ in range(4):
        door.see("alice", score=0.9999)
    seen = {"subject": "alice", "track": 1, "score": 0.5, **swap}
    if door.see(**seen).reason is Reason.SEVERAL_FACES:
        seen["reason"] = None
        assert door.see(**seen).reason is not Reason.GRANTED
    assert door.see(**seen).reason in (Reason.CONFIRMING, Reason.CHALLENGE)


def test_a_lost_camera_forgets_the_score_too():
    door = Door("challenge", k=1, n=5, cooldown_s=0.0)
    for _ in range(4):
        door.see("alice", score=0.9999)
    door.decider.reset()
    assert door.see("alice", score=0.5).reason is Reason.CHALLENGE


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=25), st.sampled_from(["passive", "challenge"]))
def test_a_grant_without_a_challenge_is_clearly_live_over_the_window(scores, mode):
    """The mean of logits, limited to 8, calculated here anew."""
    door = Door(mode, cooldown_s=0.0)
    for number, score in enumerate(scores, 1):
        window = np.clip(scores[max(0, number - 5) : number], 1 / (1 + math.e**8), 1 / (1 + math.e**-8))
        fused = float(np.mean(np.log(window / (1 - window))))
        decision = door.see("alice", score=score)
        assert decision.liveness == pytest.approx(1 / (1 + math.exp(-fused)))
        if decision.granted:
            assert fused >= math.log(4) - 1e-6


def test_a_stranger_who_is_suspected_is_told_so():
    assert Door().see("alice", 0.1, score=0.1).reason is Reason.SPOOF_SUSPECTED


def test_passive_an_unsure_frame_is_no_vote():
    door = Door()
    reasons = [door.see("alice", score=0.79).reason for _ in range(6)]
    assert reasons == [Reason.LIVENESS_UNSURE] * 6
    assert any(door.see("alice", score=0.82).granted for _ in range(8))


def test_a_track_that_is_not_clearly_live_calls_for_a_challenge():
    door = Door("challenge")
    door.see("alice", score=0.4), door.see("alice")
    assert door.see("alice").reason is Reason.CHALLENGE


def test_exactly_unsure_is_live_and_exactly_attack_is_unsure():
    assert Door("challenge", k=1, n=1).see("alice", score=0.8).granted
    assert Door("challenge", k=1, n=1).see("alice", score=0.2).reason is Reason.CHALLENGE


def test_live_frames_need_no_challenge_unless_the_subject_always_does():
    door = Door("challenge")
    assert [door.see("alice").granted for _ in range(3)] == [False, False, True]
    for mode in ("passive", "challenge", "off"):
        door = Door(mode)
        assert [door.see("alice", always=True).reason for _ in range(3)][-1] is Reason.CHALLENGE


def test_always_calls_for_a_challenge_and_a_new_track_for_a_new_one():
    door = Door("always")
    assert [door.see("alice").reason for _ in range(4)][2:] == [Reason.CHALLENGE] * 2
    assert [door.see("alice", track=2).reason for _ in range(3)] == [Reason.CONFIRMING] * 2 + [
        Reason.CHALLENGE
    ]


def test_whoever_does_not_stay_is_not_let_in():
    door = Door(dwell_s=0.45)
    reasons = [door.see("alice").reason for _ in range(6)]
    assert reasons == [Reason.CONFIRMING] * 2 + [Reason.DWELLING] * 3 + [Reason.GRANTED]


def test_staying_counts_on_one_track_only():
    door = Door(dwell_s=0.45)
    for _ in range(4):
        door.see("alice")
    assert [door.see("alice", track=2).granted for _ in range(5)] == [False] * 5
    assert door.see("alice", track=2).granted


def test_a_face_that_does_not_face_the_door_is_no_vote():
    door = Door(k=1, n=1)
    assert door.see("alice", reason=Reason.NOT_FACING).reason is Reason.NOT_FACING


def test_the_door_waits_after_five_refused_approaches_and_lets_nobody_in():
    door = Door()
    for approach in range(5):
        for _ in range(8):
            assert door.see("bob", 0.1, track=approach).reason is Reason.BELOW_THRESHOLD
        door.now_s += 3.0
    door.now_s -= 2.9
    assert door.see("alice", track=9).reason is Reason.WAITING
    assert door.see(None, track=None, reason=Reason.NO_FACE).reason is Reason.NO_FACE
    door.now_s += 26.0
    assert door.see("alice", track=9).reason is Reason.WAITING
    door.now_s += 5.0
    assert [door.see("alice", track=10).granted for _ in range(3)] == [False, False, True]


def test_a_challenge_that_is_left_after_a_move_was_asked_for_is_a_refusal():
    counted = []
    door = Door("always")
    door.decider._refusals = Refusals(Count(), counted.append)
    door.see("alice"), door.see("alice"), door.see("alice")
    door.see("alice", track=2)
    assert counted == []  # nothing was asked yet
    door.see("alice", track=2), door.see("alice", track=2)
    door.decider._challenge.has_asked = True
    door.see("alice", track=3)
    assert [count.wrong for count in counted] == [1]


def test_a_challenge_that_asked_nothing_refuses_no_more_than_the_stay_it_was_asked_in():
    """Whoever moves about before the door is not settled: that is an approach of ten seconds as any other."""
    door = Door("always")  # no face is handed on: nobody settles
    reasons = {door.see("alice").reason for _ in range(200)}
    assert reasons == {Reason.CONFIRMING, Reason.CHALLENGE}
    assert door.decider._refusals.count.wrong == 1


def test_only_a_door_that_opened_forgives():
    door = Door(k=1)
    for approach in range(4):
        for _ in range(8):
            door.see("bob", 0.1, track=approach)
        door.now_s += 3.0
    sight = Sight(door.now_s, 9, Match("alice", 0.9), None, score=0.9)
    granted = door.decider.decide(sight, door.now_s)
    assert granted.granted
    door.decider.conclude(replace(granted, granted=False, reason=Reason.DISABLED))
    assert door.decider._refusals.count.wrong == 4
    door.decider.conclude(granted)
    assert door.decider._refusals.count.wrong == 0


@pytest.mark.parametrize("how", ["the camera is lost", "time runs backwards"])
def test_a_challenge_that_is_dropped_after_a_move_was_asked_for_is_a_refusal(how):
    door = Door("always")
    door.see("alice"), door.see("alice"), door.see("alice")
    door.decider._challenge.has_asked = True
    if how == "the camera is lost":
        door.decider.reset()
    else:
        door.see("alice", age_s=0.4)
    assert door.decider._refusals.count.wrong == 1
    assert door.see("alice").reason is Reason.CONFIRMING


class Answered:
    """A challenge that is answered by the next frame, whatever it shows."""

    obstacle, asks, has_asked = None, None, True

    def __init__(self, _rule, _chance, subject_id, _started_s, **_) -> None:
        self.subject_id = subject_id

    def see(self, _glance, _at_s):
        return Outcome.PASSED


def proven(monkeypatch, **changes: float) -> Door:
    """Return a door before which Alice has just answered a challenge."""
    monkeypatch.setattr("device.decide.decider.Challenge", Answered)
    door = Door("always", **changes)
    assert [door.see("alice").reason for _ in range(4)] == [Reason.CONFIRMING] * 2 + [
        Reason.CHALLENGE,
        Reason.CONFIRMING,
    ]
    return door


def test_an_answered_challenge_opens_to_the_next_frames_of_the_same_person(monkeypatch):
    door = proven(monkeypatch)
    assert [door.see("alice").granted for _ in range(3)] == [False, False, True]


def test_a_proof_of_life_grows_old(monkeypatch):
    door = proven(monkeypatch)
    assert [door.see("alice", step_s=1.1).reason for _ in range(3)][-1] is Reason.CHALLENGE


def test_a_proof_of_life_is_of_one_person(monkeypatch):
    door = proven(monkeypatch)
    assert [door.see("bob").reason for _ in range(3)][-1] is Reason.CHALLENGE


def test_a_proof_of_life_is_of_one_track(monkeypatch):
    door = proven(monkeypatch)
    assert [door.see("alice", track=2).reason for _ in range(3)][-1] is Reason.CHALLENGE


def test_a_proof_of_life_is_used_up_by_a_grant(monkeypatch):
    door = proven(monkeypatch, cooldown_s=0.0)
    assert door.see("alice").reason is Reason.CONFIRMING
    door.see("alice"), door.see("alice")
    assert [door.see("alice").reason for _ in range(3)][-1] is Reason.CHALLENGE
