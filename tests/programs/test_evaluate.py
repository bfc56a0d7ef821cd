"""scripts/evaluate.py and prepare_faces.py as commands, on photographs made from two public-domain portraits."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.vision.assets import FACE_DETECTOR, FACE_MESH
from scripts import evaluate
from scripts.train import prepare_faces
from tests.support.checkout import call_program, run_without_torch
from tests.support.photos import model_file, photo
from tests.support.tiny_model import write_tiny

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "models" / "weights" / "mobilefacenet.json"


def run(script, *arguments, cwd):
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_evaluate_reads_photographs_and_writes_figures_and_picture(benchmark, tmp_path):
    result = run(
        "evaluate.py",
        MANIFEST,
        "--lfw",
        benchmark,
        "--json",
        "lfw.json",
        "--picture",
        "lfw.png",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    (figures,) = json.loads((tmp_path / "lfw.json").read_text()).values()
    assert figures["lfw_accuracy"] == 100
    assert figures["no_face_found"] == 1
    assert figures["tar_at_1e-3"]["value"] == 100
    steps = [point["threshold"] for point in figures["curve"]]
    assert steps == sorted(set(steps))
    assert all(0 <= point["low"] <= point["high"] <= 1 for point in figures["curve"])
    assert cv2.imread(str(tmp_path / "lfw.png")).shape[1] > 800


def test_a_half_without_strangers_has_no_share_of_them():
    """It divided by none of them, and wrote NaN, which is no JSON."""
    same, other = np.eye(2, 8, dtype=np.float32)
    rows = np.stack([same, same, other, other, same, same])
    one, *_ = evaluate.thresholds(rows, np.array([0, 0, 1, 1, 2, 2])).values()
    assert one["fmr_on_others"] is None
    assert one["tar_on_others"] is not None
    assert evaluate.thresholds(rows[:4], np.array([0, 0, 1, 1])) == {}
    alone, *_ = evaluate.thresholds(rows, np.array([0, 0, 1, 3, 2, 2])).values()
    assert (alone["fmr_on_others"], alone["tar_on_others"]) == (1.0, None)  # the same face under two names


def test_evaluate_names_what_is_missing(tmp_path):
    result = call_program(evaluate.main, MANIFEST, "--lfw", tmp_path, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "has no lfw.zip" in result.stderr


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ("no pairs\n", "is no LFW pairs list"),
        ("1\t1\na\t1\t2\nb\t1\tc\t1\n", "lacks 4 photographs"),
        ("1\t1\na\t1\t2\na\t1\ta\t2\n", "names one person"),
    ],
)
def test_evaluate_refuses_a_wrong_benchmark_in_one_line(tmp_path, pairs, named):
    model_file(FACE_DETECTOR), model_file(FACE_MESH)
    (tmp_path / "lfw_pairs.txt").write_text(pairs)
    zipfile.ZipFile(tmp_path / "lfw.zip", "w").close()
    result = call_program(evaluate.main, MANIFEST, "--lfw", tmp_path, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().count("\n") == 0
    assert named in result.stderr


def test_evaluate_checks_its_outputs_before_it_runs(benchmark, tmp_path):
    places = ["--lfw", benchmark, "--json", "absent/lfw.json"]
    result = call_program(evaluate.main, MANIFEST, *places, cwd=tmp_path)
    assert result.returncode == 2
    assert "there is no folder absent" in result.stderr


def test_evaluate_takes_names_and_manifests_of_different_sides(benchmark, tmp_path):
    wide = write_tiny(tmp_path, "wide", side=160, dimension=512)
    arguments = ["mobilefacenet", wide, "--lfw", benchmark, "--json", "lfw.json"]
    result = call_program(evaluate.main, *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    names = [model_id.rsplit("-", 1)[0] for model_id in json.loads((tmp_path / "lfw.json").read_text())]
    assert names == ["mobilefacenet", "wide"]


def test_evaluate_names_the_models_that_there_are(benchmark, tmp_path):
    result = call_program(evaluate.main, "mobilefacenett", "--lfw", benchmark, cwd=tmp_path)
    assert result.returncode == 3
    assert "did you mean 'mobilefacenet'?" in result.stderr
    assert result.stderr.count("\n") == 1


def test_prepare_faces_keeps_single_faces_and_their_identity(tmp_path):
    model_file(FACE_DETECTOR), model_file(FACE_MESH)
    for name in ("astronaut", "hopper"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "photos" / name / "1.png"), photo(name)[..., ::-1])
    cv2.imwrite(str(tmp_path / "photos" / "empty.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "photos" / "text.jpg").write_text("not a picture")
    result = run("train/prepare_faces.py", tmp_path / "photos", "--out", tmp_path / "data", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with (tmp_path / "data" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["identity"] for row in rows] == ["0", "1"]
    with zipfile.ZipFile(tmp_path / "data" / "train" / "000.zip") as archive:
        face = cv2.imdecode(np.frombuffer(archive.read(rows[0]["name"]), np.uint8), cv2.IMREAD_COLOR)
    assert face.shape == (112, 112, 3)
    assert "'no face': 1" in result.stdout
    assert "'not a picture': 1" in result.stdout


def test_prepare_faces_of_an_empty_folder_is_one_line(tmp_path):
    model_file(FACE_DETECTOR), model_file(FACE_MESH)
    result = call_program(prepare_faces.main, tmp_path, "--out", tmp_path / "data", cwd=tmp_path)
    assert result.returncode == 2
    assert "holds no photographs" in result.stderr


@pytest.mark.parametrize("script", ["train/train.py", "train/quantize.py", "measure/evaluate_held_out.py"])
def test_training_scripts_without_torch_say_where_it_is(script, tmp_path):
    result = run_without_torch(script, "--help", cwd=tmp_path)
    assert result.returncode == 1
    assert "run it with .venv-train/bin/python" in result.stderr
