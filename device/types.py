"""Values that pass between the stages: frozen, with units in their names.

Images are (H, W, 3) uint8 RGB everywhere; coordinates are pixels of the frame, x right, y down.
Times ending in `_s` are seconds of `time.monotonic()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, IntEnum, auto
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


class Stage(IntEnum):
    """How far a face came on its way to the bolt."""

    NOBODY = 0
    SEEN = 1  # not good, near or straight enough to be compared
    COMPARED = 2  # like nobody, or like a picture
    MATCHED = 3  # like somebody who is enrolled, for a frame or more
    ASKED = 4  # for a move
    JUDGED = 5  # by the person's rules
    OPENED = 6

    def __str__(self) -> str:
        return self.name.lower()


class Reason(str, Enum):
    """Why a frame was decided as it was: the word of the status line, how far it came, what it is, and what to do."""

    stage: Stage
    kind: Is
    advice: str

    def __new__(cls, word: str, stage: Stage, kind: Is, advice: str) -> Reason:
        made = str.__new__(cls, word)
        made._value_, made.stage, made.kind, made.advice = word, stage, kind, advice
        return made

    # fmt: off
    GRANTED = "granted", Stage.OPENED, Is.PLAIN, ""
    NO_FACE = "no_face", Stage.NOBODY, Is.NOBODY, "step before the camera"
    SEVERAL_FACES = "several_faces", Stage.SEEN, Is.REFUSAL, "one person at a time"
    NOT_A_FACE = "not_a_face", Stage.SEEN, Is.REFUSAL, "look straight into the camera, nothing before the face"
    TOO_SMALL = "too_small", Stage.SEEN, Is.REFUSAL, "come closer"
    TOO_BLURRED = "too_blurred", Stage.SEEN, Is.REFUSAL, "hold still; more light, a clean lens"
    TOO_DARK = "too_dark", Stage.SEEN, Is.REFUSAL, "a lamp before the face"
    TOO_BRIGHT = "too_bright", Stage.SEEN, Is.REFUSAL, "no lamp or sun straight into the face"
    TURNED_AWAY = "turned_away", Stage.SEEN, Is.REFUSAL, "look into the camera"
    STALE_FRAME = "stale_frame", Stage.NOBODY, Is.REFUSAL | Is.NOBODY, "a cooler board, a smaller camera.width"
    SAME_FRAME = "same_frame", Stage.NOBODY, Is.NOBODY, ""  # byte for byte one of the last: no new evidence
    CAMERA_COVERED = "camera_covered", Stage.NOBODY, Is.NOBODY, "clear the lens"  # a frame without any detail
    EMPTY_GALLERY = "empty_gallery", Stage.COMPARED, Is.REFUSAL, "enroll somebody"
    BELOW_THRESHOLD = "below_threshold", Stage.COMPARED, Is.REFUSAL | Is.LOOK | Is.FAILURE, \
        "enroll again in the light of this door"
    TOO_FAR = "too_far", Stage.SEEN, Is.REFUSAL, "come closer"  # good enough to be compared, too far to want in
    NOT_FACING = "not_facing", Stage.SEEN, Is.REFUSAL, "look at the camera"
    SPOOF_SUSPECTED = "spoof_suspected", Stage.COMPARED, Is.REFUSAL | Is.LOOK | Is.FAILURE, \
        "light from the front, a clean lens, no strong light behind"
    LIVENESS_UNSURE = "liveness_unsure", Stage.MATCHED, Is.REFUSAL | Is.LOOK, \
        "light from the front; or let it ask: liveness.mode = challenge"
    CONFIRMING = "confirming", Stage.MATCHED, Is.OPEN, "stay a moment; too few frames in a row matched"
    DWELLING = "dwelling", Stage.MATCHED, Is.OPEN, "stay"  # not long enough before the door yet
    CHALLENGE = "challenge", Stage.ASKED, Is.OPEN, "look straight into the camera and hold still, then do the move"
    CHALLENGE_FAILED = "challenge_failed", Stage.ASKED, Is.REFUSAL | Is.FAILURE, \
        "look at the camera again and wait for the next move"  # counts by itself, however many frames it had
    COOLDOWN = "cooldown", Stage.MATCHED, Is.PLAIN, "wait a moment"
    WAITING = "waiting", Stage.COMPARED, Is.REFUSAL, "wait: too many were refused"
    STILL_THERE = "still_there", Stage.NOBODY, Is.PLAIN, "step aside, then come again"  # refused, not moved since
    # What a subject's policy says to a face that was granted (policy.py):
    DISABLED = "disabled", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, "face-unlock change NAME --access face"
    NOT_VALID = "not_valid", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, "face-unlock change NAME --until DAY"
    OUTSIDE_HOURS = "outside_hours", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, "face-unlock change NAME --hours"
    NO_ENTRIES_LEFT = "no_entries_left", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, \
        "face-unlock change NAME --entries"
    CLOCK_NOT_SET = "clock_not_set", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, "a time server, or a PIN"
    PIN_NEEDED = "pin_needed", Stage.JUDGED, Is.REFUSAL | Is.BY_RULES, "enter the PIN"  # the face is right
    NO_PIN = "no_pin", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, \
        "face-unlock change NAME --pin"  # it would be asked for
    WRONG_PIN = "wrong_pin", Stage.JUDGED, Is.REFUSAL | Is.BY_RULES, "enter the right PIN"
    PIN_LOCKED = "pin_locked", Stage.JUDGED, Is.REFUSAL | Is.BY_RULES, "wait: too many PINs were wrong"
    SWITCHED_OFF = "switched_off", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, "face-unlock fleet switch-on"
    LEASE_OVER = "lease_over", Stage.JUDGED, Is.REFUSAL | Is.LOOK | Is.BY_RULES, "reach the keeper: it was away 30 days"
    NOT_RECORDED = "not_recorded", Stage.JUDGED, Is.REFUSAL | Is.BY_RULES, "room on the card, and its rights"
    # fmt: on

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
    """Why a stage stopped a frame.

    `hint` is a line for the person before the door, "" where nothing would help: "too small: 48 px wide, needs 60".
    `measured` is the value that broke its `limit`, both in the unit of the hint; None where nothing is measured.
    """

    reason: Reason
    hint: str = ""
    measured: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured of an aligned face, and the first check that failed (None: all passed).

    `sharpness` is the variance of the Laplacian as it would be with a typical contrast; `brightness` a mean of 0 to
    255; `signal` how far eyes, nose and mouth stand out of the noise, a ratio; `noise` its standard deviation in gray
    levels; `white` the share of the face that is white.
    """

    face_width_px: float
    sharpness: float
    brightness: float
    signal: float
    noise: float
    white: float
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
    """The decision about one frame.

    `challenge` is the move that is asked for now; `wait_s` is what is left of a wait, s; `stop` says which stage went
    no further, and why; `brightness` is the mean of the face, 0 to 255; `method` is what let somebody in, face or pin.
    `liveness` is the fused score of the track. It, `similarity` and `detection` stay on the board: drawings and tests
    use them.
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
    brightness: float | None = None
    method: str = "face"
