"""A decider that is fed frame by frame."""

from __future__ import annotations

import random

from device.decide.backoff import Count
from device.decide.decider import Decider, DecisionRule, LivenessRule, Sight
from device.decide.moves import ChallengeRule
from device.decide.refusals import Refusals
from device.types import Decision, Match, Reason

RULE = {"threshold": 0.5, "k": 3, "n": 5, "cooldown_s": 2.0, "max_frame_age_s": 1.5}


def make_decider(rule: DecisionRule, mode: str = "passive") -> Decider:
    return Decider(
        rule,
        liveness=LivenessRule(mode=mode, unsure=0.8, attack=0.2),
        challenge=ChallengeRule(moves=1, answer_s=2.5, blink=True),
        chance=random.Random(0),
        refusals=Refusals(Count(), lambda _: None),
    )


class Door:
    """A decider fed one frame every 0.1 s."""

    def __init__(self, mode: str = "passive", **changes: float) -> None:
        self.rule = DecisionRule(**{**RULE, **changes})
        self.decider = make_decider(self.rule, mode)
        self.now_s = 100.0

    def see(
        self,
        subject: str | None = None,
        similarity: float = 0.9,
        *,
        track: int | None = 1,
        reason: Reason | None = None,
        age_s: float = 0.05,
        step_s: float = 0.1,
        score: float | None = 0.9,
        always: bool = False,
    ) -> Decision:
        self.now_s += step_s
        match = None if subject is None else Match(subject, similarity)
        sight = Sight(self.now_s - age_s, track, match, reason, score=score, always=always)
        decision = self.decider.decide(sight, self.now_s)
        self.decider.conclude(decision)
        return decision

    def reasons(self, *subjects: str | None) -> list[str]:
        return [
            str(self.see(subject, reason=None if subject else Reason.TOO_DARK).reason) for subject in subjects
        ]
