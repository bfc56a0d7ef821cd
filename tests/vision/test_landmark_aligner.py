"""The second aligner, on a real tiny network that answers a gray picture with its mean shape."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device.errors import ModelError
from device.numeric.face_shape import NEEDED_POINTS
from device.numeric.geometry import apply_transform, invert_transform, mesh_region
from device.types import AlignedFace, FaceDetection, Image, Reason
from device.vision.align import LandmarkAligner, load_landmark_manifest
from device.vision.quality import QualityLimits, assess
from tests.support.tiny_model import LANDMARKS, MEAN_SHAPE, write_landmarks

GRAY = np.full((480, 640, 3), 127, np.uint8)
LIMITS = QualityLimits(
    min_face_px=60,
    min_sharpness=0,
    min_signal=0,  # these faces are gray
    max_white=0.7,
    max_yaw_deg=35,
    max_pitch_deg=30,
    max_roll_deg=35,
    min_presence=0,
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_landmarks(tmp_path)


def reason_of(face: AlignedFace) -> Reason | None:
    stop = assess(face, detection(), LIMITS).stop
    return stop.reason if stop is not None else None


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def detection(clockwise_deg: float = 0) -> FaceDetection:
    """Return a box of 120 px about (320, 240) whose eyes are turned."""
    angle = math.radians(clockwise_deg)
    eye = np.array([25 * math.cos(angle), 25 * math.sin(angle)])
    keypoints = np.zeros((6, 2), np.float32)
    keypoints[:2] = np.add((320, 220), [-eye, eye])
    return FaceDetection(box=(260.0, 180.0, 120.0, 120.0), score=0.9, keypoints=keypoints)


def patterned() -> Image:
    """Return a picture of strong contrasts, unlike gray everywhere."""
    coarse = np.random.default_rng(3).integers(0, 2, (12, 16, 3), dtype=np.uint8) * 255
    return coarse.repeat(40, axis=0).repeat(40, axis=1)


@pytest.mark.parametrize("clockwise_deg", [0, 20, -35])
def test_points_come_back_from_the_meshs_own_square(manifest: Path, clockwise_deg: float) -> None:
    found = detection(clockwise_deg)
    face = LandmarkAligner(manifest=manifest, threads=1).align(GRAY, found)
    to_frame = invert_transform(mesh_region(found.box, found.keypoints, 96))
    expected = apply_transform(to_frame, MEAN_SHAPE * 96)
    assert np.abs(face.mesh[list(LANDMARKS), :2] - expected).max() < 1.5  # px; int8 steps are 0.7
    assert np.isnan(face.mesh[:, 2]).all()
    assert face.pose.roll_deg == pytest.approx(clockwise_deg, abs=1.5)
    assert abs(face.pose.yaw_deg) < 5
    assert abs(face.pose.pitch_deg) < 5
    assert face.eye_openness == pytest.approx((0.3, 0.3), abs=0.06)
    assert (face.landmarks.shape, face.landmarks.dtype) == ((5, 2), np.float32)
    assert face.landmarks[0, 0] < face.landmarks[1, 0]  # the subject's right eye is left in the picture


def test_the_shape_of_a_face_is_a_face(manifest: Path) -> None:
    face = LandmarkAligner(manifest=manifest, threads=1).align(GRAY, detection())
    assert 0.8 < face.presence <= 1
    assert reason_of(face) is None


def test_points_without_a_faces_shape_are_refused(manifest: Path) -> None:
    face = LandmarkAligner(manifest=manifest, threads=1).align(patterned(), detection())
    assert face.presence < 0
    assert reason_of(face) is Reason.NOT_A_FACE


def test_the_manifests_largest_misfit_is_the_limit(manifest: Path) -> None:
    aligner = LandmarkAligner(manifest=manifest, threads=1)
    found = 0.1 * (1 - aligner.align(patterned(), detection()).presence)
    for largest, is_face in ((found * 1.01, True), (found * 0.99, False)):
        change(manifest, largest_misfit=largest)
        face = LandmarkAligner(manifest=manifest, threads=1).align(patterned(), detection())
        assert (reason_of(face) is not Reason.NOT_A_FACE) is is_face


def test_points_all_in_one_place_are_no_face(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aligner = LandmarkAligner(manifest=manifest, threads=1)
    monkeypatch.setattr(aligner._network, "run", lambda _: np.full(254, 0.5, np.float32))
    face = aligner.align(GRAY, detection())
    assert face.presence == -math.inf
    assert not face.image.any()
    assert reason_of(face) is Reason.NOT_A_FACE


def test_the_crop_has_the_embedders_side_and_quality_does_not_change(manifest: Path) -> None:
    image = patterned() // 8 + 112  # little contrast: the points stay a face's
    small = LandmarkAligner(manifest=manifest, threads=1).align(image, detection())
    large = LandmarkAligner(manifest=manifest, threads=1, crop_px=160).align(image, detection())
    assert (small.image.shape, large.image.shape) == ((112, 112, 3), (160, 160, 3))
    assert large.measured.shape == (112, 112, 3)
    assert assess(large, detection(), LIMITS) == assess(small, detection(), LIMITS)


def test_a_good_manifest_is_read(manifest: Path) -> None:
    read = load_landmark_manifest(manifest)
    assert (read.side_px, read.points, read.largest_misfit) == (96, LANDMARKS, 0.1)
    np.testing.assert_array_equal(read.mean_shape, MEAN_SHAPE)


INT8 = {"dtype": "int8", "scale": 1 / 128, "zero_point": 0}
PIXELS = {"color_order": "RGB", "mean": 127.5, "std": 128.0}


@pytest.mark.parametrize(
    ("values", "key", "what"),
    [
        ({"points": [*LANDMARKS[:-1], LANDMARKS[0]]}, "points", "different numbers"),
        ({"points": [*LANDMARKS[:-1], 468]}, "points", "below 468"),
        (
            {"points": [p for p in range(468) if p not in NEEDED_POINTS][:127]},
            "points",
            "eyes, nose and mouth",
        ),
        ({"points": [[1]] * 127}, "points", "different numbers"),
        ({"points": "all"}, "points", "different numbers"),
        ({"mean_shape": MEAN_SHAPE.tolist()[:-1]}, "mean_shape", "127 different places"),
        ({"mean_shape": [[0.5, 0.5]] * 127}, "mean_shape", "127 different places"),
        ({"mean_shape": [[0.5]] * 127}, "mean_shape", "127 different places"),
        ({"mean_shape": [["0", "1"]] * 127}, "mean_shape", "127 different places"),
        ({"largest_misfit": 0}, "largest_misfit", "above 0"),
        ({"largest_misfit": math.nan}, "largest_misfit", "finite"),
        ({"output": {"shape": [1, 2 * 126], **INT8}}, "output.shape", "2 * number of points"),
        ({"output": {"shape": [1, 254], "dtype": "float32"}}, "output.dtype", "int8"),
        ({"input": {"shape": [1, 96, 96, 3], "dtype": "float32", **PIXELS}}, "input.dtype", "int8"),
        ({"input": {"shape": [1, 96, 80, 3], **INT8, **PIXELS}}, "input.shape", "square"),
    ],
)
def test_a_wrong_manifest_names_its_key(manifest: Path, values: dict[str, Any], key: str, what: str) -> None:
    change(manifest, **values)
    with pytest.raises(ModelError) as caught:
        LandmarkAligner(manifest=manifest, threads=1)
    text = str(caught.value)
    assert f"key {key} expects" in text
    assert what in text
    assert "\n" not in text


@pytest.mark.parametrize("key", ["points", "mean_shape", "largest_misfit", "sha256", "input", "output"])
def test_a_missing_key_is_named(manifest: Path, key: str) -> None:
    values = json.loads(manifest.read_text())
    del values[key]
    manifest.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=f"expects key {key}"):
        LandmarkAligner(manifest=manifest, threads=1)


def test_a_changed_network_is_refused(manifest: Path) -> None:
    network = manifest.with_suffix(".tflite")
    content = bytearray(network.read_bytes())
    content[-1] ^= 1
    network.write_bytes(content)
    with pytest.raises(ModelError, match="received sha256"):
        LandmarkAligner(manifest=manifest, threads=1)
