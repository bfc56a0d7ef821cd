"""Turn the decisions about frames into events: what is asked of a person, and one line for each approach.

Pure: decisions and their times are handed in, events come out. An approach begins with a face. It ends when the bolt
moves, when there is no face for `GAP_S`, or after `LONGEST_S`. Its line has

    the subject that most frames matched, if any
    how far it came (`stage`) and why no further (`reason`): the furthest reason that was seen in several frames
    the measured value and its limit, if a stage measured one; of a similarity only "far below" or "just below", and
    that on the console alone
    how long it took, and what to do

A face that walks past, never compared and gone within `GAP_S`, is no approach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from device.journal.damper import Damper
from device.types import Decision, Is, News, Reason, Stage, Stop

GAP_S, LONGEST_S = 2.0, 60.0
LUCK = 3  # frames: a reason seen less often does not explain an approach
NEAR = 0.1  # of similarity below the threshold: just below it
HOLD_STILL = "hold_still"  # what a challenge asks for before it asks for a move


@dataclass(slots=True)
class _Approach:
    began_s: float
    seen_s: float
    frames: Counter[Reason] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    last: dict[Reason, Decision] = field(default_factory=dict)

    def take(self, decision: Decision, now_s: float) -> None:
        reason = decision.reason
        self.seen_s = now_s
        # A reason that comes only once for each event, not with each frame, counts at once.
        self.frames[reason] += LUCK if reason.stage >= Stage.ASKED and reason is not Reason.CHALLENGE else 1
        self.last[reason] = decision
        if decision.subject_id is not None:
            self.people[decision.subject_id] += 1

    @property
    def reason(self) -> Reason:
        """Why it came no further: the most frequent reason of the furthest stage; refusals go before open reasons."""
        sure = [reason for reason, count in self.frames.items() if count >= LUCK] or list(self.frames)
        return max(sure, key=lambda each: (each.stage, each.has(Is.REFUSAL), self.frames[each]))

    @property
    def is_passer_by(self) -> bool:
        return self.seen_s - self.began_s < GAP_S and max(each.stage for each in self.frames) <= Stage.SEEN


class Approaches:
    """Turn the decisions about all frames into events: refused, challenge, approach."""

    def __init__(self) -> None:
        self._damper: Damper[tuple[Reason, str | None]] = Damper()
        self._approach: _Approach | None = None
        self._asked: str | None = None

    def see(self, decision: Decision, now_s: float) -> Iterator[News]:
        """Yield the events of a decision; call it for every frame."""
        if self._approach is not None and self._is_over(self._approach, now_s):
            yield from self.end()
        reason = decision.reason
        yield from self._ask(decision)
        if reason.has(Is.REFUSAL) and (count := self._damper.see((reason, decision.subject_id), now_s)):
            yield (
                "refused",
                {
                    "reason": str(reason),
                    "count": count if count > 1 else None,
                    "wait_s": decision.wait_s,
                },
            )
        if reason.stage is Stage.NOBODY or reason is Reason.COOLDOWN:
            return
        if self._approach is None:
            self._approach = _Approach(now_s, now_s)
        self._approach.take(decision, now_s)
        if decision.granted:
            yield from self.end()

    def end(self) -> Iterator[News]:
        """Yield the last events of an approach, also when the camera is lost or the program stops."""
        approach, self._approach = self._approach, None
        for (reason, _), count in self._damper.end():
            yield "held_back", {"reason": str(reason), "count": count}
        if self._asked is not None:
            self._asked = None
            yield "challenge_over", {}
        if approach is not None and not approach.is_passer_by:
            yield "approach", summarize(approach)

    def _is_over(self, approach: _Approach, now_s: float) -> bool:
        return not (0 <= now_s - approach.seen_s <= GAP_S and now_s - approach.began_s <= LONGEST_S)

    def _ask(self, decision: Decision) -> Iterator[News]:
        """Yield what a challenge asks for when that changes."""
        asks = decision.challenge or (HOLD_STILL if decision.reason is Reason.CHALLENGE else None)
        changed, self._asked = asks != self._asked, asks
        if changed:
            yield ("challenge", {"action": asks}) if asks is not None else ("challenge_over", {})


def summarize(approach: _Approach) -> dict[str, object]:
    """Return the fields of an approach's line."""
    reason = approach.reason
    decision = approach.last[reason]
    stop = decision.stop if decision.stop is not None and decision.stop.reason is reason else Stop(reason)
    who = approach.people.most_common(1)
    return {
        "subject_id": who[0][0] if who else None,
        "stage": str(reason.stage),
        "reason": str(reason),
        "measured": stop.measured,
        "limit": stop.limit,
        "closeness": closeness(decision) if reason is Reason.BELOW_THRESHOLD else None,
        "wait_s": decision.wait_s,
        "took_s": approach.seen_s - approach.began_s,
        "advice": (stop.hint or reason.advice) or None,
    }


def closeness(decision: Decision) -> str | None:
    """Say in words how far a similarity is from what it needs."""
    if decision.similarity is None or decision.threshold is None:
        return None
    return "just_below" if decision.similarity >= decision.threshold - NEAR else "far_below"
