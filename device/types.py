"""Values that pass between the stages: frozen, with units in their names.

Images are (H, W, 3) uint8 RGB everywhere; coordinates are pixels of the frame, x right, y down.
Times ending in `_s` are seconds of `time.monotonic()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Embedding = npt.NDArray[np.float32]  # (D,), L2 norm 1
Points = npt.NDArray[np.float32]  # (N, 2) x, y in px
News = tuple[str, dict[str, Any]]  # a status event and its fields


class Is(Flag):
    """What a reason is to those who count, tell and record."""

    PLAIN = 0
    REFUSAL = auto()  # told as `refused`
    NOBODY = auto()  # the frame shows no face: it keeps no approach alive
    LOOK = auto()  # a face was compared and turned away: it costs a look of the budget
    OPEN = auto()  # a face was compared and is not let in yet: it costs one if it leaves
    FAILURE = auto()  # of an attempt: after `policy.pin_after_failures` of them a PIN is asked for
    BY_RULES = auto()  # said by a person's own rules, and recorded with their alias where that happens


class Reason(str, Enum):
    """Why a frame was decided as it was; the value is what the status line says, `hint` what a person may do."""

    kind: Is
    hint: str

    def __new__(cls, word: str, kind: Is = Is.PLAIN, hint: str = "") -> Reason:
        made = str.__new__(cls, word)
        made._value_, made.kind, made.hint = word, kind, hint
        return made

    GRANTED = "granted"
    NO_FACE = "no_face", Is.NOBODY, "no face: step before the camera"
    SEVERAL_FACES = "several_faces", Is.REFUSAL, "two faces: one person at a time"
    NOT_A_FACE = "not_a_face", Is.REFUSAL  # the detector fired, the points did not confirm it
    TOO_SMALL = "too_small", Is.REFUSAL
    TOO_BLURRED = "too_blurred", Is.REFUSAL
    TOO_DARK = "too_dark", Is.REFUSAL
    TOO_BRIGHT = "too_bright", Is.REFUSAL
    TURNED_AWAY = "turned_away", Is.REFUSAL
    STALE_FRAME = "stale_frame", Is.REFUSAL | Is.NOBODY
    SAME_FRAME = "same_frame", Is.NOBODY  # byte for byte one of the last: no new evidence
    CAMERA_COVERED = "camera_covered", Is.NOBODY  # a frame without any detail
    EMPTY_GALLERY = "empty_gallery", Is.REFUSAL
    BELOW_THRESHOLD = "below_threshold", Is.REFUSAL | Is.LOOK | Is.FAILURE
    TOO_FAR = "too_far", Is.REFUSAL  # good enough to be compared, too far away to want in
    NOT_FACING = "not_facing", Is.REFUSAL
    SPOOF_SUSPECTED = "spoof_suspected", Is.REFUSAL | Is.LOOK | Is.FAILURE
    LIVENESS_UNSURE = "liveness_unsure", Is.REFUSAL | Is.LOOK  # neither live nor an attack, and no challenge
    CONFIRMING = "confirming", Is.OPEN  # fewer than k matching frames on this track yet
    DWELLING = "dwelling", Is.OPEN  # matches, not long enough before the door yet
    CHALLENGE = "challenge", Is.OPEN  # a challenge runs
    CHALLENGE_FAILED = (
        "challenge_failed",
        Is.REFUSAL | Is.FAILURE,
    )  # counts by itself, however many frames it had
    COOLDOWN = "cooldown"
    WAITING = "waiting", Is.REFUSAL  # after too many refused approaches
    STILL_THERE = "still_there", Is.PLAIN, "refused, and has not moved since: step aside, then come again"
    # What a subject's policy says to a face that was granted (policy.py):
    DISABLED = "disabled", Is.REFUSAL | Is.LOOK | Is.BY_RULES
    NOT_VALID = (
        "not_valid",
        Is.REFUSAL | Is.LOOK | Is.BY_RULES,
    )  # before the first or after the last valid day
    OUTSIDE_HOURS = "outside_hours", Is.REFUSAL | Is.LOOK | Is.BY_RULES
    NO_ENTRIES_LEFT = "no_entries_left", Is.REFUSAL | Is.LOOK | Is.BY_RULES
    CLOCK_NOT_SET = "clock_not_set", Is.REFUSAL | Is.LOOK | Is.BY_RULES
    PIN_NEEDED = "pin_needed", Is.REFUSAL | Is.BY_RULES  # the face is right; the PIN is awaited
    NO_PIN = "no_pin", Is.REFUSAL | Is.LOOK | Is.BY_RULES  # the PIN would be asked for, and there is none
    WRONG_PIN = "wrong_pin", Is.REFUSAL | Is.BY_RULES
    PIN_LOCKED = "pin_locked", Is.REFUSAL | Is.BY_RULES  # too many wrong ones: none is looked at for a while
    NOT_RECORDED = (
        "not_recorded",
        Is.REFUSAL | Is.BY_RULES,
    )  # the record that has to come first was not written

    def __str__(self) -> str:
        return self.value

    def has(self, kind: Is) -> bool:
        """Say whether it is of one of these kinds."""
        return bool(self.kind & kind)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of the camera."""

    image: Image
    captured_at_s: float
    index: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FaceDetection:
    """One face found by the detector.

    `box` is (x, y, width, height) in px; `score` is in [0, 1]; `keypoints` is (6, 2) px in MediaPipe's
    order: right eye, left eye (the subject's), nose tip, mouth center, right ear, left ear.
    """

    box: tuple[float, float, float, float]
    score: float
    keypoints: Points


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Rotation of the head against the camera; all zero looks straight into it.

    Positive yaw: the subject's face turns toward the image's right edge. Positive pitch: up. Positive roll:
    clockwise in the image.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFace:
    """A face brought to the reference position of the embedder.

    `image` is (S, S, 3) uint8 RGB, S the side that the embedder takes; `measured` is the same face at (112, 112, 3),
    so that quality does not depend on the embedder. `landmarks` is (5, 2) px in the frame: right eye, left eye, nose
    tip, right and left mouth corner (the subject's). `mesh` is (468, 3) float32, x and y in frame px, z in the same
    unit; what an aligner does not find is NaN. `presence` below 0 means no face: the mesh network's logit, or the
    share of the largest misfit that is left. `eye_openness` is lid distance over eye width, right and left.
    """

    image: Image
    measured: Image
    landmarks: Points
    mesh: npt.NDArray[np.float32]
    presence: float
    pose: HeadPose
    eye_openness: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a stage goes no further with a frame.

    `hint` is a line for the person before the door, "" where nothing would help: "too small: 48 px wide, needs 60".
    `measured` is the value that broke its `limit`, both in the unit of the hint; None where nothing is measured.
    """

    reason: Reason
    hint: str = ""
    measured: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured of an aligned face, and the first check that failed (None: all passed)."""

    face_width_px: float
    sharpness: float
    brightness: float
    presence: float
    pose: HeadPose
    stop: Stop | None


@dataclass(frozen=True, slots=True)
class Match:
    """The best template of the gallery for a probe; `similarity` is a cosine in [-1, 1].

    `threshold` is the similarity that it needs, by the number of templates and the subject's look-alikes; None leaves
    that to the decision's own. `challenge`: this subject has to answer one, whatever the passive check says.
    """

    subject_id: str
    similarity: float
    threshold: float | None = None
    challenge: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What one frame came to.

    `challenge` is the move that is asked for now; `wait_s` is what is left of a wait, s; `stop` says which stage went
    no further, and why. `liveness` is the fused score of the track. It, `similarity` and `detection` stay on the board:
    drawings and tests use them.
    """

    granted: bool
    reason: Reason
    captured_at_s: float
    subject_id: str | None = None
    track_id: int | None = None
    similarity: float | None = None
    threshold: float | None = None
    hint: str = ""
    challenge: str | None = None
    wait_s: float | None = None
    liveness: float | None = None
    detection: FaceDetection | None = None
    stop: Stop | None = None
