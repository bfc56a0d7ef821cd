"""Turn the decisions about frames into events: what is asked of a person, and one line for each approach.

Pure: decisions and their times are handed in, events come out. An approach begins with a face. It ends when the bolt
moves, when there is no face for `GAP_S`, or after `LONGEST_S`. Its line has

    the subject that most frames matched, if any
    how far it came (`stage`) and why no further (`reason`): the furthest reason that was seen in several frames
    the measured value and its limit, if a stage measured one; of a similarity only "far below" or "just below", and
    that on the console alone
    how long it took, and what to do

Who stands there for longer, and is not let in, leaves the same line while it lasts, as `kept_out`: after `LASTING_S`,
then ever more rarely. `too_few_frames` is a cause too: of a face that is known, and whose frames are too far apart for
it to be followed.

A face that walks past, never compared and gone within `GAP_S`, is no approach.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from device.journal.damper import Damper
from device.types import Decision, Is, News, Reason, Stage, Stop

GAP_S, LONGEST_S = 2.0, 60.0
LASTING_S = 10.0  # an approach that is not over by then is told while it lasts
RATE_FRAMES = 8  # of which the frame rate is taken
FOLLOWED = (Reason.CONFIRMING, Reason.DWELLING)  # reasons that only a face that is followed gets over
TOO_FEW_FRAMES = "too_few_frames"
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
        """Why it came no further: the most frequent reason of the furthest stage, of two the later one.

        Refusals go before open reasons.
        """
        sure = [reason for reason, count in self.frames.items() if count >= LUCK] or list(self.frames)
        return max(sure, key=self._weight)

    def _weight(self, reason: Reason) -> tuple[Stage, bool, int, float]:
        return reason.stage, reason.has(Is.REFUSAL), self.frames[reason], self.last[reason].captured_at_s

    @property
    def is_passer_by(self) -> bool:
        return self.seen_s - self.began_s < GAP_S and max(each.stage for each in self.frames) <= Stage.SEEN


class Approaches:
    """Turn the decisions about all frames into events: refused, challenge, kept out, approach.

    Args:
        least_fps: with fewer frames a second no face can be followed.
    """

    def __init__(self, least_fps: float = 0.0) -> None:
        self._least_fps = least_fps
        self._damper: Damper[tuple[Reason, str | None]] = Damper()
        self._approach: _Approach | None = None
        self._recent: _Approach | None = None  # what is not told yet of one that lasts
        self._wait_s = LASTING_S
        self._asked: str | None = None
        self._times_s: deque[float] = deque(maxlen=RATE_FRAMES)

    def see(self, decision: Decision, now_s: float) -> Iterator[News]:
        """Yield the events of a decision; call it for every frame."""
        self._times_s.append(now_s)
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
        if reason is Reason.COOLDOWN and self._approach is not None:
            self._approach.seen_s = now_s  # whose PIN is awaited is still there
        if reason.stage is Stage.NOBODY or reason is Reason.COOLDOWN:
            return
        if self._approach is None:
            self._approach, self._wait_s = _Approach(now_s, now_s), LASTING_S
        self._approach.take(decision, now_s)
        if decision.granted:
            yield from self.end()
        else:
            yield from self._tell_lasting(self._approach, decision, now_s)

    def end(self) -> Iterator[News]:
        """Yield the last events of an approach, also when the camera is lost or the program stops."""
        approach, self._approach, self._recent = self._approach, None, None
        for (reason, _), count in self._damper.end():
            yield "held_back", {"reason": str(reason), "count": count}
        if self._asked is not None:
            self._asked = None
            yield "challenge_over", {}
        if approach is not None and not approach.is_passer_by:
            yield "approach", self._told(approach)

    def _tell_lasting(self, approach: _Approach, decision: Decision, now_s: float) -> Iterator[News]:
        """Yield what keeps somebody out who has stood there for long: of the time since it was told last."""
        if self._recent is None:
            self._recent = _Approach(now_s, now_s)
        self._recent.take(decision, now_s)
        if now_s - self._recent.began_s >= self._wait_s:
            yield "kept_out", {**self._told(self._recent), "took_s": now_s - approach.began_s}
            self._recent, self._wait_s = None, 2 * self._wait_s

    def _told(self, approach: _Approach) -> dict[str, object]:
        """Return the fields of an approach; frames that are too few explain what is never confirmed."""
        fields, fps = summarize(approach), self._fps
        if approach.reason in FOLLOWED and fps is not None and fps < self._least_fps:
            advice = "more light, a smaller camera.width, a cooler board: the frames are too far apart"
            return {
                **fields,
                "reason": TOO_FEW_FRAMES,
                "measured": fps,
                "limit": self._least_fps,
                "advice": advice,
            }
        return fields

    @property
    def _fps(self) -> float | None:
        """The frames a second of the last ones; None where too few have come to say."""
        passed_s = self._times_s[-1] - self._times_s[0] if self._times_s else 0.0
        return (len(self._times_s) - 1) / passed_s if passed_s > 0 else None

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
