"""Turns of a challenge: how far, and for how long."""

from __future__ import annotations

import random

import pytest

from device.decide.challenge import BACK_S, HELD, HOLD_S, Outcome
from device.decide.moves import FAR_DEG, TURN_DEG, Move
from device.types import Stop
from tests.support.doors.challenged import RULE, STEP_S, Look, Visit, glance, turned


@pytest.mark.parametrize(
    ("move", "yaw"), [(Move.TURN_LEFT_LITTLE, FAR_DEG + 1), (Move.TURN_RIGHT_LITTLE, -25.0)]
)
def test_a_turn_that_goes_too_far_fails(move: Move, yaw: float) -> None:
    visit = Visit(move)
    visit.settle()
    assert visit.act(lambda passed_s: (yaw * min(passed_s, 1), 0, 0.3)) is Outcome.FAILED
    assert visit.at_s < 4


def test_a_turn_that_does_not_go_far_enough_answers_nothing() -> None:
    visit = Visit(Move.TURN_LEFT_FAR)
    visit.settle()
    assert visit.act(lambda passed_s: (17 * min(passed_s, 1), 0, 0.3)) is Outcome.FAILED
    assert visit.at_s > 2.5


def test_a_turn_has_to_be_held_until_a_moment_that_nobody_knows() -> None:
    held_s = []
    for seed in range(40):
        visit = Visit(Move.TURN_LEFT)
        visit.challenge._chance = random.Random(seed)
        began_s = turned(visit)
        while visit.challenge.asks is not Move.BACK:
            assert visit.see((20, 0, 0.3)) is Outcome.RUNNING
        held_s.append(visit.at_s - began_s)
    assert min(held_s) >= HOLD_S[0] - 0.1
    assert max(held_s) <= HOLD_S[1] + 0.2
    assert max(held_s) - min(held_s) > 1.5


@pytest.mark.parametrize("hold_s", [0.2, 0.6, 1.4, 2.0])
def test_a_clip_whose_turn_has_its_own_time_comes_back_at_the_wrong_moment_mostly(hold_s: float) -> None:
    passed = 0
    for seed in range(60):
        visit = Visit(Move.TURN_LEFT)
        visit.challenge._chance = random.Random(seed)
        visit.settle()
        outcome = visit.act(
            lambda passed_s: (min(20.0, 50 * passed_s, 50 * max(0.8 + hold_s - passed_s, 0)), 0, 0.3)
        )
        passed += outcome is Outcome.PASSED
    assert passed <= 0.6 * 60


@pytest.mark.parametrize("back_s", [0.05, BACK_S + 0.2])
def test_a_turn_that_ends_before_it_may_or_long_after_fails(back_s: float) -> None:
    visit = Visit(Move.TURN_LEFT)
    turned(visit)
    challenge = visit.challenge
    while challenge.asks is not Move.BACK:
        visit.see((20, 0, 0.3))
    at_s = visit.at_s
    outcomes = [challenge.see(glance(at_s + back_s, (yaw, 0, 0.3)), at_s + back_s) for yaw in (2.0,)]
    assert outcomes == [Outcome.FAILED]


def failed(look: Look, move: Move, *, is_back_asked: bool = False) -> Stop:
    """Return why a challenge fails whoever shows one look from the prompt on, or from the sign to come back on."""
    visit = Visit(move)
    if is_back_asked:
        turned(visit)
        while visit.challenge.asks is not Move.BACK:
            visit.see((20, 0, 0.3))
    else:
        visit.settle()
    while visit.see(look) is Outcome.RUNNING:
        pass
    assert visit.challenge.obstacle is not None
    return visit.challenge.obstacle


@pytest.mark.parametrize(
    ("stop", "hint", "measured", "limit"),
    [
        (failed((20, 0, 0.3), Move.TURN_RIGHT), "other side", 20, TURN_DEG),
        (failed((20, 0, 0.3), Move.NOD), "turn left where nod", None, None),
        (failed((FAR_DEG + 3, 0, 0.3), Move.TURN_LEFT_LITTLE), "too far", FAR_DEG + 3, FAR_DEG),
        (failed((0, 0, 0.3), Move.TURN_LEFT), "too late", RULE.answer_s, RULE.answer_s),
        (failed((20, 0, 0.3), Move.TURN_LEFT, is_back_asked=True), "not back in time", BACK_S, BACK_S),
        (failed((2, 0, 0.3), Move.TURN_LEFT, is_back_asked=True), "not held", 2 / TURN_DEG, HELD),
    ],
)
def test_whoever_fails_is_told_what_was_measured_and_the_limit(
    stop: Stop, hint: str, measured: float | None, limit: float | None
) -> None:
    assert hint in stop.hint
    assert stop.measured == (measured if measured is None else pytest.approx(measured, abs=STEP_S + 0.01))
    assert stop.limit == limit
