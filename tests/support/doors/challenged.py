"""Somebody before a door that asks for a move."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np

from device.decide.challenge import Challenge, Glance, Outcome
from device.decide.moves import ChallengeRule, Move
from device.types import HeadPose
from tests.support.solid_face import face_points, seen

RULE = ChallengeRule(moves=1, answer_s=2.5, blink=True)
HEAD, PICTURE = face_points(depth=1.0), face_points(depth=0.0)
TARGETS = {Move.TURN_LEFT: (20.0, 0.0), Move.TURN_RIGHT: (-20.0, 0.0), Move.NOD: (0.0, -18.0)}
AMOUNTS = {
    Move.TURN_LEFT_LITTLE: (16.0, 0.0), Move.TURN_RIGHT_LITTLE: (-16.0, 0.0),
    Move.TURN_LEFT_FAR: (26.0, 0.0), Move.TURN_RIGHT_FAR: (-26.0, 0.0),
}  # fmt: skip
ASKED = [Move.BLINK, *TARGETS, *AMOUNTS]
STEP_S = 0.1
Look = tuple[float, float, float]  # yaw, pitch, openness of the eyes


def glance(at_s: float, look: Look = (0, 0, 0.3), who: str | None = "alice", points=HEAD) -> Glance:
    yaw, pitch, openness = look
    mesh = seen(points, yaw, pitch).astype(np.float32)
    return Glance(at_s=at_s, pose=HeadPose(yaw, pitch, 0), mesh=mesh, openness=openness, subject_id=who)


def move_to(move: Move, passed_s: float, way_s: float = 0.4) -> Look:
    """Return the look of somebody who began a move so long ago and comes back."""
    if move is Move.BLINK:
        return (0, 0, 0.1 if 0 <= passed_s < 0.25 else 0.3)
    share = min(max(min(passed_s, 1.4 - passed_s) / way_s, 0.0), 1.0)
    yaw, pitch = (TARGETS | AMOUNTS)[move]
    return (share * yaw, share * pitch, 0.3)


class Visit:
    """A challenge with one known move, and somebody before it."""

    def __init__(self, move: Move, rule: ChallengeRule = RULE) -> None:
        self.challenge = Challenge(rule, random.Random(0), "alice", 0.0)
        self.challenge._left = [move]
        self.at_s = 0.0

    def see(self, look: Look = (0, 0, 0.3), who: str | None = "alice", points=HEAD) -> Outcome:
        self.at_s = round(self.at_s + STEP_S, 3)
        return self.challenge.see(glance(self.at_s, look, who, points), self.at_s)

    def settle(self, points=HEAD) -> float:
        while self.challenge.asks is None:
            assert self.see(points=points) is Outcome.RUNNING
            assert self.at_s < 3
        return self.at_s

    def obey(self, seconds: float = 8.0, react_s: float = 0.4, way_s: float = 0.4) -> Outcome:
        """Make the move that is asked for, hold a turn until it may end, and come back."""
        move, began_s, back_s = self.challenge.asks, self.at_s + react_s, math.inf
        yaw, pitch = (TARGETS | AMOUNTS).get(move, (0.0, 0.0))
        while self.at_s < began_s + seconds:
            if move is Move.BLINK:
                look = move_to(move, self.at_s - began_s)
            else:
                if self.challenge.asks is Move.BACK:
                    back_s = min(back_s, self.at_s + react_s)
                out, back = ((self.at_s - since_s) / way_s for since_s in (began_s, back_s))
                share = min(max(out, 0.0), 1.0) - min(max(back, 0.0), 1.0)
                look = (share * yaw, share * pitch, 0.3)
            outcome = self.see(look)
            if outcome is not Outcome.RUNNING:
                return outcome
        return Outcome.RUNNING

    def act(self, look_at: Callable[[float], Look], seconds: float = 4.0, **how) -> Outcome:
        """Look as the function of the time since the prompt says, until an outcome."""
        asked_s = self.at_s
        while self.at_s - asked_s < seconds:
            outcome = self.see(look_at(self.at_s - asked_s), **how)
            if outcome is not Outcome.RUNNING:
                return outcome
        return Outcome.RUNNING


def turned(visit: Visit) -> float:
    """Turn, and return the time from which on the turn has to be held."""
    visit.settle()
    for yaw in (6.0, 14.0, 20.0, 20.0):
        assert visit.see((yaw, 0, 0.3)) is Outcome.RUNNING
    return visit.at_s
