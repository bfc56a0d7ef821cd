"""Find the face that the door works with: detect -> pick -> align -> good enough?

The door, enrollment and the self-test all look through a `Finder`, so what one of them takes, the others take too.
"""

from __future__ import annotations

from dataclasses import dataclass

from device.protocols import Aligner, Detector
from device.types import AlignedFace, FaceDetection, Image, Quality, Reason, Stop
from device.vision.quality import QualityLimits, assess, is_confirmed

NO_FACE = Stop(Reason.NO_FACE, "no face: step before the camera")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a picture shows: a face that may be compared, or the stop that says why there is none.

    `detection` is that of the nearest face, good enough or not, `brightness` its mean of 0 to 255; None where there is
    nobody. `quality` is what was measured of it, None where it was not.
    """

    detection: FaceDetection | None
    face: AlignedFace | Stop
    brightness: float | None = None
    quality: Quality | None = None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The detector's box of the nearest face, px; one of no area where there is nobody."""
        return self.detection.box if self.detection is not None else (0.0, 0.0, 0.0, 0.0)

    @property
    def width_px(self) -> float:
        """The width of the nearest face, 0 where there is nobody."""
        return self.box[2]


class Finder:
    """Find the one face of a picture.

    The nearest face is the widest one that the points confirm: a detector takes a pattern on a wall for a face now and
    then. A second face at least `second_face_ratio` times as wide is somebody who could walk in, or who holds up a
    picture, so the frame stops there. A bystander far behind is ignored.
    """

    def __init__(
        self, *, detector: Detector, aligner: Aligner, limits: QualityLimits, second_face_ratio: float
    ) -> None:
        self.detector, self.aligner, self.limits = detector, aligner, limits
        self.second_face_ratio = second_face_ratio

    def find(self, image: Image) -> Found:
        """Look at an (H, W, 3) uint8 RGB image."""
        detections = sorted(self.detector.detect(image), key=_width_px, reverse=True)
        if not detections:
            return Found(None, NO_FACE)
        near = self._near(image, detections)
        if len(near) > 1:
            share = _width_px(near[1][0]) / _width_px(near[0][0])
            hint = "two faces: one person at a time"
            return Found(near[0][0], Stop(Reason.SEVERAL_FACES, hint, share, self.second_face_ratio))
        widest = detections[0]
        detection, face = near[0] if near else (widest, self.aligner.align(image, widest))
        quality = assess(face, detection, self.limits)
        stop = quality.stop or self._upside_down(image, detection, face)
        return Found(detection, stop or face, quality.brightness if near else None, quality)

    def close(self) -> None:
        self.detector.close()

    def _upside_down(self, image: Image, detection: FaceDetection, face: AlignedFace) -> Stop | None:
        if self.aligner.is_upright(image, detection, face):
            return None
        hint = "the face is upside down: camera.rotation turns the picture"
        return Stop(Reason.TURNED_AWAY, hint, 180.0, self.limits.max_roll_deg)

    def _near(self, image: Image, detections: list[FaceDetection]) -> list[tuple[FaceDetection, AlignedFace]]:
        """Return the widest confirmed face and a second one that is near, if there are any; widest first."""
        near: list[tuple[FaceDetection, AlignedFace]] = []
        for detection in detections:
            if near and _width_px(detection) < self.second_face_ratio * _width_px(near[0][0]):
                break
            face = self.aligner.align(image, detection)
            if is_confirmed(face, self.limits):
                near.append((detection, face))
            if len(near) == 2:
                break
        return near


def _width_px(detection: FaceDetection) -> float:
    return detection.box[2]
