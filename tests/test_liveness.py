"""The liveness network's adapter, on a real tiny network that takes bright faces for live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device.errors import ModelError
from device.liveness import PadScorer, load_liveness_manifest, sigmoid
from device.types import AlignedFace, HeadPose, Image
from tests.make_tiny_model import write_pad, write_tiny

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
    return AlignedFace(seen, measured, nothing[:, :2], nothing, 1.0, HeadPose(0, 0, 0), (0.3, 0.3))


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
    with pytest.raises(ModelError, match="one logit"):
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
