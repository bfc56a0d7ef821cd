from __future__ import annotations

import math
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import ModelError
from device.numeric.geometry import REFERENCE_POINTS, apply_transform, similarity_transform
from device.types import AlignedFace, FaceDetection, Image
from device.vision.align import EYES_EXCHANGED, MeshAligner, crop_face
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.detect import LiteRTDetector
from tests.support.photos import model_file, photo, rotated

LFW = Path(__file__).resolve().parents[3] / "shared" / "faces" / "lfw.zip"


@pytest.fixture(scope="module")
def detector() -> LiteRTDetector:
    return LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=0.5, threads=1)


@pytest.fixture(scope="module")
def aligner() -> MeshAligner:
    return MeshAligner(model=model_file(FACE_MESH), threads=1)


def aligned(image: Image, detector: LiteRTDetector, aligner: MeshAligner) -> AlignedFace:
    faces = detector.detect(image)
    assert len(faces) == 1
    return aligner.align(image, faces[0])


def residual_px(face: AlignedFace) -> np.ndarray:
    to_crop = similarity_transform(face.landmarks, REFERENCE_POINTS)
    return apply_transform(to_crop, face.landmarks) - REFERENCE_POINTS


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_an_aligned_face_has_its_points_at_the_reference(
    name: str, detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    face = aligned(photo(name), detector, aligner)
    assert (face.image.shape, face.image.dtype) == ((112, 112, 3), np.uint8)
    assert (face.landmarks.shape, face.landmarks.dtype) == ((5, 2), np.float32)
    assert (face.mesh.shape, face.mesh.dtype) == ((468, 3), np.float32)
    assert face.presence > 5
    residual = residual_px(face)
    assert np.abs(residual.mean(axis=0)).max() < 1e-3  # a least-squares fit leaves no shift
    assert np.abs(residual).max() < 8  # what is left is the shape of this face


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_the_crop_shows_the_face_at_the_reference(
    name: str, detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    """Find the face anew in its own crop: its points must fit the reference without being moved."""
    crop = cv2.copyMakeBorder(
        aligned(photo(name), detector, aligner).image, 40, 40, 40, 40, cv2.BORDER_CONSTANT
    )
    again = aligned(crop, detector, aligner)
    moved = similarity_transform(again.landmarks - 40, REFERENCE_POINTS)
    assert np.hypot(moved[0, 0], moved[1, 0]) == pytest.approx(1, abs=0.04)
    assert np.degrees(np.arctan2(moved[1, 0], moved[0, 0])) == pytest.approx(0, abs=2)
    assert (again.landmarks - 40).mean(axis=0) == pytest.approx(REFERENCE_POINTS.mean(axis=0), abs=1.5)


@pytest.mark.parametrize("clockwise_deg", [-40, -20, 20, 40])
def test_a_tilted_picture_gives_the_same_crop_and_its_tilt_as_roll(
    clockwise_deg: int, detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    upright = aligned(photo("hopper"), detector, aligner)
    tilted = aligned(rotated(photo("hopper"), clockwise_deg), detector, aligner)
    assert tilted.pose.roll_deg - upright.pose.roll_deg == pytest.approx(clockwise_deg, abs=3)
    assert tilted.pose.yaw_deg == pytest.approx(upright.pose.yaw_deg, abs=4)
    assert tilted.pose.pitch_deg == pytest.approx(upright.pose.pitch_deg, abs=4)
    center = slice(30, 100)
    difference = tilted.image[center, center].astype(float) - upright.image[center, center]
    assert np.abs(difference).mean() < 15


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_a_mirrored_picture_has_yaw_and_roll_negated(
    name: str, detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    image = rotated(photo(name), 15)
    pose = aligned(image, detector, aligner).pose
    mirrored = aligned(np.ascontiguousarray(image[:, ::-1]), detector, aligner).pose
    assert mirrored.roll_deg == pytest.approx(-pose.roll_deg, abs=3)
    assert mirrored.yaw_deg == pytest.approx(-pose.yaw_deg, abs=3)
    assert mirrored.pitch_deg == pytest.approx(pose.pitch_deg, abs=3)


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_a_portrait_looks_into_the_camera(name: str, detector: LiteRTDetector, aligner: MeshAligner) -> None:
    pose = aligned(photo(name), detector, aligner).pose
    assert max(abs(pose.yaw_deg), abs(pose.pitch_deg), abs(pose.roll_deg)) < 12


@pytest.mark.parametrize("squeeze", [0.8, 0.6])
def test_half_a_face_moved_away_reads_as_turned(
    squeeze: float, detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    """Narrow the picture's left half about the nose, as a head turned to the image's left shows it."""
    image = photo("astronaut")
    nose_x = aligned(image, detector, aligner).landmarks[2, 0]
    x, y = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    source = np.where(x < nose_x, nose_x + (x - nose_x) / squeeze, x)
    turned = cv2.remap(image, source.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    upright_deg = aligned(image, detector, aligner).pose.yaw_deg
    assert aligned(turned, detector, aligner).pose.yaw_deg < upright_deg - 3


def test_depth_is_in_pixels(detector: LiteRTDetector, aligner: MeshAligner) -> None:
    image = photo("hopper")
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    full_px, half_px = (np.ptp(aligned(each, detector, aligner).mesh[:, 2]) for each in (image, half))
    assert full_px == pytest.approx(2 * half_px, rel=0.1)
    width_px = detector.detect(image)[0].box[2]
    assert 0.4 < full_px / width_px < 1.1  # a head is about as deep as wide


def test_a_larger_crop_is_the_smaller_one_with_more_pixels(
    detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    """As in training, where 112 px faces are resized to what the network takes."""
    image = cv2.GaussianBlur(photo("hopper"), (0, 0), 3)
    small = aligned(image, detector, aligner)
    resized = cv2.resize(small.image, (160, 160), interpolation=cv2.INTER_LINEAR).astype(float)
    direct = crop_face(image, small.landmarks, 160)

    def apart(shift_px: float) -> float:
        shift = np.array([[1, 0, shift_px], [0, 1, shift_px]], np.float64)
        return float(np.abs(cv2.warpAffine(resized, shift, (160, 160)) - direct)[8:-8, 8:-8].mean())

    assert apart(0) < 0.7
    assert apart(0) < min(apart(-0.25), apart(0.25))  # a quarter of a pixel is what a wrong center costs


def test_the_crop_follows_the_embedder_and_quality_does_not(
    detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    image = photo("hopper")
    small = aligned(image, detector, aligner)
    large = aligned(image, detector, MeshAligner(model=model_file(FACE_MESH), threads=1, crop_px=160))
    assert large.image.shape == (160, 160, 3)
    np.testing.assert_array_equal(large.measured, small.image)
    assert small.measured is small.image
    assert large.eye_openness == small.eye_openness
    assert all(0.15 < share < 0.5 for share in small.eye_openness)  # both portraits look


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
@pytest.mark.parametrize("is_sure", [True, False])
def test_a_face_is_upright_the_right_way_up_only(
    name: str, is_sure: bool, detector: LiteRTDetector, aligner: MeshAligner
) -> None:
    """Whichever way up the detector puts the eyes; the mesh that is not sure looks twice."""
    (found,) = detector.detect(photo(name))
    face = aligner.align(photo(name), found)
    assert aligner.is_upright(photo(name), found, face if is_sure else replace(face, presence=17.0))
    inverted = replace(found, keypoints=found.keypoints[EYES_EXCHANGED])
    assert not aligner.is_upright(photo(name), inverted, aligner.align(photo(name), inverted))
    assert not aligner.is_upright(photo(name), inverted, replace(face, presence=math.nan))


def test_what_is_no_face_has_no_presence(aligner: MeshAligner) -> None:
    wall = np.random.default_rng(1).integers(90, 120, (480, 640, 3), np.uint8)
    keypoints = np.array([(280, 200), (340, 200), (310, 230), (310, 260), (260, 210), (360, 210)], np.float32)
    for box in ((250.0, 150.0, 120.0, 120.0), (-500.0, -500.0, 80.0, 80.0), (10.0, 10.0, 0.0, 0.0)):
        face = aligner.align(wall, FaceDetection(box=box, score=0.9, keypoints=keypoints))
        assert face.presence < 0
        assert np.isfinite(face.mesh).all()


def test_outside_the_frame_is_black(detector: LiteRTDetector, aligner: MeshAligner) -> None:
    image = photo("hopper")
    left, _, width, _ = detector.detect(image)[0].box
    cut = np.ascontiguousarray(image[:, int(left + width * 0.25) :])  # half a cheek stands outside
    crop = aligner.align(cut, detector.detect(cut)[0]).image
    assert (crop[:, 0] == 0).all()
    assert (crop[:, -1] > 0).any()


def test_another_network_is_named() -> None:
    with pytest.raises(ModelError, match=r"expected MediaPipe's face mesh.*fetch_models"):
        MeshAligner(model=model_file(FACE_DETECTOR), threads=1)


@pytest.mark.skipif(
    not LFW.exists(), reason="needs ../shared/faces/lfw.zip: labeled photographs of many people"
)
def test_many_photographs_align_to_the_reference(detector: LiteRTDetector, aligner: MeshAligner) -> None:
    with zipfile.ZipFile(LFW) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
        residuals, yaws = [], []
        for name in random.Random(4).sample(names, 60):
            coded = np.frombuffer(archive.read(name), np.uint8)
            image = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            faces = detector.detect(image)
            assert faces, name
            face = aligner.align(image, max(faces, key=lambda found: found.box[2]))
            residuals.append(residual_px(face))
            yaws.append(face.pose.yaw_deg)
    assert (
        np.abs(np.mean(residuals, axis=0)).max() < 3.5
    )  # the mesh's nose tip lies 3 px below the reference's
    assert abs(np.mean(yaws)) < 5
