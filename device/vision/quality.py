"""Say whether an aligned face is good enough to be compared, and if not, what the person could do about it.

Pure numpy. Brightness and sharpness are taken between brows and chin of the 112x112 crop, whatever side the embedder
takes: sharpness depends on the number of pixels, its limit must not. What lies around the face, or a black rim where
the crop leaves the frame, says nothing of the face.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from device.types import AlignedFace, FaceDetection, HeadPose, Image, Quality, Reason, Stop

_FACE_ROWS, _FACE_COLUMNS = slice(36, 104), slice(26, 86)  # of the aligned crop
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a face must reach; brightness in 0..255, angles to either side, presence as in AlignedFace."""

    min_face_px: float
    min_sharpness: float
    min_brightness: float
    max_brightness: float
    max_yaw_deg: float
    max_pitch_deg: float
    max_roll_deg: float
    min_presence: float


def assess(face: AlignedFace, detection: FaceDetection, limits: QualityLimits) -> Quality:
    """Measure an aligned face and name the first limit that it breaks.

    Size, light and pose come before sharpness: a small, dark or turned face is blurred as well, and "hold
    still" would not help. The width is that of the detection's box.
    """
    light = luminance(face.measured)
    measured = Quality(
        face_width_px=detection.box[2],
        sharpness=laplacian_variance(light),
        brightness=float(light.mean()),
        presence=face.presence,
        pose=face.pose,
        stop=None,
    )
    return replace(measured, stop=next(_stops(measured, limits), None))


def luminance(crop: Image) -> npt.NDArray[np.float32]:
    """Return the (68, 60) luminance, 0..255, between brows and chin of an aligned (112, 112, 3) RGB crop."""
    return crop[_FACE_ROWS, _FACE_COLUMNS].astype(np.float32) @ LUMA


def laplacian_variance(light: npt.NDArray[np.float32]) -> float:
    """Return the variance of the four-neighbor Laplacian: little where nothing in the picture is sharp.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000, measure LAPV.
    """
    inner = light[1:-1, 1:-1]
    laplacian = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def is_confirmed(face: AlignedFace, limits: QualityLimits) -> bool:
    """Say whether the points confirm that a detection is a face; NaN does not."""
    return face.presence >= limits.min_presence


def _stops(measured: Quality, limits: QualityLimits) -> Iterator[Stop]:
    """Yield what fails, the most useful first; each check is written so that NaN fails it."""
    width_px, light, sharpness = measured.face_width_px, measured.brightness, measured.sharpness
    if not measured.presence >= (least := limits.min_presence):
        hint = "no clear face: look straight into the camera, nothing before the face"
        yield Stop(Reason.NOT_A_FACE, hint, measured.presence, least)
    if not width_px >= (least := limits.min_face_px):
        hint = f"come closer: face is {width_px:.0f} px wide, needs {least:g}"
        yield Stop(Reason.TOO_SMALL, hint, width_px, least)
    if not light >= (least := limits.min_brightness):
        yield Stop(Reason.TOO_DARK, f"too dark: {light:.0f}, needs {least:g}", light, least)
    if not light <= (most := limits.max_brightness):
        yield Stop(Reason.TOO_BRIGHT, f"too bright: {light:.0f}, at most {most:g}", light, most)
    yield from _turns(measured.pose, limits)
    if not sharpness >= (least := limits.min_sharpness):
        hint = f"blurred: {sharpness:.0f}, needs {least:g}: hold still"
        yield Stop(Reason.TOO_BLURRED, hint, sharpness, least)


def _turns(pose: HeadPose, limits: QualityLimits) -> Iterator[Stop]:
    """Tell the person where to turn: left and right are the person's own, the picture is not mirrored."""
    checks = (
        (pose.yaw_deg, limits.max_yaw_deg, "turn a little right", "turn a little left"),
        (pose.pitch_deg, limits.max_pitch_deg, "look a little down", "look a little up"),
        (pose.roll_deg, limits.max_roll_deg, "hold your head level", "hold your head level"),
    )
    for angle_deg, most_deg, when_positive, when_negative in checks:
        if not abs(angle_deg) <= most_deg:
            what = when_positive if angle_deg > 0 else when_negative
            hint = f"{what}: {abs(angle_deg):.0f} degrees off, at most {most_deg:g}"
            yield Stop(Reason.TURNED_AWAY, hint, abs(angle_deg), most_deg)
