"""What is shipped in models/: files match their manifests, cards their figures, and figures their targets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[1] / "models"
MANIFESTS = sorted((MODELS / "weights").glob("*.json"))


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.stem)
def manifest(request):
    return json.loads(request.param.read_text())


def test_the_default_is_shipped():
    assert "mobilefacenet" in [path.stem for path in MANIFESTS]


def test_file_is_the_one_of_the_manifest(manifest):
    data = (MODELS / "weights" / manifest["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest["sha256"]
    assert manifest["model_id"] == f"{manifest['name']}-{manifest['sha256'][:12]}"
    assert len(data) == manifest["bytes"] <= 1_500_000


def test_thresholds_rise_as_the_rate_falls_and_hold_on_other_subjects(manifest):
    values = [manifest["thresholds"][fmr] for fmr in ("1e-3", "1e-4", "1e-5")]
    assert 0 < values[0] < values[1] < values[2] < 1
    for fmr, row in manifest["evaluation"]["int8"]["thresholds"].items():
        assert row["threshold"] == manifest["thresholds"][fmr]
        assert row["fmr_on_others"] < 3 * float(fmr)


def test_recorded_figures_meet_the_targets(manifest):
    evaluation = manifest["evaluation"]
    assert evaluation["int8"]["lfw_accuracy"] >= 98.0
    assert evaluation["fp32"]["lfw_accuracy"] - evaluation["int8"]["lfw_accuracy"] <= 0.2


def test_card_gives_the_figures_of_the_manifest(manifest):
    card = (MODELS / "cards" / f"{manifest['name']}.md").read_text()
    figures = manifest["evaluation"]["int8"]
    assert manifest["model_id"] in card
    assert f"| int8 | {figures['lfw_accuracy']:.2f} ± {figures['lfw_standard_error']:.2f} |" in card
    for fmr, threshold in manifest["thresholds"].items():
        tar = figures[f"tar_at_{fmr}"]
        assert f"{tar['value']:.2f} [{tar['low']:.2f}, {tar['high']:.2f}]" in card
        assert f"| {fmr} | {threshold:.4f} |" in card
