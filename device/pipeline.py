"""What happens to one frame: the whole product in one function.

    stale? -> detect -> pick the face -> track -> align -> good enough? -> embed -> match -> decide -> unlock

The camera is the loop around it (unlock.py), so tests hand in frames. Everyday outcomes are values with a `Reason`;
faults are exceptions of `device.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from device.decision import Decider
from device.gallery import Gallery
from device.protocols import Aligner, Detector, Embedder, Lock
from device.quality import QualityLimits, assess
from device.track import Tracker
from device.types import Decision, FaceDetection, Frame, Match, Reason


@dataclass(kw_only=True, eq=False)
class Device:
    """The stages that a frame goes through; build.py puts them together.

    `second_face_ratio`: a second face at least this wide, as a share of the widest one, stands near.
    """

    detector: Detector
    second_face_ratio: float
    tracker: Tracker
    aligner: Aligner
    limits: QualityLimits
    embedder: Embedder
    gallery: Gallery
    decider: Decider
    lock: Lock

    def forget(self) -> None:
        """Drop what was seen so far: after a lost camera nobody knows who stands before the door."""
        self.tracker.reset()
        self.decider.reset()

    def close(self) -> None:
        """Lock first, then give everything back."""
        try:
            self.lock.close()
        finally:
            self.gallery.close()
            self.detector.close()


def handle_frame(frame: Frame, device: Device, now_s: float) -> Decision:
    """Decide about one frame, and unlock when it is granted; `now_s` is when it is handed in."""
    started_s = time.monotonic()
    face: FaceDetection | None = None
    track_id: int | None = None

    def conclude(reason: Reason | None, match: Match | None = None, hint: str = "") -> Decision:
        # The stages take time too: a frame that grew old in a slow stage must not open the door.
        decided_at_s = now_s + (time.monotonic() - started_s)
        decision = device.decider.decide(
            captured_at_s=frame.captured_at_s,
            now_s=decided_at_s,
            track_id=track_id,
            match=match,
            reason=reason,
        )
        return replace(decision, detection=face, hint=hint)

    if now_s - frame.captured_at_s > device.decider.rule.max_frame_age_s:
        return conclude(Reason.STALE_FRAME)

    face, reason = pick_face(device.detector.detect(frame.image), device.second_face_ratio)
    track_id = device.tracker.update(face, frame.captured_at_s)
    if face is None or reason is not None:
        return conclude(reason, hint=FACE_HINTS.get(reason, ""))

    aligned = device.aligner.align(frame.image, face)
    quality = assess(aligned, face, device.limits)
    if quality.reason is not None:
        return conclude(quality.reason, hint=quality.hint)

    match = device.gallery.match(device.embedder.embed(aligned.image))
    decision = conclude(None, match)
    if decision.granted:
        device.lock.unlock(frame.captured_at_s)
    return decision


FACE_HINTS: dict[Reason | None, str] = {
    Reason.NO_FACE: "no face: step before the camera",
    Reason.SEVERAL_FACES: "two faces: one person at a time",
}


def pick_face(
    detections: Sequence[FaceDetection], second_face_ratio: float
) -> tuple[FaceDetection | None, Reason | None]:
    """Return the widest face, and the reason why it may not be used.

    A bystander far behind is ignored; a second face at least `second_face_ratio` times as wide as the first is somebody
    who could walk in, or who holds up a picture, so nobody is let in.
    """
    if not detections:
        return None, Reason.NO_FACE
    widest = max(detections, key=lambda detection: detection.box[2])
    near_px = second_face_ratio * widest.box[2]
    near = sum(detection.box[2] >= near_px for detection in detections)
    return widest, Reason.SEVERAL_FACES if near > 1 else None
