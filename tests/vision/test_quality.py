from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from device.types import AlignedFace, FaceDetection, HeadPose, Image, Quality, Reason
from device.vision.align import MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.detect import LiteRTDetector
from device.vision.quality import QualityLimits, assess, laplacian_variance, luminance
from tests.support.photos import model_file, on_canvas, photo

LIMITS = QualityLimits(
    min_face_px=60,
    min_sharpness=30,
    min_brightness=40,
    max_brightness=225,
    max_yaw_deg=35,
    max_pitch_deg=30,
    max_roll_deg=35,
    min_presence=0,
)
DETECTION = FaceDetection(box=(10, 10, 100, 100), score=0.9, keypoints=np.zeros((6, 2), np.float32))


def face(level: int = 128, texture: int = 40, presence: float = 15, **angles: float) -> AlignedFace:
    """Return an aligned face of one brightness with a checkered texture."""
    squares = np.indices((112, 112)).sum(axis=0) % 2 * texture - texture // 2
    image = np.repeat(np.clip(level + squares, 0, 255)[..., None], 3, axis=2).astype(np.uint8)
    turned = {"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, **angles}
    return AlignedFace(
        image=image,
        measured=image,
        landmarks=np.zeros((5, 2), np.float32),
        mesh=np.zeros((468, 3), np.float32),
        presence=presence,
        pose=HeadPose(**turned),
        eye_openness=(0.3, 0.3),
    )


def reason_of(quality: Quality) -> Reason | None:
    return quality.stop.reason if quality.stop is not None else None


def wide(width_px: float) -> FaceDetection:
    return replace(DETECTION, box=(10, 10, width_px, width_px))


def test_a_good_face_passes_with_its_numbers() -> None:
    quality = assess(face(), DETECTION, LIMITS)
    assert quality.stop is None
    assert quality.face_width_px == 100
    assert quality.brightness == pytest.approx(128, abs=1)
    assert quality.presence == 15


@pytest.mark.parametrize(
    ("bad", "detection", "reason", "hint"),
    [
        (face(presence=-1), DETECTION, Reason.NOT_A_FACE, "no clear face: look straight into the camera"),
        (face(), wide(48.4), Reason.TOO_SMALL, "come closer: face is 48 px wide, needs 60"),
        (face(level=31), DETECTION, Reason.TOO_DARK, "too dark: 31, needs 40"),
        (face(level=240, texture=10), DETECTION, Reason.TOO_BRIGHT, "too bright: 240, at most 225"),
        (face(yaw_deg=-41), DETECTION, Reason.TURNED_AWAY, "turn a little left: 41 degrees off, at most 35"),
        (face(yaw_deg=41), DETECTION, Reason.TURNED_AWAY, "turn a little right: 41 degrees off"),
        (face(pitch_deg=33), DETECTION, Reason.TURNED_AWAY, "look a little down: 33 degrees off"),
        (face(pitch_deg=-33), DETECTION, Reason.TURNED_AWAY, "look a little up: 33 degrees off"),
        (face(roll_deg=-50), DETECTION, Reason.TURNED_AWAY, "hold your head level: 50 degrees off"),
        (face(texture=1), DETECTION, Reason.TOO_BLURRED, "blurred: "),
    ],
)
def test_each_fault_has_its_reason_and_hint(
    bad: AlignedFace, detection: FaceDetection, reason: Reason, hint: str
) -> None:
    quality = assess(bad, detection, LIMITS)
    assert quality.stop is not None
    assert quality.stop.reason is reason
    assert quality.stop.hint.startswith(hint)
    assert quality.stop.measured is not None
    assert quality.stop.limit is not None


def test_the_first_fault_is_the_one_that_explains_the_others() -> None:
    dark_turned_and_blurred = face(level=5, texture=0, yaw_deg=80)
    assert reason_of(assess(dark_turned_and_blurred, DETECTION, LIMITS)) is Reason.TOO_DARK
    assert reason_of(assess(dark_turned_and_blurred, wide(20), LIMITS)) is Reason.TOO_SMALL
    assert (
        reason_of(assess(replace(dark_turned_and_blurred, presence=-3), wide(20), LIMITS))
        is Reason.NOT_A_FACE
    )


def test_a_limit_itself_passes() -> None:
    at_the_limit = face(presence=0, yaw_deg=35, pitch_deg=-30, roll_deg=35)
    assert reason_of(assess(at_the_limit, wide(60), LIMITS)) is None


@pytest.mark.parametrize("angle", ["yaw_deg", "pitch_deg", "roll_deg"])
def test_what_cannot_be_measured_fails(angle: str) -> None:
    assert reason_of(assess(face(presence=math.nan), DETECTION, LIMITS)) is Reason.NOT_A_FACE
    assert reason_of(assess(face(**{angle: math.nan}), DETECTION, LIMITS)) is Reason.TURNED_AWAY


def test_what_lies_around_the_face_does_not_count() -> None:
    framed = face()
    framed.measured[:30], framed.measured[:, :20], framed.measured[:, 92:] = 0, 255, 0
    plain = assess(face(), DETECTION, LIMITS)
    assert assess(framed, DETECTION, LIMITS) == plain


def test_luminance_weighs_colors_as_eyes_do() -> None:
    means = [
        luminance(np.full((112, 112, 3), color, np.uint8)).mean()
        for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
    ]
    assert means == pytest.approx([76.2, 149.7, 29.1, 255], abs=0.1)


def test_a_slope_is_not_sharp_and_an_edge_is() -> None:
    slope = np.tile(np.linspace(0, 255, 60, dtype=np.float32), (68, 1))
    assert laplacian_variance(slope) == pytest.approx(0, abs=1e-3)
    assert laplacian_variance((slope > 128) * np.float32(255)) > 1000


@pytest.fixture(scope="module")
def stages() -> tuple[LiteRTDetector, MeshAligner]:
    return (
        LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=0.5, threads=1),
        MeshAligner(model=model_file(FACE_MESH), threads=1),
    )


def look(image: Image, stages: tuple[LiteRTDetector, MeshAligner]) -> Quality:
    detector, aligner = stages
    (found,) = detector.detect(image)
    return assess(aligner.align(image, found), found, LIMITS)


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_portraits_pass(name: str, stages: tuple[LiteRTDetector, MeshAligner]) -> None:
    assert reason_of(look(photo(name), stages)) is None


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_spoiled_portraits_fail_for_what_spoiled_them(
    name: str, stages: tuple[LiteRTDetector, MeshAligner]
) -> None:
    image = photo(name)
    width_px = look(image, stages).face_width_px
    blurred = cv2.GaussianBlur(image, (0, 0), width_px / 30)
    dark = (image * 0.15).astype(np.uint8)
    bright = (255 - (255 - image) * 0.12).astype(np.uint8)
    small = cv2.resize(image, None, fx=45 / width_px, fy=45 / width_px, interpolation=cv2.INTER_AREA)
    assert reason_of(look(blurred, stages)) is Reason.TOO_BLURRED
    assert reason_of(look(dark, stages)) is Reason.TOO_DARK
    assert reason_of(look(bright, stages)) is Reason.TOO_BRIGHT
    assert reason_of(look(small, stages)) is Reason.TOO_SMALL


def test_blur_is_seen_step_by_step(stages: tuple[LiteRTDetector, MeshAligner]) -> None:
    image = on_canvas(photo("hopper"), 640, 480, 100, 20, 0.7)
    steps = [look(cv2.GaussianBlur(image, (0, 0), sigma), stages).sharpness for sigma in (0.3, 1, 2, 4)]
    assert all(sharper > 1.5 * softer for sharper, softer in pairwise(steps))
