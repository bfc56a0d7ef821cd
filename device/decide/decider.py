"""Decide about one frame from the frames before it: k of the last n frames of one track match one subject, alive.

Identity, quality, intent and liveness count only together, on the same frame: a frame that fails one of them is no
vote. Liveness is read from the fused score of the track's last frames (fused_score.py). A track that is suspected to be
an attack empties the window, and so does a new track, a second face, another subject, a grant and time that runs
backwards; a challenge that runs then is void.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from enum import Enum

from device.decide.challenge import Challenge, Outcome, glance_at
from device.decide.fused_score import FusedScore, is_score
from device.decide.moves import ChallengeRule
from device.decide.refusals import Refusals
from device.decide.stillness import Stillness
from device.errors import ConfigError
from device.types import AlignedFace, Decision, Match, Reason, Stop

MAX_COSINE = 1.001  # above it, by more than rounding, something was not normalized
PROOF_S = 3.0  # an answered challenge holds so long, on its track


class Liveness(Enum):
    """What the fused score of a track says."""

    LIVE = "live"
    UNSURE = "unsure"
    ATTACK = "attack"


@dataclass(frozen=True, slots=True)
class LivenessRule:
    """How fused scores are read: at least `unsure` is live, below `attack` is an attack.

    `mode`: `passive`: the score alone decides, unsure is not live; `challenge`: a challenge decides where it is
    unsure; `always`: a challenge is asked for as well; `off`: nothing is scored, and every frame counts as live.
    """

    mode: str
    unsure: float
    attack: float

    def read(self, fused: FusedScore) -> Liveness:
        """Return what a track's score says; a track without one is an attack."""
        if not fused.reaches(self.attack):
            return Liveness.ATTACK
        return Liveness.LIVE if fused.reaches(self.unsure) else Liveness.UNSURE


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """When to grant.

    `threshold` is the least similarity, that of a gallery with one template; a match may need more (`Match`). `k`
    of the last `n` frames have to reach it; a track grants only after `dwell_s`; after a grant nothing is granted
    for `cooldown_s`; a frame older than `max_frame_age_s` never grants.
    """

    threshold: float
    k: int
    n: int
    cooldown_s: float
    max_frame_age_s: float
    dwell_s: float = 0.0

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
        if not (self.dwell_s >= 0 and math.isfinite(self.dwell_s)):
            raise ConfigError(f"dwell_s must be 0 or more seconds, received {self.dwell_s}: change it")
        if not (self.max_frame_age_s > 0 and math.isfinite(self.max_frame_age_s)):
            raise ConfigError(
                f"max_frame_age_s must be above 0 seconds, received {self.max_frame_age_s}: change it"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """The findings of the stages in one frame.

    `track_id`: of the frame's face, None where no face was found; `match`: best template, None where the gallery is
    empty or an earlier check failed; `reason`: the check that failed (no face, too dark ...), None if all passed;
    `face` and `score`: of a face that came as far as matching; `always`: this subject needs a challenge each time;
    `change`: by how much its surroundings changed since the frame before, gray levels (NaN: not measured).
    """

    captured_at_s: float
    track_id: int | None
    match: Match | None
    reason: Reason | None
    face: AlignedFace | None = None
    score: float | None = None
    always: bool = False
    change: float = math.nan


class Decider:
    """Keep what the last frames said and decide about the newest one; every frame slides the window.

    Args:
        chance: where a challenge's moves and moments come from; at a door `random.SystemRandom`.
    """

    def __init__(
        self,
        rule: DecisionRule,
        *,
        liveness: LivenessRule,
        challenge: ChallengeRule,
        chance: random.Random,
        refusals: Refusals,
    ) -> None:
        self._rule, self._liveness, self._challenge_rule = rule, liveness, challenge
        self._chance, self._refusals = chance, refusals
        # Whom each of the last frames matched, None for a frame that matched nobody or failed a check.
        self._window: deque[str | None] = deque(maxlen=rule.n)
        self._fused = FusedScore(rule.n)
        self._subject_id: str | None = None  # whom the track matched last
        self._stillness = Stillness()
        self._now_s = -math.inf  # of the newest frame that was handed in
        self._track_id: int | None = None
        self._track_since_s = math.inf
        self._newest_s = -math.inf
        self._granted_at_s: float | None = None
        self._challenge: Challenge | None = None
        self._obstacle: Stop | None = None  # of the challenge that runs, or that just failed
        self._proven: tuple[str, float] | None = None  # who answered a challenge on this track, and when

    @property
    def rule(self) -> DecisionRule:
        return self._rule

    @property
    def liveness(self) -> LivenessRule:
        return self._liveness

    def decide(self, sight: Sight, now_s: float) -> Decision:
        """Return the decision about one frame; call it once for every frame, in order, and then `conclude`."""
        self._now_s = now_s
        reason = self._judge(sight, now_s)
        match, asks = sight.match, self._challenge.asks if self._challenge else None
        return Decision(
            granted=reason is Reason.GRANTED,
            reason=reason,
            captured_at_s=sight.captured_at_s,
            subject_id=match.subject_id if match and self._matches(match) else None,
            track_id=sight.track_id,
            similarity=match.similarity if match else None,
            threshold=self._needed(match),
            challenge=str(asks) if asks else None,
            wait_s=self._refusals.left_s(now_s) if reason is Reason.WAITING else None,
            liveness=self._fused.value,
            stop=self._obstacle if reason in (Reason.CHALLENGE, Reason.CHALLENGE_FAILED) else None,
        )

    def conclude(self, decision: Decision) -> None:
        """Update the refusals with the door's final decision; only an opened door clears them."""
        if decision.granted:
            self._refusals.opened()
        elif math.isfinite(self._now_s):
            self._refusals.see(decision.reason, self._now_s, in_progress=self._is_in_progress)

    def reset(self) -> None:
        """Forget the frames seen so far, not cooldown and refusals: for a camera that was lost.

        A challenge that asked for a move and is dropped by that counts as refused, as one that was left.
        """
        self._start_another(self._now_s)
        self._track_id = None

    @property
    def _is_in_progress(self) -> bool:
        """Whether a move was asked for and the challenge is not over, or was just answered."""
        if self._proven is not None:
            return self._now_s - self._proven[1] <= PROOF_S
        return self._challenge is not None and self._challenge.has_asked

    def _judge(self, sight: Sight, now_s: float) -> Reason:
        if sight.reason is Reason.SEVERAL_FACES:
            self._start_another(now_s)  # who of the two was seen is unknown
        if not self._is_fresh(sight.captured_at_s, now_s):
            self._window.append(None)
            return Reason.STALE_FRAME
        self._follow(sight, now_s)
        if sight.track_id is not None and self._refusals.left_s(now_s) > 0:
            self._start_anew(now_s)
            return Reason.WAITING
        if self._is_left_alone(sight):
            self._start_another(now_s)
            return Reason.STILL_THERE
        return self._weigh(sight, now_s)

    def _is_left_alone(self, sight: Sight) -> bool:
        """Say whether the face was refused and has not moved since; who is asked for a move may hold still."""
        if sight.face is None or self._challenge is not None or self._proven is not None:
            return False
        return self._stillness.see(sight.face.landmarks, sight.captured_at_s, self._refusals.total)

    def _is_fresh(self, captured_at_s: float, now_s: float) -> bool:
        age_s = now_s - captured_at_s
        if not math.isfinite(age_s):
            return False
        if captured_at_s < self._newest_s:
            self.reset()  # out of order: the frames "before" it prove nothing
        newer = captured_at_s > self._newest_s  # the same frame handled twice is no second witness
        self._newest_s = captured_at_s
        return newer and age_s <= self._rule.max_frame_age_s

    def _follow(self, sight: Sight, now_s: float) -> None:
        if sight.track_id is not None and sight.track_id != self._track_id:
            self._start_another(now_s)
            self._track_id, self._track_since_s = sight.track_id, sight.captured_at_s

    def _start_another(self, now_s: float) -> None:
        """Begin with another face: drop the window, the challenge and the liveness score."""
        self._fused.clear()
        self._subject_id = None
        self._start_anew(now_s)

    def _start_anew(self, now_s: float) -> None:
        """Empty the window; a challenge that has asked for a move and is cut off counts as refused."""
        self._window.clear()
        if self._challenge is not None and self._challenge.has_asked:
            self._refusals.refuse(now_s)
        self._challenge = self._proven = None

    def _weigh(self, sight: Sight, now_s: float) -> Reason:
        who = self._matched(sight)
        if who is not None and who != self._subject_id:
            self._start_another(now_s)
            self._subject_id = who
        verdict = self._read(sight)
        if verdict is Liveness.ATTACK and sight.match is not None:
            self._start_anew(now_s)
            return Reason.SPOOF_SUSPECTED
        subject_id, why = self._vote(who, sight, verdict)
        if subject_id is not None and self._cooling(now_s):
            self._start_anew(now_s)  # the next grant is earned after the cooldown, not during it
            return Reason.COOLDOWN
        self._window.append(subject_id)
        if self._challenge is not None:
            return self._go_on(self._challenge, sight, now_s)
        if subject_id is None or self._votes(subject_id) < self._rule.k:
            return why
        return self._finish(subject_id, sight, verdict is Liveness.LIVE, now_s)

    def _read(self, sight: Sight) -> Liveness | None:
        """Return the liveness of the track with this frame; None for a frame that was stopped before it got a score."""
        if sight.reason is not None and sight.score is None:
            self._fused.add(None)
            return None
        if self._liveness.mode == "off":
            return Liveness.LIVE
        self._fused.add(sight.score if is_score(sight.score) else 0.0)
        return self._liveness.read(self._fused) if is_score(sight.score) else Liveness.ATTACK

    def _finish(self, subject_id: str, sight: Sight, is_live: bool, now_s: float) -> Reason:
        """Grant to somebody with enough votes, or say what is still needed."""
        if not sight.captured_at_s - self._track_since_s >= self._rule.dwell_s:
            return Reason.DWELLING
        if not self._is_proven(subject_id, sight, is_live):
            self._challenge = Challenge(
                self._challenge_rule,
                self._chance,
                subject_id,
                sight.captured_at_s,
                refusals=self._refusals.count.wrong,
            )
            self._obstacle = None
            return Reason.CHALLENGE
        self._window.clear()
        self._proven, self._granted_at_s = None, now_s
        return Reason.GRANTED

    def _is_proven(self, subject_id: str, sight: Sight, is_live: bool) -> bool:
        """Say whether a challenge was answered, or none is needed: the track is clearly live."""
        if self._proven is not None:
            who, at_s = self._proven
            if who == subject_id and sight.captured_at_s - at_s <= PROOF_S:
                return True
        return is_live and not (sight.always or self._liveness.mode == "always")

    def _go_on(self, challenge: Challenge, sight: Sight, now_s: float) -> Reason:
        """Show the challenge the newest frame."""
        match = sight.match
        subject_id = match.subject_id if match is not None and self._matches(match) else None
        at_s = sight.captured_at_s
        glance = glance_at(sight.face, at_s, subject_id, sight.change) if sight.face else None
        outcome = challenge.see(glance, at_s)
        self._obstacle = challenge.obstacle
        if outcome is Outcome.RUNNING:
            return Reason.CHALLENGE
        self._challenge = None
        self._window.clear()  # whoever answered looks straight again for k frames
        if outcome is Outcome.FAILED:  # who never held still was asked nothing, and refused nothing
            return Reason.CHALLENGE_FAILED if challenge.has_asked else Reason.CHALLENGE
        self._proven = (challenge.subject_id, at_s)
        return Reason.CONFIRMING

    def _matched(self, sight: Sight) -> str | None:
        """Return the subject that a frame matches if it passed every check, else None."""
        if sight.reason is not None or sight.track_id is None or sight.match is None:
            return None
        return sight.match.subject_id if self._matches(sight.match) else None

    def _vote(self, who: str | None, sight: Sight, verdict: Liveness | None) -> tuple[str | None, Reason]:
        """Return whom a frame counts for, and why it counts for nobody."""
        if who is not None:
            doubted = verdict is Liveness.UNSURE and self._liveness.mode == "passive" and not sight.always
            return (None, Reason.LIVENESS_UNSURE) if doubted else (who, Reason.CONFIRMING)
        if sight.reason is not None:
            return None, sight.reason
        if sight.track_id is None:
            return None, Reason.NO_FACE
        return None, Reason.EMPTY_GALLERY if sight.match is None else Reason.BELOW_THRESHOLD

    def _votes(self, subject_id: str) -> int:
        return self._window.count(subject_id)

    def _matches(self, match: Match) -> bool:
        return self._needed(match) <= match.similarity <= MAX_COSINE  # False for a NaN

    def _needed(self, match: Match | None) -> float:
        """Return what a match needs: the rule's threshold, or more where the gallery asks for more."""
        if match is None or match.threshold is None:
            return self._rule.threshold
        return match.threshold if not match.threshold < self._rule.threshold else self._rule.threshold

    def _cooling(self, now_s: float) -> bool:
        if self._granted_at_s is None:
            return False
        # A clock set back must not lock everybody out for as long as it was set back.
        self._granted_at_s = min(self._granted_at_s, now_s)
        return not now_s - self._granted_at_s >= self._rule.cooldown_s
