"""What happens to one frame: the whole product in one function.

    stale? -> a picture? -> detect -> pick the face -> track -> align -> good enough? wants in? -> alive? -> embed
    -> still the same? -> match -> decide -> admit -> unlock

The camera is the loop around it (unlock.py), so tests hand in frames. Everyday outcomes are values with a `Reason`;
faults are exceptions of `device.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from device.access.admission import Admission
from device.access.clock import Clock
from device.decide.decider import Decider, Sight
from device.errors import LockRefused
from device.gallery.gallery import Gallery
from device.health import BoardWatch
from device.lock.prompt import Prompt
from device.protocols import Aligner, Closable, Detector, Embedder, LivenessScorer, Lock
from device.types import AlignedFace, Decision, FaceDetection, Frame, Match, News, Reason
from device.vision.finder import pick_face
from device.vision.intent import IntentRule, lacks_intent
from device.vision.quality import QualityLimits, assess
from device.vision.scene import SceneWatch
from device.vision.track import Tracker


@dataclass(kw_only=True, eq=False)
class Device:
    """The stages that a frame goes through; build.py puts them together.

    `second_face_ratio`: a second face at least this wide, as a share of the widest one, stands near. `liveness` None:
    it is off, which every status line says. `prompt` tells a person what a challenge asks for. `admission` has the
    last word: policy, PIN, the record; None lets in whomever the decider grants. `scene` watches a live camera (None:
    a recording), `board` and `clock` what the program runs on. `parts` are what it owns: keypads, the alarm's pin.
    """

    detector: Detector
    second_face_ratio: float
    tracker: Tracker
    aligner: Aligner
    limits: QualityLimits
    intent: IntentRule
    liveness: LivenessScorer | None
    embedder: Embedder
    gallery: Gallery
    decider: Decider
    prompt: Prompt
    lock: Lock
    admission: Admission | None = None
    scene: SceneWatch | None = None
    board: BoardWatch | None = None
    clock: Clock | None = None
    parts: Sequence[Closable] = ()

    def forget(self) -> None:
        """Drop what was seen so far: after a lost camera nobody knows who stands before the door."""
        self.tracker.reset()
        self.decider.reset()
        if self.admission is not None:
            self.admission.reset()

    @property
    def rest_s(self) -> float:
        """How long to rest after a frame."""
        return self.board.rest_s if self.board is not None else 0.0

    def news(self, decision: Decision | None, now_s: float) -> Iterator[News]:
        """Yield what began or ended around the last decision; None for it while the camera is lost."""
        if self.scene is not None and decision is not None:
            yield from self.scene.news(has_face=decision.detection is not None)
        if self.board is not None:
            yield from self.board.news(now_s)
        for each in self.clock.news() if self.clock is not None else ():
            self.gallery.reload()  # whose time to be forgotten has come is another question now
            yield each

    def close(self) -> None:
        """Lock first, then give everything back."""
        try:
            self.lock.close()
        finally:
            for part in (*self.parts, self.prompt):
                part.close()
            self.gallery.close()
            self.detector.close()


def handle_frame(frame: Frame, device: Device, now_s: float) -> Decision:
    """Decide about one frame, and unlock when it is granted; `now_s` is when it is handed in."""
    decision = look_at(frame, device, now_s)
    if device.admission is not None:
        decision = device.admission.admit(decision)
    if decision.granted:
        unlock(device, decision)
    return decision


def unlock(device: Device, decision: Decision) -> None:
    """Move the bolt; where the lock process refuses, the grant that was recorded first is taken back there."""
    try:
        device.lock.unlock(decision.captured_at_s)
    except LockRefused as refusal:
        if device.admission is not None:
            device.admission.not_opened(decision, refusal.reason)
        raise


def look_at(frame: Frame, device: Device, now_s: float) -> Decision:
    """Send one frame through the stages, and say what they came to."""
    started_s = time.monotonic()
    face: FaceDetection | None = None
    track_id: int | None = None
    aligned: AlignedFace | None = None
    score: float | None = None

    def conclude(reason: Reason | None, match: Match | None = None, hint: str = "") -> Decision:
        # The stages take time too: a frame that grew old in a slow stage must not open the door.
        decided_at_s = now_s + (time.monotonic() - started_s)
        matched = aligned if match is not None else None
        always = match is not None and match.challenge
        sight = Sight(frame.captured_at_s, track_id, match, reason, face=matched, score=score, always=always)
        decision = device.decider.decide(sight, decided_at_s)
        return replace(decision, detection=face, hint=challenge_hint(decision) or hint)

    if now_s - frame.captured_at_s > device.decider.rule.max_frame_age_s:
        return conclude(Reason.STALE_FRAME)

    blind = device.scene.judge(frame) if device.scene is not None else None
    if blind is not None:
        return conclude(blind)

    face, reason = pick_face(device.detector.detect(frame.image), device.second_face_ratio)
    track_id = device.tracker.update(face, frame.captured_at_s)
    if face is None or reason is not None:
        return conclude(reason, hint=FACE_HINTS.get(reason, ""))

    aligned = device.aligner.align(frame.image, face)
    quality = assess(aligned, face, device.limits)
    if quality.reason is not None:
        return conclude(quality.reason, hint=quality.hint)

    reason, hint = lacks_intent(face, frame.image.shape[1], aligned.pose, device.intent)
    if reason is Reason.TOO_FAR:  # who does not face the door may be answering a challenge, and is looked at
        return conclude(reason, hint=hint)

    score = device.liveness.score(frame.image, aligned) if device.liveness is not None else None
    probe = device.embedder.embed(aligned.image)
    track_id = device.tracker.confirm(probe)
    match = device.gallery.match(probe)
    return conclude(reason, match, hint)


FACE_HINTS: dict[Reason | None, str] = {
    Reason.NO_FACE: "no face: step before the camera",
    Reason.SEVERAL_FACES: "two faces: one person at a time",
}
CHALLENGE_HINTS = {
    "blink": "close your eyes for a moment",
    "turn_left": "turn your head to your left",
    "turn_right": "turn your head to your right",
    "nod": "nod",
}


def challenge_hint(decision: Decision) -> str:
    """Say what a challenge wants, empty where none runs."""
    if decision.reason is not Reason.CHALLENGE:
        return ""
    return CHALLENGE_HINTS.get(decision.challenge or "", "look at the camera and hold still")
