"""Ask for a move that a picture cannot make, at a moment that nobody knows, and say whether it was made.

Pure: no clock, no I/O; the caller hands in frames with their times and a source of chance. A challenge is some moves
(moves.py), more of them after a refused one. Each runs through its phases:

    settle   look straight ahead and hold still, for a few frames: a picture that is held turned never gets further
    ready    go on so until a random moment
    ask      make the move within `answer_s`; a move other than the asked one, or one made too early, fails
    hold     stay so until a random moment that no clip has ready (a blink is over by itself)
    back     look straight again, neither before that moment nor long after it

Surroundings that jump after a prompt fail: somebody chose another film.

All of it on one track and as one subject. A frame of another track or subject, or one that says nothing of the face
for longer than `blind_s`, fails. A frame without a match (blurred, turned too far) proves nothing: it can settle nobody
and answer nothing; every frame that does must match the subject, the turned ones too.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from device.decide.moves import (
    FAR_DEG,
    NOD_DEG,
    TURN_DEG,
    ChallengeRule,
    Move,
    draw_moves,
    is_too_far,
    least_deg,
    made_move,
)
from device.decide.parallax import measure
from device.types import AlignedFace, HeadPose, Reason, Stop

SETTLE_FRAMES = 3  # straight and still, before a move is asked for
SETTLE_DEG = 6.0  # between two of them no angle may differ by more
STRAIGHT_YAW_DEG = 12.0
DELAY_S = (0.3, 1.2)  # shortest and longest wait until the random moment
SETTLE_S = 6.0  # who does not hold still for so long does not want in
REACTION_S = 0.15  # nobody answers sooner: what moves before moved by itself
BLIND_S = 0.6  # longest time within a challenge without a frame that matches the subject
PASSED_BY = (
    0.2,
    0.9,
)  # shares of the angle: some frame must lie between, so that swapped pictures are no turn
HOLD_S = (0.3, 2.5)  # shortest and longest time until a head may come back
BACK_S = 1.2  # and it is back by then
HELD, IS_BACK = 0.75, 0.5  # shares of the angle: above, it is still turned; below, it is back
JUMP_S = 1.5  # after a prompt, in which a film would be chosen
JUMP, JUMP_TIMES = 12.0, 4.0  # gray levels; and times what they changed by while the face held still
HOLD_FRAMES = 2  # frames that show the move: the mesh is wrong now and then for one
# Of the distance between the eyes. scripts/replay.py --figures: a flat picture that is turned by up to 45 degrees stays
# at 0.034 or below, a head that turns by 15 or nods by 12 degrees reaches 0.042.
LEAST_MISFIT = 0.036
LEAST_DEPTH = (
    0.55  # of the motion: a head 0.67 to 0.91; a flat picture that moves by more than noise 0.25 to 0.59
)
EYES_CLOSED, EYES_OPEN = 0.80, 0.90  # of how open they were while the head held still
BLINK_MOTION = 0.03  # a blink moves nothing else: a picture that is tilted narrows its eyes too


class Outcome(Enum):
    """The state of a challenge after a frame."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What one frame showed of the face: its points, and the subject that it matches (None: nobody).

    `change`: by how much the surroundings changed since the frame before, gray levels; NaN where nobody measured it.
    """

    at_s: float
    pose: HeadPose
    mesh: npt.NDArray[np.float32]
    openness: float
    subject_id: str | None
    change: float = math.nan


def glance_at(face: AlignedFace, at_s: float, subject_id: str | None, change: float = math.nan) -> Glance:
    """Take what a challenge needs from an aligned face; both eyes must close for a blink, so the wider counts."""
    right, left = face.eye_openness
    openness = max(right, left) if math.isfinite(right) and math.isfinite(left) else math.nan
    return Glance(
        at_s=at_s, pose=face.pose, mesh=face.mesh, openness=openness, subject_id=subject_id, change=change
    )


class Challenge:
    """One challenge of one subject on one track.

    Args:
        chance: where moves and moments come from; at a door `random.SystemRandom`.
        started_s: time of the frame on which it begins.
        refusals: approaches that were refused since the door was opened: they make it harder.

    `has_asked`: a move was asked for; who leaves now has seen it, and may not draw another for nothing. `obstacle`
    says why no move is asked for yet, or why the challenge failed; None where it is only a matter of time.
    """

    def __init__(
        self,
        rule: ChallengeRule,
        chance: random.Random,
        subject_id: str,
        started_s: float,
        refusals: int = 0,
    ) -> None:
        self.subject_id = subject_id
        self.obstacle: Stop | None = None
        self._rule, self._chance = rule, chance
        self._left = draw_moves(rule, chance, refusals)
        self._settled: list[Glance] = []
        self._since_s = self._seen_s = started_s
        self._ask_at_s: float | None = None  # None: not settled yet
        self._asked = self.has_asked = False
        self._between = self._shut = False
        self._held = 0
        self._back_at_s: float | None = None  # until when a move is held
        self._is_back_asked = False
        self._prompted_s, self._usual_change = -math.inf, 0.0

    @property
    def asks(self) -> Move | None:
        """The move that is waited for, None between two moves."""
        if self._is_back_asked:
            return Move.BACK
        return self._left[0] if self._asked and self._left else None

    def see(self, glance: Glance | None, at_s: float) -> Outcome:
        """Take the next frame of the track; None: it showed no face that could be measured."""
        known = glance is not None and glance.subject_id == self.subject_id
        if glance is not None and glance.subject_id not in (None, self.subject_id):
            return self._fail("another face came between: one person at a time")
        if (outcome := self._overdue(at_s)) is not None:
            return outcome
        if self._has_jumped(glance, at_s):
            return self._fail("the surroundings changed at once with the sign: only the head should move")
        if known:
            self._seen_s = at_s
        if self._back_at_s is not None:
            return self._come_back(glance if known else None, self._back_at_s, at_s)
        if self._asked:
            return self._judge_answer(glance, at_s, known)
        self._settle(glance if known else None, at_s)
        return Outcome.RUNNING

    def _fail(self, hint: str, measured: float | None = None, limit: float | None = None) -> Outcome:
        """Fail, and keep why; who never held still was asked nothing, and failed nothing."""
        reason = Reason.CHALLENGE_FAILED if self.has_asked else Reason.CHALLENGE
        self.obstacle = Stop(reason, hint, measured, limit)
        return Outcome.FAILED

    def _overdue(self, at_s: float) -> Outcome | None:
        """Fail where the move or the sight of the face took too long, and for a NaN; None: neither did."""
        unseen_s, passed_s = at_s - self._seen_s, at_s - self._since_s
        if not 0 <= unseen_s <= BLIND_S:
            return self._fail("your face was lost: stay in the picture", unseen_s, BLIND_S)
        if self._back_at_s is not None:  # each of the two has a limit of its own
            limit_s, hint = HOLD_S[1] + BACK_S, "not back in time: look into the camera at the sign"
        elif self._asked:
            limit_s, hint = self._rule.answer_s, "too late: make the move as soon as it is asked for"
        else:
            limit_s, hint = SETTLE_S, "not still in time: look straight into the camera and hold still"
        if 0 <= passed_s <= limit_s:
            return None
        if not self.has_asked and self.obstacle is not None:
            return Outcome.FAILED  # what kept it from asking says more
        return self._fail(hint, passed_s, limit_s)

    def _settle(self, glance: Glance | None, at_s: float) -> None:
        """Count frames that look straight ahead and hold still; ask when the moment has come."""
        self.obstacle = self._unsettled(glance) if glance is not None else None
        if glance is None or self.obstacle is not None:
            self._settled = [glance] if glance is not None and is_straight(glance) else []
            self._ask_at_s = None
            return
        self._settled = [*self._settled, glance][-SETTLE_FRAMES:]
        if self._ask_at_s is None and len(self._settled) == SETTLE_FRAMES:
            self._ask_at_s = at_s + self._chance.uniform(*DELAY_S)
        if self._ask_at_s is not None and at_s >= self._ask_at_s:
            self._asked = self.has_asked = True
            self._since_s = self._prompted_s = at_s
            self._usual_change = max(
                (each.change for each in self._settled if math.isfinite(each.change)), default=0.0
            )
            self._between, self._shut, self._held = False, False, 0

    def _unsettled(self, glance: Glance) -> Stop | None:
        """Say why a face cannot be asked yet: it looks aside, or moves."""
        yaw_deg = abs(glance.pose.yaw_deg)
        if not is_straight(glance):
            hint = (
                f"look straight into the camera: turned by {yaw_deg:.0f} deg, may be {STRAIGHT_YAW_DEG:.0f}"
            )
            return Stop(Reason.CHALLENGE, hint, yaw_deg, STRAIGHT_YAW_DEG)
        moved_deg = max(
            (abs(angle) for each in self._settled for angle in turn_between(each, glance)), default=0.0
        )
        if moved_deg <= SETTLE_DEG:
            return None
        hint = f"hold still: moved by {moved_deg:.0f} deg, may be {SETTLE_DEG:.0f}"
        return Stop(Reason.CHALLENGE, hint, moved_deg, SETTLE_DEG)

    def _has_jumped(self, glance: Glance | None, at_s: float) -> bool:
        """Say whether the surroundings jumped soon after a prompt; what nobody measured has not."""
        if glance is None or at_s - self._prompted_s > JUMP_S:
            return False
        return glance.change > max(JUMP, JUMP_TIMES * self._usual_change)

    def _judge_answer(self, glance: Glance | None, at_s: float, known: bool) -> Outcome:
        """Fail a wrong move, whoever makes it; count a right one only as the subject's."""
        if glance is None:
            self._held = 0
            return Outcome.RUNNING
        move = self._left[0]
        yaw_deg, pitch_deg = turn_between(self._settled[-1], glance)
        made = made_move(yaw_deg, pitch_deg)
        if made is not None and made is not move.way:
            return self._fail(*wrong_move(move.way, made, yaw_deg))
        if is_too_far(move, yaw_deg):
            return self._fail("too far: a little is enough", abs(yaw_deg), FAR_DEG)
        if not known:
            self._held = 0
            return Outcome.RUNNING
        answered = self._blinked(glance) if move is Move.BLINK else self._turned(glance, move)
        if answered and at_s - self._since_s < REACTION_S:
            return self._fail("too early: wait for the sign", at_s - self._since_s, REACTION_S)
        if answered and move.is_held:
            self._back_at_s, self._since_s = at_s + self._chance.uniform(*HOLD_S), at_s
            return Outcome.RUNNING
        return self._next(at_s) if answered else Outcome.RUNNING

    def _come_back(self, glance: Glance | None, back_at_s: float, at_s: float) -> Outcome:
        """Fail a move that is not held until the moment, or is not back soon after it."""
        if at_s >= back_at_s and not self._is_back_asked:
            self._is_back_asked, self._prompted_s, self._since_s = True, at_s, at_s
            return Outcome.RUNNING
        if self._is_back_asked and at_s - self._since_s > BACK_S:
            return self._fail(
                "not back in time: look into the camera at the sign", at_s - self._since_s, BACK_S
            )
        if glance is None:
            return Outcome.RUNNING
        move = self._left[0]
        yaw_deg, pitch_deg = turn_between(self._settled[-1], glance)
        share = (yaw_deg if move.way is Move.TURN_LEFT else -yaw_deg) / TURN_DEG
        if move is Move.NOD:
            share = abs(pitch_deg) / NOD_DEG
        too_early = not self._is_back_asked or at_s - self._since_s < REACTION_S
        if too_early:
            if share >= HELD and not is_too_far(move, yaw_deg):
                return Outcome.RUNNING
            return self._fail("not held: stay turned until the sign to come back", share, HELD)
        return self._next(at_s) if abs(share) <= IS_BACK else Outcome.RUNNING

    def _turned(self, glance: Glance, move: Move) -> bool:
        """Say whether the head has turned, through the angles between, and has depth."""
        yaw_deg, pitch_deg = turn_between(self._settled[-1], glance)
        angle_deg = abs(pitch_deg if move is Move.NOD else yaw_deg)
        share = angle_deg / (NOD_DEG if move is Move.NOD else TURN_DEG)
        if PASSED_BY[0] <= share <= PASSED_BY[1]:
            self._between = True
        is_made = made_move(yaw_deg, pitch_deg) is move.way and angle_deg >= least_deg(move)
        shown = is_made and self._between and self._has_depth(glance)
        self._held = self._held + 1 if shown else 0
        return self._held >= HOLD_FRAMES

    def _has_depth(self, glance: Glance) -> bool:
        parallax = measure(self._settled[-1].mesh, glance.mesh)
        return parallax.misfit >= LEAST_MISFIT and parallax.depth >= LEAST_DEPTH

    def _blinked(self, glance: Glance) -> bool:
        """Say whether the eyes were shut and are open again while all else held still."""
        usual = float(np.median([each.openness for each in self._settled]))
        motion = measure(self._settled[-1].mesh, glance.mesh).motion
        if not (usual > 0 and motion <= BLINK_MOTION and 0 <= glance.openness < math.inf):
            return False
        if glance.openness <= EYES_CLOSED * usual:
            self._shut = True
        return self._shut and glance.openness >= EYES_OPEN * usual

    def _next(self, at_s: float) -> Outcome:
        """Go on to the next move, which begins straight and still again."""
        self._left = self._left[1:]
        self._asked, self._ask_at_s, self._settled, self._since_s = False, None, [], at_s
        self._back_at_s, self._is_back_asked = None, False
        return Outcome.RUNNING if self._left else Outcome.PASSED


def wrong_move(asked: Move, made: Move, yaw_deg: float) -> tuple[str, float | None, float | None]:
    """Say in a hint, a value and its limit that another move was made; a camera may show left as right."""
    turns = (Move.TURN_LEFT, Move.TURN_RIGHT)
    if asked in turns and made in turns:
        hint = "turned to the other side than asked for; if you did not, set camera.mirror"
        return hint, abs(yaw_deg), TURN_DEG
    words = [str(move).replace("_", " ") for move in (made, asked)]
    return f"another move: {words[0]} where {words[1]} was asked for", None, None


def is_straight(glance: Glance) -> bool:
    """Say whether a face looks ahead with eyes that can be measured; False for a NaN."""
    finite = math.isfinite(glance.pose.pitch_deg) and math.isfinite(glance.openness)
    return finite and abs(glance.pose.yaw_deg) <= STRAIGHT_YAW_DEG


def turn_between(before: Glance, after: Glance) -> tuple[float, float]:
    """Return the change of yaw and of pitch, deg."""
    return after.pose.yaw_deg - before.pose.yaw_deg, after.pose.pitch_deg - before.pose.pitch_deg
