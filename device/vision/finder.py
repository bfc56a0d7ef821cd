"""Which of the detected faces the door works with."""

from __future__ import annotations

from collections.abc import Sequence

from device.types import FaceDetection, Reason


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
