"""Where a challenge's limits begin and end: each is tried on both sides."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from device.decide.challenge import BACK_S, DELAY_S, HOLD_S, JUMP, JUMP_S, SETTLE_S, Challenge, Outcome
from device.decide.moves import ChallengeRule, Move
from device.decide.parallax import Parallax
from device.types import Reason
from tests.support.doors.challenged import HEAD, RULE, STEP_S, Look, Visit, glance

STILL: Look = (0, 0, 0.3)


class Least(random.Random):
    """Chance that takes the smallest of any range."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Most(random.Random):
    """Chance that takes the largest of any range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def visit_by(chance: random.Random, move: Move = Move.TURN_LEFT) -> Visit:
    visit = Visit(move)
    visit.challenge._chance = chance
    return visit


@pytest.mark.parametrize(("chance", "asked_s"), [(Least(), 0.3 + DELAY_S[0]), (Most(), 0.3 + DELAY_S[1])])
def test_a_move_is_asked_for_from_the_third_still_frame_on_after_a_random_wait(chance, asked_s) -> None:
    assert DELAY_S == (0.3, 1.2)
    assert visit_by(chance).settle() == pytest.approx(asked_s)


def test_who_moved_is_still_from_that_frame_on() -> None:
    visit = visit_by(Least())
    visit.see(STILL), visit.see((9, 0, 0.3))
    assert visit.challenge.obstacle.hint.startswith("hold still")
    while visit.challenge.asks is None:
        visit.see((9, 0, 0.3))
    assert visit.at_s == pytest.approx(0.7)


def test_who_looked_aside_starts_anew_once_the_face_is_straight() -> None:
    visit = visit_by(Least())
    visit.see((20, 0, 0.3)), visit.see((12, 0, 0.3))  # by 8 degrees: the first of them was no still look
    assert visit.challenge.obstacle is None


def test_six_degrees_are_still_and_more_are_not() -> None:
    visit = Visit(Move.TURN_LEFT)
    visit.see(STILL), visit.see((6, 0, 0.3))
    assert visit.challenge.obstacle is None
    visit.see((-0.5, 0, 0.3))
    assert visit.challenge.obstacle.measured == pytest.approx(6.5)


@pytest.mark.parametrize("pose", [(0, math.nan, 0.3), (math.nan, 0, 0.3), (0, 0, math.nan)])
def test_a_face_that_cannot_be_measured_is_never_asked(pose: Look) -> None:
    visit = Visit(Move.TURN_LEFT)
    for _ in range(40):
        visit.see(pose)
    assert not visit.challenge.has_asked


def test_a_frame_of_the_very_start_is_none_too_late() -> None:
    challenge = Challenge(RULE, Least(), "alice", 5.0)
    assert challenge.see(glance(5.0), 5.0) is Outcome.RUNNING
    assert challenge.see(glance(4.9), 4.9) is Outcome.FAILED


def test_who_is_not_seen_for_just_so_long_has_not_gone() -> None:
    challenge = Challenge(RULE, Least(), "alice", 0.0)
    assert challenge.see(None, 0.6) is Outcome.RUNNING
    assert challenge.see(None, 0.61) is Outcome.FAILED


def test_who_never_held_still_is_told_that_and_failed_nothing() -> None:
    looks = [(20, 0, 0.3), (0, 0, 0.3)] * 40
    ends = []
    for last in looks[:2]:
        visit = Visit(Move.TURN_LEFT)
        while visit.at_s < SETTLE_S:
            visit.see(looks[round(visit.at_s / STEP_S) % 2])
        assert visit.see(last) is Outcome.FAILED
        assert not visit.challenge.has_asked
        assert visit.challenge.obstacle.reason is Reason.CHALLENGE
        ends.append(visit.challenge.obstacle)
    aside = Visit(Move.TURN_LEFT)
    while aside.see((20, 0, 0.3)) is Outcome.RUNNING:
        pass
    assert aside.challenge.obstacle.hint == "look straight into the camera: turned by 20 deg, may be 12"


def test_who_was_neither_still_nor_aside_in_the_end_is_told_the_time() -> None:
    visit = Visit(Move.TURN_LEFT)
    for number in range(60):
        visit.see((0, 0, 0.3) if number % 2 else (20, 0, 0.3))
    assert visit.challenge.obstacle is None  # the last frame was the first still one
    assert visit.see() is Outcome.FAILED
    stop = visit.challenge.obstacle
    assert (stop.reason, stop.limit) == (Reason.CHALLENGE, SETTLE_S)
    assert stop.hint.startswith("not still in time")


def test_who_was_asked_and_answers_too_late_failed() -> None:
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    while visit.see() is Outcome.RUNNING:
        pass
    stop = visit.challenge.obstacle
    assert (stop.reason, stop.limit) == (Reason.CHALLENGE_FAILED, RULE.answer_s)
    assert stop.hint.startswith("too late")
    assert stop.measured == pytest.approx(2.6)


def changed(visit: Visit, change: float, after_s: float = STEP_S) -> Outcome:
    visit.at_s += after_s
    return visit.challenge.see(replace(glance(visit.at_s), change=change), visit.at_s)


@pytest.mark.parametrize(
    ("usual", "change", "outcome"),
    [
        (0.0, 12.0, Outcome.RUNNING),
        (0.0, 12.1, Outcome.FAILED),
        (5.0, 20.0, Outcome.RUNNING),
        (5.0, 20.1, Outcome.FAILED),
    ],
)
def test_surroundings_jump_by_more_than_twelve_levels_and_four_times_the_usual(
    usual, change, outcome
) -> None:
    visit = Visit(Move.TURN_LEFT)
    while visit.challenge.asks is None:
        assert changed(visit, usual) is Outcome.RUNNING
    assert changed(visit, change) is outcome


def test_surroundings_that_jump_long_after_the_sign_are_no_film_that_was_chosen() -> None:
    for after_s, outcome in ((JUMP_S - 0.01, Outcome.FAILED), (JUMP_S + 0.01, Outcome.RUNNING)):
        visit = Visit(Move.TURN_LEFT, ChallengeRule(moves=1, answer_s=5.0, blink=True))
        visit.settle()
        for _ in range(3):
            changed(visit, 0.0, 0.4)
        assert changed(visit, JUMP + 1, after_s - 1.2) is outcome
    assert JUMP_S == 1.5


@pytest.mark.parametrize("misfit", [0.036, 0.0359])
def test_depth_from_its_limits_on(misfit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    motion = 0.036 / 0.55
    assert 0.036 / motion == 0.55  # exactly: a share below it is no depth
    monkeypatch.setattr("device.decide.challenge.measure", lambda *_: Parallax(misfit, motion))
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    assert (visit.obey() is Outcome.PASSED) is (misfit == 0.036)


MIRROR = "turned to the other side than asked for; if you did not, set camera.mirror"


@pytest.mark.parametrize(
    ("asked", "look", "hint", "measured"),
    [
        (Move.TURN_LEFT, (-16, 0, 0.3), MIRROR, 16),
        (Move.TURN_LEFT, (0, -16, 0.3), "another move: nod where turn left was asked for", None),
        (Move.NOD, (16, 0, 0.3), "another move: turn left where nod was asked for", None),
    ],
)
def test_a_wrong_move_is_named(asked: Move, look: Look, hint: str, measured: float | None) -> None:
    visit = Visit(asked)
    visit.settle()
    assert visit.see(look) is Outcome.FAILED
    stop = visit.challenge.obstacle
    assert (stop.reason, stop.hint, stop.measured) == (Reason.CHALLENGE_FAILED, hint, measured)


@pytest.mark.parametrize(
    ("asked", "start", "turn"), [(Move.TURN_RIGHT, (10, 0), -16), (Move.NOD, (0, 9), -16)]
)
def test_a_move_is_counted_from_how_the_head_was_held(asked: Move, start: tuple, turn: float) -> None:
    """Not from the camera's axis: who looks a little aside, or stands higher, turns as far as anybody."""
    visit = visit_by(Least(), asked)
    while visit.challenge.asks is None:
        visit.see((*start, 0.3))
    for share in (0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        by = (share * turn, 0) if asked is Move.TURN_RIGHT else (0, share * turn)
        assert visit.see((start[0] + by[0], start[1] + by[1], 0.3)) is Outcome.RUNNING
    assert visit.challenge.asks is Move.BACK


def shown(visit: Visit, *looks: Look | None) -> None:
    for look in looks:
        if look is None:
            visit.at_s = round(visit.at_s + STEP_S, 3)
            outcome = visit.challenge.see(None, visit.at_s)
        else:
            outcome = visit.see(look)
        assert outcome is Outcome.RUNNING


FAR: Look = (16, 0, 0.3)


@pytest.mark.parametrize("gap", ["straight", "hidden", "of nobody"])
def test_two_frames_show_a_move_only_where_nothing_is_between_them(gap: str) -> None:
    """The mesh is wrong now and then for one frame: coming straight again is no move that was let go."""
    visit = Visit(Move.TURN_LEFT)
    visit.settle()
    shown(visit, (6, 0, 0.3), FAR)
    if gap == "of nobody":
        assert visit.see(FAR, who=None) is Outcome.RUNNING
    else:
        shown(visit, None if gap == "hidden" else (6, 0, 0.3))
    shown(visit, FAR, STILL, STILL)
    assert visit.challenge.asks is Move.TURN_LEFT


@pytest.mark.parametrize(("between", "is_way"), [(2.5, True), (2.3, False), (10.7, True), (10.9, False)])
def test_a_turn_goes_through_the_angles_between(between: float, is_way: bool) -> None:
    visit = visit_by(Least())
    visit.settle()
    shown(visit, (between, 0, 0.3), *[FAR] * 6)
    assert (visit.challenge.asks is Move.BACK) is is_way


@pytest.mark.parametrize(
    ("shut", "opened", "passes"), [(0.4, 0.45, True), (0.41, 0.45, False), (0.4, 0.44, False)]
)
def test_eyes_are_shut_and_open_by_a_share_of_how_open_they_were(shut, opened, passes) -> None:
    assert (0.8 * 0.5, 0.9 * 0.5) == (0.4, 0.45)
    visit = visit_by(Least(), Move.BLINK)
    while visit.challenge.asks is None:
        visit.see((0, 0, 0.5))
    visit.see((0, 0, 0.5)), visit.see((0, 0, shut))
    assert (visit.see((0, 0, opened)) is Outcome.PASSED) is passes


@pytest.mark.parametrize(("move", "look"), [(Move.NOD, (0, -16, 0.3)), (Move.TURN_LEFT, FAR)])
def test_a_move_that_is_let_go_half_way_is_not_held(move: Move, look: Look) -> None:
    visit = visit_by(Most(), move)
    visit.settle()
    half = (look[0] / 2, look[1] / 2, 0.3)
    shown(visit, half, look, look)
    assert visit.see(half) is Outcome.FAILED
    stop = visit.challenge.obstacle
    assert stop.hint.startswith("not held")
    assert (stop.measured, stop.limit) == (pytest.approx(8 / 12), 0.75)


def test_a_move_is_held_for_a_random_time_and_then_comes_back_soon() -> None:
    assert HOLD_S == (0.3, 2.5)
    for chance, hold_s in ((Least(), 0.3), (Most(), 2.5)):
        visit = visit_by(chance)
        visit.settle()
        shown(visit, (6, 0, 0.3), FAR, FAR)
        since_s = visit.at_s
        while visit.challenge.asks is not Move.BACK:
            shown(visit, FAR)
        assert visit.at_s - since_s == pytest.approx(hold_s, abs=STEP_S)
        back_s = visit.at_s
        while (outcome := visit.see(FAR)) is Outcome.RUNNING:
            pass
        assert outcome is Outcome.FAILED
        stop = visit.challenge.obstacle
        assert stop.hint.startswith("not back in time")
        assert (stop.measured, stop.limit) == (pytest.approx(visit.at_s - back_s), BACK_S)


def test_who_answers_before_anybody_could_is_told_by_how_much() -> None:
    visit = visit_by(Least(), Move.BLINK)
    asked_s = visit.settle()
    for after_s, openness, outcome in ((0.03, 0.1, Outcome.RUNNING), (0.06, 0.3, Outcome.FAILED)):
        look = glance(asked_s + after_s, (0, 0, openness), points=HEAD)
        assert visit.challenge.see(look, asked_s + after_s) is outcome
    stop = visit.challenge.obstacle
    assert stop.hint.startswith("too early")
    assert (stop.measured, stop.limit) == (pytest.approx(0.06), 0.15)
