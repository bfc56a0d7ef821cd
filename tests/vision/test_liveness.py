"""The liveness network's adapter, on a real tiny network that takes bright faces for live."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device.errors import ModelError
from device.numeric.geometry import FACE_CENTER, FACE_WIDTH_PX, REFERENCE_POINTS, WIDE_LOOK
from device.types import AlignedFace, HeadPose, Image, Points
from device.vision.liveness import PadScorer, face_place, load_liveness_manifest, sigmoid, wide_look
from tests.support.tiny_model import write_pad, write_tiny

FRAME = np.zeros((480, 640, 3), np.uint8)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_pad(tmp_path)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def face(measured: Image, image: Image | None = None) -> AlignedFace:
    """Return an aligned face of which only the crops matter."""
    nothing = np.zeros((0, 3), np.float32)
    seen = measured if image is None else image
    return AlignedFace(seen, measured, points(), nothing, 1.0, HeadPose(0, 0, 0), (0.3, 0.3))


def points(center: tuple[float, float] = (320, 240), width_px: float = 80, turn_deg: float = 0) -> Points:
    """Return the five landmarks of a face in a frame."""
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turned = (REFERENCE_POINTS - FACE_CENTER) @ np.array([[cos, sin], [-sin, cos]])
    return (turned * width_px / FACE_WIDTH_PX + center).astype(np.float32)


def plain(level: int) -> AlignedFace:
    return face(np.full((112, 112, 3), level, np.uint8))


def test_a_score_is_the_share_of_the_networks_logit(manifest: Path) -> None:
    scorer = PadScorer(manifest=manifest, threads=1)
    for level in (0, 64, 128, 200, 255):
        logit = 6 * (level - 127.5) / 128  # what the tiny network was made to answer
        assert scorer.score(FRAME, plain(level)) == pytest.approx(sigmoid(logit), abs=0.03)
    assert scorer.score(FRAME, plain(0)) < scorer.attack < scorer.unsure < scorer.score(FRAME, plain(255))


def test_the_thresholds_are_the_manifests(manifest: Path) -> None:
    change(manifest, unsure=0.75, attack=0.25)
    scorer = PadScorer(manifest=manifest, threads=1)
    assert (scorer.unsure, scorer.attack) == (0.75, 0.25)
    assert scorer.model_id.startswith("pad-")


def test_it_looks_at_the_measured_crop_whatever_the_embedder_takes(manifest: Path) -> None:
    bright = np.full((112, 112, 3), 255, np.uint8)
    scorer = PadScorer(manifest=manifest, threads=1)
    assert scorer.score(FRAME, face(bright, np.zeros((96, 96, 3), np.uint8))) > 0.9


@pytest.mark.parametrize(("near", "around"), [(255, 0), (0, 255)])
def test_the_look_that_is_less_sure_of_a_live_face_decides(tmp_path: Path, near: int, around: int) -> None:
    scorer = PadScorer(manifest=write_pad(tmp_path, looks_around=True), threads=1)
    frame = np.full((480, 640, 3), around, np.uint8)
    assert scorer.score(frame, plain(near)) < 0.05
    assert scorer.score(np.full_like(frame, 255), plain(255)) > 0.9


@pytest.mark.parametrize("place", [0.0, float("nan")])
def test_five_points_in_one_place_are_nobody(manifest: Path, place: float) -> None:
    nobody = replace(plain(255), landmarks=np.full((5, 2), place, np.float32))
    assert PadScorer(manifest=manifest, threads=1).score(FRAME, nobody) == 0


@pytest.mark.parametrize("turn_deg", [0, 25])
def test_a_face_stands_where_its_landmarks_are(turn_deg: float) -> None:
    center, width_px = face_place(points((200, 130), 96, turn_deg))
    assert center == pytest.approx([200, 130], abs=0.01)
    assert width_px == pytest.approx(96, rel=1e-4)


def test_the_wide_look_is_the_face_with_its_surroundings_in_the_middle() -> None:
    frame = FRAME.copy()
    side = round(WIDE_LOOK * 100)
    frame[240 - side // 2 : 240 + side // 2, 320 - side // 2 : 320 + side // 2] = 60
    frame[190:290, 270:370] = 200  # as wide as the face
    look = wide_look(frame, points((320, 240), 100))
    assert (look.shape, look.dtype) == ((112, 112, 3), np.uint8)
    assert (look[2:-2, 2:-2] >= 60).all()
    bright = np.flatnonzero((look[56] > 130).all(axis=1))
    assert len(bright) == pytest.approx(112 / WIDE_LOOK, abs=1.5)
    assert bright.mean() == pytest.approx(55.5, abs=1)


@pytest.mark.parametrize(
    "center", [(0, 0), (639, 479), (-50, 240), (320, 900), (320, 240)], ids=lambda at: f"{at[0]},{at[1]}"
)
@pytest.mark.parametrize("width_px", [1, 80, 3000])
def test_where_the_frame_ends_its_edge_goes_on(center: tuple[int, int], width_px: int) -> None:
    frame = np.full((480, 640, 3), 90, np.uint8)
    look = wide_look(frame, points(center, width_px))
    assert look.shape == (112, 112, 3)
    assert (look == 90).all()


@pytest.mark.parametrize("logit", [-1e6, -800.0, 0.0, 800.0, 1e6])
def test_a_share_stays_in_bounds(logit: float) -> None:
    assert 0 <= sigmoid(logit) <= 1
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)


@pytest.mark.parametrize(
    "crop", [np.zeros((96, 96, 3), np.uint8), np.zeros((112, 112, 3), np.float32)], ids=["size", "type"]
)
def test_another_crop_is_refused(manifest: Path, crop: Any) -> None:
    with pytest.raises(ModelError, match="expects an aligned face"):
        PadScorer(manifest=manifest, threads=1).score(FRAME, face(crop))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unsure", 1.2),
        ("unsure", None),
        ("unsure", True),
        ("attack", -0.1),
        ("attack", 0.7),  # above unsure
        ("attack", float("nan")),
        ("alignment", "other"),
        ("model_id", "pad-000000000000"),
        ("sha256", "00"),
    ],
)
def test_a_contradictory_manifest_names_the_key(manifest: Path, key: str, value: Any) -> None:
    change(manifest, **{key: value})
    with pytest.raises(ModelError, match=f"key {key} expects"):
        load_liveness_manifest(manifest)


@pytest.mark.parametrize("key", ["unsure", "attack", "alignment", "model_id"])
def test_a_missing_key_is_named(manifest: Path, key: str) -> None:
    values = json.loads(manifest.read_text())
    del values[key]
    manifest.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=f"expects key {key}"):
        load_liveness_manifest(manifest)


def test_another_kind_of_network_is_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path, "tiny", 112, 16)
    change(path, unsure=0.5, attack=0.5)
    with pytest.raises(ModelError, match=r"input\.shape"):
        load_liveness_manifest(path)


def test_a_changed_network_is_refused(manifest: Path) -> None:
    file = manifest.with_suffix(".tflite")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="sha256"):
        PadScorer(manifest=manifest, threads=1)


def test_thresholds_may_be_equal_and_extreme(manifest: Path) -> None:
    change(manifest, unsure=1, attack=0)
    loaded = load_liveness_manifest(manifest)
    assert (loaded.unsure, loaded.attack) == (1.0, 0.0)
