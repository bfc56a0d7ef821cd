"""What is shipped in models/: files match their manifests, cards their figures, and figures their targets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from device import config

MODELS = Path(__file__).parents[3] / "models"
PAD = MODELS / "weights" / "pad.json"  # names two networks; device.vision.liveness holds them to it
MANIFESTS = sorted(set((MODELS / "weights").glob("*.json")) - {PAD})
LARGEST_BYTES = 6_000_000
# What release 0.1.0 shipped as the default, measured in the same way on the same photographs, in percent.
LAST_RELEASE = {"lfw_accuracy": 99.13, "tar_at_1e-3": 97.91, "tar_at_1e-4": 94.52, "tar_at_1e-5": 87.96}


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.stem)
def manifest(request):
    return json.loads(request.param.read_text())


@pytest.fixture
def embedder(manifest):
    if "thresholds" not in manifest:
        pytest.skip("no embedder: it has no thresholds")
    return manifest


def test_every_network_of_the_config_is_shipped():
    assert {path.stem for path in MANIFESTS} == {*config.MODELS, "landmarks"}


def test_the_default_is_no_worse_than_the_last_release():
    manifest = json.loads((MODELS / "weights" / f"{config.Config().model}.json").read_text())
    figures = manifest["evaluation"]["int8"]
    for name, before in LAST_RELEASE.items():
        now = figures[name] if name == "lfw_accuracy" else figures[name]["value"]
        assert now >= before, name


def test_file_is_the_one_of_the_manifest(manifest):
    data = (MODELS / "weights" / manifest["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest["sha256"]
    assert manifest["model_id"] == f"{manifest['name']}-{manifest['sha256'][:12]}"
    assert len(data) == manifest["bytes"] <= LARGEST_BYTES


def test_thresholds_rise_as_the_rate_falls_and_hold_on_other_subjects(embedder):
    values = [embedder["thresholds"][fmr] for fmr in ("1e-3", "1e-4", "1e-5")]
    assert 0 < values[0] < values[1] < values[2] < 1
    for fmr, row in embedder["evaluation"]["int8"]["thresholds"].items():
        assert row["threshold"] == embedder["thresholds"][fmr]
        assert row["fmr_on_others"] < 3 * float(fmr)


def test_int8_costs_little(embedder):
    """At most 0.2 points, or what the measurement is uncertain by where that is more; the default has no such leave."""
    int8, fp32 = embedder["evaluation"]["int8"], embedder["evaluation"]["fp32"]
    leave = 0.0 if embedder["name"] == config.Config().model else int8["lfw_standard_error"]
    assert fp32["lfw_accuracy"] - int8["lfw_accuracy"] <= max(0.2, leave) + 1e-9


def test_card_gives_the_figures_of_the_manifest(embedder):
    card = (MODELS / "cards" / f"{embedder['name']}.md").read_text()
    figures = embedder["evaluation"]["int8"]
    assert embedder["model_id"] in card
    assert f"| int8 | {figures['lfw_accuracy']:.2f} ± {figures['lfw_standard_error']:.2f} |" in card
    for fmr, threshold in embedder["thresholds"].items():
        tar = figures[f"tar_at_{fmr}"]
        assert f"{tar['value']:.2f} [{tar['low']:.2f}, {tar['high']:.2f}]" in card
        assert f"| {fmr} | {threshold:.4f} |" in card


def test_the_landmark_card_gives_the_figures_of_its_manifest():
    path = MODELS / "weights" / "landmarks.json"
    if not path.exists():
        pytest.skip("no landmark network is shipped")
    manifest, card = json.loads(path.read_text()), (MODELS / "cards" / "landmarks.md").read_text()
    measured = manifest["evaluation"]
    assert manifest["model_id"] == measured["model_id"]
    assert manifest["model_id"] in card
    for kind in ("int8", "fp32"):
        figures = measured[kind]
        parts = " | ".join(f"{value:.2f}" for value in figures["error_parts"].values())
        row = f"| {kind} | {figures['error']:.2f} | {figures['error_five']:.2f} | {parts} |"
        assert row in card


def test_the_liveness_figures_are_those_of_the_manifest():
    """In the card and in docs/how/liveness.md: every group's errors with intervals, and the thresholds."""
    manifest = json.loads(PAD.read_text())
    measured = manifest["evaluation"]
    assert measured["model_id"] == manifest["model_id"]
    assert (measured["unsure"], measured["attack"]) == (manifest["unsure"], manifest["attack"])
    for page in (MODELS / "cards" / "pad.md", MODELS.parent / "docs" / "how" / "liveness.md"):
        text = page.read_text()
        assert manifest["model_id"] in text
        assert f"`unsure` {manifest['unsure']:.3f}, `attack` {manifest['attack']:.3f}" in text
        for name, row in measured["groups"].items():
            cells = f"{percent(row['error_at_unsure'])} | {percent(row['below_attack'])}"
            assert f"| {name} | {row['looks']} | {cells} |" in text, name


def percent(interval):
    value, low, high = (100 * interval[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def test_the_liveness_networks_lose_nothing_in_int8():
    """Rank correlation of the int8 files with the trained network, on the looks to choose on."""
    assert json.loads(PAD.read_text())["development"]["rank_to_fp32"] > 0.99


def test_the_liveness_networks_are_small():
    manifest = json.loads(PAD.read_text())
    assert sum(manifest[look]["bytes"] for look in ("near", "wide")) <= 1_000_000
    assert (
        manifest["evaluation"]["time"]["share"] < 0.7
    )  # of the default embedder's time, measured in one run
