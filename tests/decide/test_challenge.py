"""The challenge: who answers it, and everything else that does not."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decide.challenge import DELAY_S, JUMP, Challenge, Glance, Outcome, glance_at
from device.decide.moves import MOST_MOVES, ChallengeRule, Move, draw_moves, made_move
from device.decide.parallax import Parallax
from device.types import AlignedFace, HeadPose
from tests.support.doors.challenged import (
    AMOUNTS,
    ASKED,
    PICTURE,
    RULE,
    STEP_S,
    TARGETS,
    Look,
    Visit,
    glance,
    move_to,
    turned,
)


@pytest.mark.parametrize("move", ASKED)
def test_whoever_makes_the_move_passes(move: Move) -> None:
    visit = Visit(move)
    visit.settle()
    assert visit.obey() is Outcome.PASSED


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("made", [Move.TURN_LEFT, Move.TURN_RIGHT, Move.NOD])
def test_one_wrong_move_fails(asked: Move, made: Move) -> None:
    if asked.way is made:
        return
    visit = Visit(asked)
    asked_s = visit.settle()
    assert visit.act(lambda passed_s: move_to(made, passed_s - 0.4)) is Outcome.FAILED
    assert visit.at_s - asked_s < 1.0  # by the move, not by the time


def test_a_wrong_move_is_not_forgiven_by_the_right_one_after_it() -> None:
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    outcomes = [visit.see((yaw, 0, 0.3)) for yaw in (-6.0, -14.0)]
    assert outcomes == [Outcome.RUNNING, Outcome.FAILED]


@pytest.mark.parametrize(
    ("misfit", "motion", "passes"),
    [
        (0.060, 0.08, True),
        (0.060, 0.20, False),  # much is left over, of far more motion: noise
        (0.030, 0.04, False),  # most of the motion is left over, and it is hardly any
    ],
)
def test_depth_needs_the_misfit_and_its_share_of_the_motion(
    misfit: float, motion: float, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.decide.challenge.measure", lambda *_: Parallax(misfit, motion))
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    assert (visit.obey() is Outcome.PASSED) is passes


def test_another_subject_fails_the_challenge_with_its_first_frame() -> None:
    for who, outcome in (("bob", Outcome.FAILED), (None, Outcome.RUNNING)):
        for settled in (False, True):
            visit = Visit(Move.NOD)
            visit.settle() if settled else visit.see()
            assert visit.see(who=who) is outcome


@pytest.mark.parametrize("move", ASKED)
def test_a_late_answer_and_none_at_all_fail(move: Move) -> None:
    for reaction_s in (2.6, 99.0):
        visit = Visit(move)
        asked_s = visit.settle()
        assert visit.act(lambda passed_s, r=reaction_s: move_to(move, passed_s - r)) is Outcome.FAILED
        assert visit.at_s - asked_s == pytest.approx(2.6)


def test_a_move_that_was_under_way_before_the_prompt_fails() -> None:
    visit = Visit(Move.TURN_LEFT, ChallengeRule(moves=1, answer_s=2.5, blink=True))
    visit.settle()
    visit.see((6, 0, 0.3))
    assert visit.see((19, 0, 0.3)) is Outcome.RUNNING  # one frame alone is no move yet
    early = Visit(Move.TURN_LEFT)
    early.settle()
    asked_s, challenge = early.at_s, early.challenge
    for step, yaw in ((0.03, 6), (0.06, 14), (0.09, 18)):
        outcome = challenge.see(glance(asked_s + step, (yaw, 0, 0.3)), asked_s + step)
    assert outcome is Outcome.FAILED


@pytest.mark.parametrize("move", [*TARGETS, *AMOUNTS])
def test_a_flat_picture_that_is_seen_as_turned_does_not_pass(move: Move) -> None:
    """Even where the mesh takes a tilted picture for a turned head: its points move as one plane."""
    visit = Visit(move)
    visit.settle(points=PICTURE)
    assert visit.act(lambda passed_s: move_to(move, passed_s - 0.4), points=PICTURE) is Outcome.FAILED
    assert visit.at_s > 2.5


def test_a_picture_that_is_held_turned_is_never_asked() -> None:
    visit = Visit(Move.TURN_LEFT)
    outcomes = [visit.see((20, 0, 0.3)) for _ in range(70)]
    assert not visit.challenge.has_asked
    assert outcomes[-1] is Outcome.FAILED


def test_pictures_swapped_for_a_turned_one_are_no_turn() -> None:
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    assert visit.act(lambda passed_s: (20.0 if passed_s > 0.5 else 0.0, 0, 0.3)) is Outcome.FAILED
    assert visit.at_s > 2.5


def test_whoever_does_not_hold_still_is_never_asked() -> None:
    visit = Visit(Move.NOD)
    for step in range(60):
        visit.see((10.0 if step % 2 else -2.0, 0, 0.3))
    assert not visit.challenge.has_asked


@pytest.mark.parametrize("move", ASKED)
@pytest.mark.parametrize("who", ["bob", None])
def test_the_identity_holds_on_the_frames_of_the_answer(move: Move, who: str | None) -> None:
    visit = Visit(move)
    visit.settle()
    assert visit.act(lambda passed_s: move_to(move, passed_s - 0.1), who=who) is Outcome.FAILED
    assert visit.at_s < 2.5  # somebody else at once, a face like nobody's after a moment


def test_a_blurred_frame_in_between_is_forgiven() -> None:
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    visit.see((0, 0, 0.3)), visit.see((5, 0, 0.3))
    visit.at_s = round(visit.at_s + STEP_S, 3)
    assert visit.challenge.see(None, visit.at_s) is Outcome.RUNNING
    assert visit.see((20, 0, 0.3)) is Outcome.RUNNING
    assert visit.see((20, 0, 0.3)) is Outcome.RUNNING
    while visit.challenge.asks is not Move.BACK:
        assert visit.see((20, 0, 0.3)) is Outcome.RUNNING
    visit.see((15, 0, 0.3)), visit.see((9, 0, 0.3))
    assert visit.see((4, 0, 0.3)) is Outcome.PASSED


def test_a_face_that_is_away_for_long_fails() -> None:
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    outcomes = [visit.challenge.see(None, visit.at_s + away_s) for away_s in (0.1, 0.5, 0.7)]
    assert outcomes == [Outcome.RUNNING, Outcome.RUNNING, Outcome.FAILED]


def test_a_tilt_that_narrows_the_eyes_is_no_blink() -> None:
    visit = Visit(Move.BLINK)
    visit.settle()

    def tilt(passed_s: float) -> Look:
        down = 0.4 <= passed_s < 0.7
        return (0, -11.0 if down else 0, 0.1 if down else 0.3)

    assert visit.act(tilt) is Outcome.FAILED


def test_eyes_that_stay_shut_are_no_blink() -> None:
    visit = Visit(Move.BLINK)
    visit.settle()
    assert visit.act(lambda passed_s: (0, 0, 0.1 if passed_s > 0.3 else 0.3)) is Outcome.FAILED


broken = st.sampled_from([math.nan, math.inf, -math.inf])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ASKED), st.lists(st.tuples(broken, broken, broken), min_size=10, max_size=30))
def test_what_is_not_a_number_answers_nothing(move: Move, looks: list[Look]) -> None:
    visit = Visit(move)
    visit.settle()
    for yaw, pitch, openness in looks:
        mesh = np.full((468, 3), np.nan, np.float32)
        visit.at_s += STEP_S
        seen_now = Glance(visit.at_s, HeadPose(yaw, pitch, 0), mesh, openness, "alice")
        assert visit.challenge.see(seen_now, visit.at_s) is not Outcome.PASSED


def test_a_time_that_is_none_fails() -> None:
    challenge = Challenge(RULE, random.Random(0), "alice", 0.0)
    assert challenge.see(glance(math.nan), math.nan) is Outcome.FAILED


def test_the_moment_is_random_and_within_bounds() -> None:
    asked = []
    for seed in range(40):
        challenge = Challenge(RULE, random.Random(seed), "alice", 0.0)
        at_s = 0.0
        while challenge.asks is None:
            at_s += 0.05
            challenge.see(glance(at_s), at_s)
        asked.append(at_s - 0.15)
    assert min(asked) >= DELAY_S[0] - 0.01
    assert max(asked) <= DELAY_S[1] + 0.06
    assert max(asked) - min(asked) > 0.5


def test_two_moves_are_asked_one_after_the_other_and_straight_in_between() -> None:
    challenge = Challenge(ChallengeRule(moves=2, answer_s=2.5, blink=False), random.Random(2), "alice", 0.0)
    first, second = challenge._left
    visit = Visit(first)
    visit.challenge = challenge
    visit.settle()
    assert challenge.asks is first
    assert visit.obey(seconds=4) is Outcome.RUNNING
    while challenge.asks is None:
        visit.see()
    assert challenge.asks is second
    assert visit.obey() is Outcome.PASSED


@pytest.mark.parametrize("moves", [1, 2, 3, 4])
@pytest.mark.parametrize("blink", [True, False])
def test_moves_are_drawn_without_repeats_and_never_a_blink_alone(moves: int, blink: bool) -> None:
    rule = ChallengeRule(moves=moves, answer_s=2.5, blink=blink)
    drawn = [draw_moves(rule, random.Random(seed)) for seed in range(300)]
    for each in drawn:
        assert len(each) == moves
        assert set(each) & set(TARGETS)
        assert all(a is not b for a, b in pairwise(each))
    every = {move for each in drawn for move in each}
    assert every == ({Move.BLINK, *TARGETS} if blink and moves > 1 else set(TARGETS))
    assert len({tuple(each) for each in drawn}) >= 3 * moves - (moves > 2)


@pytest.mark.parametrize("refusals", [1, 2, 3, 9])
def test_each_refusal_asks_for_more_moves_and_for_amounts(refusals: int) -> None:
    rule = ChallengeRule(moves=2, answer_s=2.5, blink=True)
    drawn = [draw_moves(rule, random.Random(seed), refusals) for seed in range(300)]
    assert {len(each) for each in drawn} == {min(2 + refusals, MOST_MOVES)}
    assert {move for each in drawn for move in each} == {Move.BLINK, Move.NOD, *AMOUNTS}
    assert all(a.way is not b.way for each in drawn for a, b in pairwise(each))


@pytest.mark.parametrize("after", ["the prompt", "the end of the hold"])
def test_surroundings_that_jump_after_a_prompt_fail(after: str) -> None:
    for change, outcome in ((3.0, Outcome.RUNNING), (JUMP + 1, Outcome.FAILED), (math.nan, Outcome.RUNNING)):
        visit = Visit(Move.TURN_LEFT)
        if after == "the prompt":
            visit.settle()
            look = (0.0, 0.0, 0.3)
        else:
            turned(visit)
            while visit.challenge.asks is not Move.BACK:
                visit.see((20, 0, 0.3))
            look = (20.0, 0.0, 0.3)
        visit.at_s += STEP_S
        seen_now = replace(glance(visit.at_s, look), change=change)
        assert visit.challenge.see(seen_now, visit.at_s) is outcome


def test_restless_surroundings_have_to_jump_by_more() -> None:
    """Trees in the wind, a street behind the person: what moved while the face held still may go on moving."""
    visit = Visit(Move.TURN_LEFT)
    while visit.challenge.asks is None:
        visit.at_s += STEP_S
        visit.challenge.see(replace(glance(visit.at_s), change=8.0), visit.at_s)
    visit.at_s += STEP_S
    assert visit.challenge.see(replace(glance(visit.at_s), change=20.0), visit.at_s) is Outcome.RUNNING


@pytest.mark.parametrize(("look", "measured", "limit"), [((20, 0, 0.3), 20, 12), ((9, 0, 0.3), 9, 6)])
def test_whoever_is_not_asked_is_told_why(look: Look, measured: float, limit: float) -> None:
    visit = Visit(Move.TURN_LEFT)
    visit.see()
    assert visit.challenge.obstacle is None
    visit.see(look)
    assert (visit.challenge.obstacle.measured, visit.challenge.obstacle.limit) == (measured, limit)
    assert f"{measured} deg" in visit.challenge.obstacle.hint


@pytest.mark.parametrize(
    ("yaw", "pitch", "move"),
    [
        (13, 0, Move.TURN_LEFT),
        (-13, 5, Move.TURN_RIGHT),
        (20, -13, Move.TURN_LEFT),  # a turned head dips a little
        (5, 13, Move.NOD),
        (0, -13, Move.NOD),
        (11, -11, None),
        (math.nan, 0, None),
        (0, math.nan, None),
    ],
)
def test_the_larger_angle_names_the_move(yaw: float, pitch: float, move: Move | None) -> None:
    assert made_move(yaw, pitch) is move


def test_both_eyes_have_to_be_measured() -> None:
    image = np.zeros((112, 112, 3), np.uint8)
    face = AlignedFace(
        image=image,
        measured=image,
        landmarks=np.zeros((5, 2), np.float32),
        mesh=np.zeros((468, 3), np.float32),
        presence=1.0,
        pose=HeadPose(0, 0, 0),
        eye_openness=(0.1, 0.3),
    )
    assert glance_at(face, 0.0, "alice").openness == 0.3  # one eye shut is a wink
