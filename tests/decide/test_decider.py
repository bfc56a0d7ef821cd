from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decide.backoff import Count
from device.decide.challenge import Outcome
from device.decide.decider import DecisionRule, Sight
from device.decide.refusals import Refusals
from device.errors import ConfigError
from device.types import AlignedFace, HeadPose, Match, Reason
from tests.support.deciding import RULE, Door, make_decider


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


def face_at(x: float, y: float = 200.0, size: float = 1.0) -> AlignedFace:
    image = np.zeros((112, 112, 3), np.uint8)
    points = np.array([[0, 0], [50, 0], [25, 30], [5, 55], [45, 55]], np.float32) * size + (x, y)
    return AlignedFace(
        image=image,
        measured=image,
        landmarks=points.astype(np.float32),
        mesh=np.full((468, 3), np.nan, np.float32),
        presence=5.0,
        pose=HeadPose(0, 0, 0),
        eye_openness=(0.3, 0.3),
    )


class Room(Door):
    """A door before which faces have a place."""

    def look(
        self, who: str, similarity: float, x: float, seconds: float, *, track: int = 1, sway: float = 0.0
    ):
        """Return how often each reason was given."""
        given = Counter()
        for number in range(round(seconds * 10)):
            self.now_s += 0.1
            face = face_at(x + sway * math.sin(number / 7))
            sight = Sight(self.now_s, track, Match(who, similarity), None, face=face, score=0.9)
            decision = self.decider.decide(sight, self.now_s)
            self.decider.conclude(decision)
            given[decision.reason] += 1
        return given

    @property
    def refused(self) -> int:
        return self.decider._refusals.count.wrong


def test_a_poster_is_one_approach_however_long_it_hangs_there():
    door = Room()
    for hour in range(3):
        given = door.look(
            "bob", 0.1, 100, 1200, sway=2.0, track=hour
        )  # the detector flickers by a pixel or two
        assert door.refused == 1
    assert given == {Reason.STILL_THERE: 12_000}
    assert door.decider._refusals.left_s(door.now_s) == 0


def test_another_face_beside_a_poster_gets_a_look_of_its_own_and_gets_in():
    door = Room()
    for visit in range(5):
        door.look("bob", 0.1, 100, 60, sway=2.0, track=10 * visit)
        given = door.look("alice", 0.9, 300, 0.3, track=10 * visit + 1)
        assert given[Reason.GRANTED] == 1
        door.look("carol", 0.1, 300, 3, track=10 * visit + 2)
        assert door.refused == 1  # carol's own, the poster costs nothing any more
        door.now_s += 5


def test_a_still_picture_of_an_enrolled_person_is_left_alone_too():
    door = Room("passive")
    for _ in range(100):
        door.now_s += 0.1
        sight = Sight(door.now_s, 1, Match("alice", 0.9), None, face=face_at(100), score=0.1)
        door.decider.conclude(door.decider.decide(sight, door.now_s))
    given = door.look("alice", 0.9, 100, 30)
    assert Reason.GRANTED not in given
    assert door.refused == 1


def test_a_face_that_was_refused_and_moves_is_looked_at_again():
    door = Room()
    door.look("alice", 0.1, 100, 15)
    assert door.look("alice", 0.9, 140, 1)[Reason.GRANTED] == 1


def test_a_stranger_who_moves_about_is_an_approach_every_ten_seconds():
    door = Room()
    door.look("bob", 0.1, 100, 45, sway=120.0)
    assert door.refused >= 4


def test_a_person_who_stands_still_and_was_never_refused_is_let_in():
    door = Room(cooldown_s=1.0)
    assert door.look("alice", 0.9, 100, 60)[Reason.GRANTED] > 30


def test_a_place_is_forgotten_a_minute_after_its_face_is_gone():
    door = Room()
    door.look("bob", 0.1, 100, 20)
    door.now_s += 61
    assert door.look("alice", 0.9, 100, 1)[Reason.GRANTED] == 1


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
