"""The liveness networks' adapter, on real tiny networks that take bright faces for live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device.errors import ModelError
from device.types import Image
from device.vision.liveness import PadScorer, load_liveness_manifest, near_look, sigmoid, wide_look
from tests.support.tiny_model import write_pad, write_tiny

FRAME = np.zeros((480, 640, 3), np.uint8)
BOX = (280.0, 200.0, 80.0, 80.0)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_pad(tmp_path)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def plain(level: int) -> Image:
    return np.full_like(FRAME, level)


def test_a_score_is_the_share_of_the_sum_of_both_logits(tmp_path: Path) -> None:
    for looks_around, times in ((False, 1), (True, 2)):
        scorer = PadScorer(manifest=write_pad(tmp_path, looks_around=looks_around), threads=1)
        for level in (0, 64, 128, 200, 255):
            logit = times * 6 * (level - 127.5) / 128  # what the tiny networks were made to answer
            assert scorer.score(plain(level), BOX) == pytest.approx(sigmoid(logit), abs=0.03)


def test_the_thresholds_are_the_manifests(manifest: Path) -> None:
    change(manifest, unsure=0.75, attack=0.25)
    scorer = PadScorer(manifest=manifest, threads=1)
    assert (scorer.unsure, scorer.attack) == (0.75, 0.25)
    assert scorer.model_id.startswith("pad-")


def test_the_near_look_sees_the_face_and_the_wide_one_its_surroundings(tmp_path: Path) -> None:
    frame = plain(0)
    frame[180:300, 260:380] = 255  # what the near look sees
    near = PadScorer(manifest=write_pad(tmp_path), threads=1)
    assert near.score(frame, BOX) > 0.95
    both = PadScorer(manifest=write_pad(tmp_path, looks_around=True), threads=1)
    assert both.score(frame, BOX) < near.score(frame, BOX)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 0, 0), (10, 10, float("nan"), 20), (10, 10, 20, -5), (5000, 5000, 80, 80), (0, 0, 1e9, 1e9)],
    ids=str,
)
def test_a_box_of_nothing_is_nobody(manifest: Path, box: tuple[float, float, float, float]) -> None:
    assert PadScorer(manifest=manifest, threads=1).score(plain(255), box) == 0


def test_the_near_look_is_the_box_and_half_of_it_around() -> None:
    frame = plain(60)
    frame[200:280, 280:360] = 200
    look = near_look(frame, BOX)
    assert (look.shape, look.dtype) == ((128, 128, 3), np.uint8)
    bright = np.flatnonzero((look[64] > 130).all(axis=1))
    assert len(bright) == pytest.approx(128 / 1.5, abs=1.5)
    assert bright.mean() == pytest.approx(63.5, abs=1)


def test_the_wide_look_is_as_wide_as_the_frame_has_room_for() -> None:
    frame = plain(60)
    frame[200:280, 280:360] = 200
    look = wide_look(frame, BOX)
    assert (look.shape, look.dtype) == ((80, 80, 3), np.uint8)
    assert len(np.flatnonzero((look[40] > 130).all(axis=1))) == pytest.approx(80 / 2.7, abs=1.5)
    fills = wide_look(plain(90), (100.0, 40.0, 400.0, 400.0))  # 2.7 boxes are more than the frame has
    assert (fills == 90).all()


@pytest.mark.parametrize("center", [(0, 0), (639, 479), (-30, 240), (320, 500), (320, 240)], ids=str)
@pytest.mark.parametrize("width_px", [2, 80, 460])
def test_where_the_frame_ends_the_near_look_is_black_and_the_wide_one_moves(
    center: tuple[int, int], width_px: int
) -> None:
    box = (center[0] - width_px / 2, center[1] - width_px / 2, float(width_px), float(width_px))
    try:
        near = near_look(plain(90), box)
    except ValueError:
        assert width_px == 2, "a small box may lie outside"
    else:
        assert set(np.unique(near)) <= set(range(91))
    assert (wide_look(plain(90), box) == 90).all()


@pytest.mark.parametrize("logit", [-1e6, -800.0, 0.0, 800.0, 1e6])
def test_a_share_stays_in_bounds(logit: float) -> None:
    assert 0 <= sigmoid(logit) <= 1
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)


@pytest.mark.parametrize(
    "frame", [np.zeros((480, 640), np.uint8), np.zeros((480, 640, 3), np.float32)], ids=["gray", "type"]
)
def test_another_picture_is_refused(manifest: Path, frame: Any) -> None:
    with pytest.raises(ModelError, match="expects a frame"):
        PadScorer(manifest=manifest, threads=1).score(frame, BOX)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unsure", 1.2),
        ("unsure", None),
        ("unsure", True),
        ("attack", -0.1),
        ("attack", 0.7),  # above unsure
        ("attack", float("nan")),
        ("model_id", "pad-000000000000"),
    ],
)
def test_a_contradictory_manifest_names_the_key(manifest: Path, key: str, value: Any) -> None:
    change(manifest, **{key: value})
    with pytest.raises(ModelError, match=f"key {key} expects"):
        load_liveness_manifest(manifest)


def test_a_look_of_another_size_names_the_key(manifest: Path) -> None:
    values = json.loads(manifest.read_text())
    values["wide"], values["near"] = values["near"], values["wide"]
    manifest.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"key near\.input\.shape expects"):
        load_liveness_manifest(manifest)


@pytest.mark.parametrize("key", ["unsure", "attack", "near", "wide", "model_id"])
def test_a_missing_key_is_named(manifest: Path, key: str) -> None:
    values = json.loads(manifest.read_text())
    del values[key]
    manifest.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=f"expects key {key}"):
        load_liveness_manifest(manifest)


def test_another_kind_of_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"near\.file"):
        load_liveness_manifest(write_tiny(tmp_path, "tiny", 112, 16))


@pytest.mark.parametrize("look", ["near", "wide"])
def test_a_changed_network_is_refused(manifest: Path, look: str) -> None:
    file = manifest.with_name(f"pad_{look}.tflite")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="sha256"):
        PadScorer(manifest=manifest, threads=1)


def test_thresholds_may_be_equal_and_extreme(manifest: Path) -> None:
    change(manifest, unsure=1, attack=0)
    loaded = load_liveness_manifest(manifest)
    assert (loaded.unsure, loaded.attack) == (1.0, 0.0)
