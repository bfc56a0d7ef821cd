"""scripts/calibrate_threshold.py as a command: what it prints follows the gallery, the config and what was measured."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike
from scripts import calibrate_threshold
from tests.support.checkout import ROOT
from tests.support.tiny_model import write_tiny

TINY = str(ROOT / "tests/data/tiny.json")


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.db"
    rows = np.eye(16, dtype=np.float32)
    with Gallery(path, model_id="tiny", dimension=16, read_only=False) as made:
        made.enroll("alice", rows[:2], replace=False)
        pair = LookAlike("alice", 0.9, 0.97, 0.96, 0.99)
        made.enroll("bob", rows[2:5], replace=False, look_alikes=[pair])
    return path


def calibrate(capsys: pytest.CaptureFixture[str], gallery: Path, *arguments: str, code: int = 0) -> str:
    options = ["--config", "/dev/null", "--gallery", str(gallery)]
    assert calibrate_threshold.main([*options, *arguments]) == code
    told = capsys.readouterr()
    return told.err if code else told.out


def test_the_shipped_network_tells_threshold_interval_and_table(gallery, tmp_path, capsys):
    out = calibrate(capsys, gallery, "--picture", str(tmp_path / "curve.png"))
    manifest = json.loads((ROOT / "models/weights/mobilefacenet.json").read_text())
    strictest = f"{manifest['thresholds']['1e-5']:.4f}"
    assert f"{manifest['model_id']}, gallery {gallery}: 5 templates" in out
    assert f"threshold {strictest}, set for FMR 1e-05" in out
    kept = re.search(r"asked 0.0005, kept 0.0005 \[(\S+), (\S+)\]", out)
    assert kept
    assert 1e-4 < float(kept[1]) < 5e-4 < float(kept[2]) < 1e-3
    assert "at most 5 templates x 30 looks / 3" in out
    assert "in words: at most one stranger in 2,000 tries" in out
    assert "cannot be promised" not in out
    assert "alice has a look-alike: needs 0.9900, and a challenge" in out
    (row,) = re.findall(r"^ +5 .*$", out, re.MULTILINE)
    assert row.split()[-2:] == [strictest, f"{strictest}*"]
    assert cv2.imread(str(tmp_path / "curve.png")).shape[1] > 800


def test_a_larger_gallery_asks_for_more_and_none_for_one_template(gallery, tmp_path, capsys):
    config = tmp_path / "config.toml"
    config.write_text("false_accepts_per_approach = 1e-3\n")
    arguments = ["--config", str(config)]
    found = {}
    for path in (gallery, tmp_path / "absent.db"):
        out = calibrate(capsys, path, *arguments)
        templates, threshold = re.search(r"(\d+) templates\nthreshold (0\.\d+)", out).groups()
        found[int(templates)] = float(threshold)
    assert found[5] > found[0]
    assert not (tmp_path / "absent.db").exists()


def test_a_manifest_without_figures_has_no_interval(gallery, tmp_path, capsys):
    out = calibrate(capsys, gallery, "--model", TINY, "--picture", str(tmp_path / "curve.png"))
    assert "[0, 1] (the manifest's thresholds, no figures)" in out
    assert (tmp_path / "curve.png").is_file()


def test_a_measured_curve_is_taken_with_its_own_intervals(gallery, tmp_path, capsys):
    manifest = write_tiny(tmp_path, "tiny", side=112, dimension=16)
    values = json.loads(manifest.read_text())
    strictest = max(values["thresholds"].values())
    curve = [
        {"threshold": strictest - 0.1, "fmr": 1e-4, "low": 5e-5, "high": 2e-4},
        {"threshold": strictest + 0.1, "fmr": 1e-6, "low": 1e-7, "high": 8e-6},
    ]
    values["evaluation"] = {"int8": {"non_mated_pairs": 4_000_000, "thresholds": {}, "curve": curve}}
    manifest.write_text(json.dumps(values))
    out = calibrate(capsys, gallery, "--model", str(manifest))
    assert "FMR 1e-05 [2.2e-06, 4e-05] (LFW, of the manifest, 4,000,000 pairs, 95 % by bootstrap" in out


def test_the_curve_can_be_measured_anew(benchmark, gallery, capsys):
    out = calibrate(capsys, gallery, "--lfw", str(benchmark))
    assert "LFW, measured now" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--lfw", "/nonexistent"], 2, "has no lfw.zip"),
        (["--picture", "/nonexistent/curve.png"], 2, "there is no such folder"),
        (["--model", "mobilefacenett"], 3, "did you mean 'mobilefacenet'?"),
    ],
)
def test_mistakes_are_one_line(gallery, capsys, arguments, code, said):
    error = calibrate(capsys, gallery, *arguments, code=code)
    assert said in error
    assert error.count("\n") == 1


def test_a_picture_without_the_library_that_draws_it_is_one_line(gallery, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = calibrate(capsys, gallery, "--picture", "curve.png", code=2)
    assert "needs matplotlib" in error
    assert error.count("\n") == 1


def test_a_damaged_gallery_is_one_line(tmp_path, capsys):
    path = Path(shutil.copy(ROOT / "README.md", tmp_path / "gallery.db"))
    assert calibrate(capsys, path, code=5).count("\n") == 1
