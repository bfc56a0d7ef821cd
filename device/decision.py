"""Decide about one frame from the frames before it: k of the last n frames of one track match one subject."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from device.errors import ConfigError
from device.types import Decision, Match, Reason

MAX_COSINE = 1.001  # above it, by more than rounding, something was not normalized


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """When to grant.

    `threshold` is the least similarity, that of a gallery with one template; a match may need more (`Match`). `k`
    of the last `n` frames have to reach it; after a grant nothing is granted for `cooldown_s`; a frame older than
    `max_frame_age_s` never grants.
    """

    threshold: float
    k: int
    n: int
    cooldown_s: float
    max_frame_age_s: float

    def __post_init__(self) -> None:
        if not -1.0 <= self.threshold <= 1.0:
            raise ConfigError(
                f"threshold must be a cosine in [-1, 1], received {self.threshold}: check the manifest"
            )
        if not 1 <= self.k <= self.n:
            raise ConfigError(
                f"k of n needs 1 <= k <= n, received k = {self.k}, n = {self.n}: raise n or lower k"
            )
        if not (self.cooldown_s >= 0 and math.isfinite(self.cooldown_s)):
            raise ConfigError(f"cooldown_s must be 0 or more seconds, received {self.cooldown_s}: change it")
        if not (self.max_frame_age_s > 0 and math.isfinite(self.max_frame_age_s)):
            raise ConfigError(
                f"max_frame_age_s must be above 0 seconds, received {self.max_frame_age_s}: change it"
            )


class Decider:
    """Keep what the last frames said and decide about the newest one.

    Every frame slides the window, also those that failed a check or show no face; a new track, a second face,
    another subject, a grant and time that runs backwards empty it.
    """

    def __init__(self, rule: DecisionRule) -> None:
        self._rule = rule
        # The subject that each of the last frames matched, None for a frame that matched nobody.
        self._window: deque[str | None] = deque(maxlen=rule.n)
        self._track_id: int | None = None
        self._newest_s = -math.inf
        self._granted_at_s: float | None = None

    @property
    def rule(self) -> DecisionRule:
        return self._rule

    def decide(
        self,
        *,
        captured_at_s: float,
        now_s: float,
        track_id: int | None,
        match: Match | None,
        reason: Reason | None,
    ) -> Decision:
        """Return the decision about one frame; call it once for every frame, in order.

        Args:
            track_id: of the frame's face, None where no face was found.
            match: best template, None where the gallery is empty or an earlier check failed.
            reason: the check that failed before matching (no face, too dark ...), None if all passed.
        """
        granted, why = self._judge(captured_at_s, now_s, track_id, match, reason)
        return Decision(
            granted=granted,
            reason=why,
            captured_at_s=captured_at_s,
            subject_id=match.subject_id if match and self._matches(match) else None,
            track_id=track_id,
            similarity=match.similarity if match else None,
            threshold=self._needed(match),
        )

    def reset(self) -> None:
        """Forget the frames seen so far, not the cooldown: for a camera that was lost."""
        self._window.clear()
        self._track_id = None

    def _judge(
        self,
        captured_at_s: float,
        now_s: float,
        track_id: int | None,
        match: Match | None,
        reason: Reason | None,
    ) -> tuple[bool, Reason]:
        if reason is Reason.SEVERAL_FACES:
            self._window.clear()  # who of the two was seen is unknown
        if not self._is_fresh(captured_at_s, now_s):
            self._window.append(None)
            return False, Reason.STALE_FRAME
        self._follow(track_id)
        subject_id, why = self._vote(track_id, match, reason)
        if subject_id is not None and self._other_subject(subject_id):
            self._window.clear()
        if subject_id is not None and self._cooling(now_s):
            self._window.clear()  # the next grant is earned after the cooldown, not during it
            return False, Reason.COOLDOWN
        self._window.append(subject_id)
        if subject_id is None or self._window.count(subject_id) < self._rule.k:
            return False, why
        self._window.clear()
        self._granted_at_s = now_s
        return True, Reason.GRANTED

    def _is_fresh(self, captured_at_s: float, now_s: float) -> bool:
        age_s = now_s - captured_at_s
        if not math.isfinite(age_s):
            return False
        if captured_at_s < self._newest_s:
            self.reset()  # out of order: the frames "before" it prove nothing
        newer = captured_at_s > self._newest_s  # the same frame handled twice is no second witness
        self._newest_s = captured_at_s
        return newer and age_s <= self._rule.max_frame_age_s

    def _follow(self, track_id: int | None) -> None:
        if track_id is not None and track_id != self._track_id:
            self._window.clear()
            self._track_id = track_id

    def _vote(
        self, track_id: int | None, match: Match | None, reason: Reason | None
    ) -> tuple[str | None, Reason]:
        if reason is not None:
            return None, reason
        if track_id is None:
            return None, Reason.NO_FACE
        if match is None:
            return None, Reason.EMPTY_GALLERY
        if not self._matches(match):
            return None, Reason.BELOW_THRESHOLD
        return match.subject_id, Reason.CONFIRMING

    def _matches(self, match: Match) -> bool:
        return self._needed(match) <= match.similarity <= MAX_COSINE  # False for a NaN

    def _needed(self, match: Match | None) -> float:
        """Return what a match needs: the rule's threshold, or more where the gallery asks for more."""
        if match is None or match.threshold is None:
            return self._rule.threshold
        return match.threshold if not match.threshold < self._rule.threshold else self._rule.threshold

    def _other_subject(self, subject_id: str) -> bool:
        return any(seen not in (None, subject_id) for seen in self._window)

    def _cooling(self, now_s: float) -> bool:
        if self._granted_at_s is None:
            return False
        # A clock set back must not lock everybody out for as long as it was set back.
        self._granted_at_s = min(self._granted_at_s, now_s)
        return not now_s - self._granted_at_s >= self._rule.cooldown_s
