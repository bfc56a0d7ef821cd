from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from device.types import AlignedFace, FaceDetection, HeadPose, Image, Quality, Reason
from device.vision.align import MeshAligner, crop_face
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.detect import LiteRTDetector
from device.vision.quality import QualityLimits, assess, laplacian_variance, luminance
from tests.support.photos import model_file, on_canvas, photo

LIMITS = QualityLimits(
    min_face_px=60,
    min_sharpness=30,
    min_signal=2,
    max_white=0.7,
    max_yaw_deg=35,
    max_pitch_deg=30,
    max_roll_deg=35,
    min_presence=0,
)
DETECTION = FaceDetection(box=(10, 10, 100, 100), score=0.9, keypoints=np.zeros((6, 2), np.float32))


BLOCKS = np.kron(np.indices((14, 14)).sum(axis=0) % 2, np.ones((8, 8)))
GRAIN = np.random.default_rng(5).standard_normal((112, 112))


def face(
    level: float = 128, contrast: float = 80, noise: float = 0, presence: float = 15, **angles: float
) -> AlignedFace:
    """Return an aligned face of blocks of 8 px about a gray level, with noise of a standard deviation."""
    gray = level + contrast * (BLOCKS - 0.5) + noise * GRAIN
    image = np.repeat(np.rint(np.clip(gray, 0, 255))[..., None], 3, axis=2).astype(np.uint8)
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


WAVES = np.tile(128 + 60 * np.sin(np.arange(112) * 2 * np.pi / 36), (112, 1))
WHITENED = np.where(np.arange(112)[:, None] < 92, 255, 80 + 80 * BLOCKS)


def shown(gray: npt.NDArray[np.float64]) -> AlignedFace:
    return replace(face(), measured=np.repeat(gray[..., None], 3, axis=2).astype(np.uint8))


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
        (face(level=30, contrast=2), DETECTION, Reason.TOO_DARK, "too dark: more light on the face: signal"),
        (face(contrast=30, noise=20), DETECTION, Reason.TOO_DARK, "too dark: more light on the face: signal"),
        (face(level=240, contrast=2), DETECTION, Reason.TOO_BRIGHT, "too bright: less light: signal"),
        (face(contrast=2), DETECTION, Reason.TOO_BLURRED, "no contrast: clean the lens: signal"),
        (shown(WHITENED), DETECTION, Reason.TOO_BRIGHT, "too bright: 82 % of the face is white, at most 70"),
        (face(yaw_deg=-41), DETECTION, Reason.TURNED_AWAY, "turn a little left: 41 degrees off, at most 35"),
        (face(yaw_deg=41), DETECTION, Reason.TURNED_AWAY, "turn a little right: 41 degrees off"),
        (face(pitch_deg=33), DETECTION, Reason.TURNED_AWAY, "look a little down: 33 degrees off"),
        (face(pitch_deg=-33), DETECTION, Reason.TURNED_AWAY, "look a little up: 33 degrees off"),
        (face(roll_deg=-50), DETECTION, Reason.TURNED_AWAY, "hold your head level: 50 degrees off"),
        (shown(WAVES), DETECTION, Reason.TOO_BLURRED, "blurred: "),
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
    dark_turned_and_blurred = face(level=5, contrast=0, yaw_deg=80)
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
    small = cv2.resize(image, None, fx=45 / width_px, fy=45 / width_px, interpolation=cv2.INTER_AREA)
    assert reason_of(look(blurred, stages)) is Reason.TOO_BLURRED
    assert reason_of(look(small, stages)) is Reason.TOO_SMALL


# Light: what a sensor makes of a portrait; electrons are those of a white pixel


def lit(image: Image, light: npt.ArrayLike, electrons: float = 8000, gain: float = 1) -> Image:
    """Return a portrait in another light (a color's 1 is as it was), taken by a sensor with shot and read noise."""
    rng = np.random.default_rng(0)
    arrived = np.clip((image / 255.0) ** 2.2 * np.asarray(light), 0, 1) * electrons
    seen = (rng.poisson(arrived) + rng.normal(0, 4, arrived.shape)) / electrons
    return (255 * np.clip(seen * gain, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def judged(name: str, stages: tuple[LiteRTDetector, MeshAligner], picture: Image) -> Quality:
    """Judge what became of a portrait, its face found in the portrait as it is: the detector is not tested here."""
    detector, aligner = stages
    (found,) = detector.detect(photo(name))
    known = aligner.align(photo(name), found)
    return assess(replace(known, measured=crop_face(picture, known.landmarks, 112)), found, LIMITS)


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_a_dim_portrait_is_refused_when_its_features_drown_and_not_before(
    name: str, stages: tuple[LiteRTDetector, MeshAligner]
) -> None:
    steps = [judged(name, stages, lit(photo(name), 0.5**step)) for step in range(12)]
    verdicts = [reason_of(each) for each in steps]
    first = verdicts.index(Reason.TOO_DARK)
    assert first >= 4
    assert verdicts == [None] * first + [Reason.TOO_DARK] * (12 - first)
    assert all(brighter.signal > darker.signal for brighter, darker in pairwise(steps[: first + 1]))


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_a_portrait_that_is_brightened_again_is_as_dark_as_before(
    name: str, stages: tuple[LiteRTDetector, MeshAligner]
) -> None:
    """A sensor at its limit gives a bright picture full of noise: more light would help it."""
    bright = judged(name, stages, lit(photo(name), 1 / 256, electrons=1500, gain=256))
    assert bright.brightness > 60
    assert reason_of(bright) is Reason.TOO_DARK


# The Monk Skin Tone scale (Ellis Monk, 2019; colors as published at skintone.google), lightest first.
MONK = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")


@pytest.mark.parametrize("light", [1.0, 0.5])
@pytest.mark.parametrize("tone", MONK)
@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_no_skin_tone_changes_the_verdict(
    name: str, tone: str, light: float, stages: tuple[LiteRTDetector, MeshAligner]
) -> None:
    color = (np.frombuffer(bytes.fromhex(tone), np.uint8) / 255.0) ** 2.2
    detector, aligner = stages
    (found,) = detector.detect(photo(name))
    skin = ((aligner.align(photo(name), found).measured[36:104, 26:86] / 255.0) ** 2.2).mean(axis=(0, 1))
    assert reason_of(judged(name, stages, lit(photo(name), light * color / skin))) is None


def test_a_face_that_is_mostly_white_is_too_bright(stages: tuple[LiteRTDetector, MeshAligner]) -> None:
    for light, reason in ((1, None), (2, None), (30, Reason.TOO_BRIGHT)):
        assert reason_of(judged("astronaut", stages, lit(photo("astronaut"), light))) is reason


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_a_portrait_that_is_washed_out_is_too_bright(
    name: str, stages: tuple[LiteRTDetector, MeshAligner]
) -> None:
    washed_out = (255 - (255 - photo(name)) * 0.07).astype(np.uint8)
    assert reason_of(judged(name, stages, washed_out)) is Reason.TOO_BRIGHT


def test_blur_is_seen_step_by_step(stages: tuple[LiteRTDetector, MeshAligner]) -> None:
    image = on_canvas(photo("hopper"), 640, 480, 100, 20, 0.7)
    steps = [look(cv2.GaussianBlur(image, (0, 0), sigma), stages).sharpness for sigma in (0.3, 1, 2, 4)]
    assert all(sharper > 1.5 * softer for sharper, softer in pairwise(steps))
