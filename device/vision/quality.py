"""Say whether an aligned face is good enough to be compared, and if not, what the person could do about it.

Light and sharpness are measured between brows and chin of the 112x112 crop, whatever side the embedder takes: they
depend on the number of pixels, their limits must not. What lies around the face, or a black rim where the crop leaves
the frame, says nothing of the face.

Light is judged by what recognition loses, not by brightness, which is the skin's as much as the lamp's: how far eyes,
nose and mouth stand out of the noise, and how much of the face is white. docs/how/gates.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from device.types import AlignedFace, FaceDetection, HeadPose, Image, Quality, Reason, Stop

_FACE_ROWS, _FACE_COLUMNS = slice(36, 104), slice(26, 86)  # of the aligned crop
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
FINE_PX, COARSE_PX = 5, 21  # eyes, nose and mouth are larger than the one and smaller than the other
LEAST_NOISE = 1.0  # gray levels: what rounding and compression hide without showing as noise
TYPICAL_DETAIL = 20.0  # gray levels: the median of well-lit faces
WHITE = 250  # gray level from which on a pixel says nothing more
DIM, GLARING = 64.0, 192.0  # mean gray levels: below the one more light helps, above the other less
MEDIAN_OF_NORMAL = 0.6745  # of the absolute value, in standard deviations
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)

Luminance = npt.NDArray[np.float32]  # (H, W), 0..255


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a face must reach; angles to either side, presence as in AlignedFace, all else as in Quality."""

    min_face_px: float
    min_sharpness: float
    min_signal: float
    max_white: float
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
    contrast, grain = detail(light), noise(light)
    measured = Quality(
        face_width_px=detection.box[2],
        sharpness=laplacian_variance(light) * (TYPICAL_DETAIL / contrast) ** 2 if contrast > 0 else 0.0,
        brightness=float(light.mean()),
        signal=contrast / math.hypot(grain, LEAST_NOISE),
        noise=grain,
        white=float((light >= WHITE).mean()),
        presence=face.presence,
        pose=face.pose,
        stop=None,
    )
    return replace(measured, stop=next(_stops(measured, limits), None))


def luminance(crop: Image) -> Luminance:
    """Return the (68, 60) luminance, 0..255, between brows and chin of an aligned (112, 112, 3) RGB crop."""
    return crop[_FACE_ROWS, _FACE_COLUMNS].astype(np.float32) @ LUMA


def detail(light: Luminance) -> float:
    """Return how much eyes, nose and mouth stand out, in gray levels: a standard deviation of what is of their size."""
    fine, coarse = (cv2.boxFilter(light, -1, (side_px, side_px)) for side_px in (FINE_PX, COARSE_PX))
    return float((fine - coarse).std())


def noise(light: Luminance) -> float:
    """Return the standard deviation of the noise, in gray levels, of a median: brows, hair and edges are none.

    The mask is that of Immerkaer, "Fast noise variance estimation", 1996; 6 is its norm.
    """
    structure = np.abs(cv2.filter2D(light, -1, _NOISE_MASK)[1:-1, 1:-1])
    return float(np.median(structure) / MEDIAN_OF_NORMAL / 6)


def laplacian_variance(light: Luminance) -> float:
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
    width_px, sharpness = measured.face_width_px, measured.sharpness
    if not measured.presence >= (least := limits.min_presence):
        hint = "no clear face: look straight into the camera, nothing before the face"
        yield Stop(Reason.NOT_A_FACE, hint, measured.presence, least)
    if not width_px >= (least := limits.min_face_px):
        hint = f"come closer: face is {width_px:.0f} px wide, needs {least:g}"
        yield Stop(Reason.TOO_SMALL, hint, width_px, least)
    if not measured.signal >= limits.min_signal:
        yield _faint(measured, limits.min_signal)
    if not measured.white <= (most := limits.max_white):
        hint = f"too bright: {100 * measured.white:.0f} % of the face is white, at most {100 * most:g} %"
        yield Stop(Reason.TOO_BRIGHT, hint, measured.white, most)
    yield from _turns(measured.pose, limits)
    if not sharpness >= (least := limits.min_sharpness):
        hint = f"blurred: {sharpness:.0f}, needs {least:g}: hold still"
        yield Stop(Reason.TOO_BLURRED, hint, sharpness, least)


def _faint(measured: Quality, least: float) -> Stop:
    """Return why a face hardly stands out: darkness and noise need more light, glare needs less."""
    numbers = f"signal {measured.signal:.1f}, needs {least:g}"
    if measured.noise > LEAST_NOISE or measured.brightness < DIM:
        return Stop(Reason.TOO_DARK, f"too dark: more light on the face: {numbers}", measured.signal, least)
    if measured.brightness > GLARING:
        return Stop(Reason.TOO_BRIGHT, f"too bright: less light: {numbers}", measured.signal, least)
    return Stop(Reason.TOO_BLURRED, f"no contrast: clean the lens: {numbers}", measured.signal, least)


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
