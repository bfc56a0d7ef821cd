"""scripts/measure/evaluate_pad.py on two portraits and a tiny network: every group counted, with exact intervals."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training tools: make test-train")

from device.numeric.intervals import clopper_pearson
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from models.pad.people import DEVELOPMENT_PEOPLE, TEST_PEOPLE
from models.pad.simulator.scene import SPECIES
from scripts.measure import evaluate_pad
from scripts.measure.pad_frames import AS_IT_IS, NO_EDGE, TEST, THROUGH_CAMERA, half_of
from tests.support.photos import model_file, photo
from tests.support.tiny_model import write_pad


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """Write an archive of two test people, bright live and dark printed recorded pictures, and a tiny network."""
    names = [name for name in (f"Person_{number}" for number in range(40)) if half_of(name) == TEST][:2]
    with zipfile.ZipFile(tmp_path / "lfw.zip", "w") as archive:
        for person, name in zip(names, ("astronaut", "hopper"), strict=True):
            data = cv2.imencode(".webp", cv2.cvtColor(photo(name), cv2.COLOR_RGB2BGR))[1].tobytes()
            archive.writestr(f"{person}/{person}_0001.webp", data)
    person = np.array([TEST_PEOPLE[0]] * 6 + [DEVELOPMENT_PEOPLE[0]] * 4)
    live = np.array([True, True, True, False, False, False, True, True, False, False])
    level = np.where(live, 250, 5).astype(np.uint8)
    level[0] = 5  # a dark live one is taken for an attack
    near = np.broadcast_to(level[:, None, None, None], (10, 112, 112, 3))
    inside = np.zeros((10, 4), np.float32)
    np.savez(tmp_path / "recorded.npz", near=near, wide=near, live=live, person=person, inside=inside)
    path = write_pad(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"development": {"balanced": 0.5}}))
    return tmp_path


def test_every_group_is_counted(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asset in (FACE_DETECTOR, FACE_MESH):
        model_file(asset)
    monkeypatch.setattr(evaluate_pad, "RUNS", 3)
    out = material / "test.json"
    options = ("--lfw", material, "--recorded", material / "recorded.npz", "--people", 2, "--json", out)
    assert evaluate_pad.main([str(material / "pad.json"), *map(str, options)]) == 0
    found = json.loads(out.read_text())
    groups = found["groups"]
    simulated = {AS_IT_IS, THROUGH_CAMERA, *SPECIES, NO_EDGE}
    everybody = groups.pop(evaluate_pad.ALL_LIVE)
    assert everybody["pictures"] == 5
    assert set(groups) == {evaluate_pad.RECORDED_LIVE, evaluate_pad.RECORDED_PRINT, *simulated}
    assert all(groups[name]["pictures"] == 1 for name in simulated)
    live, printed = groups[evaluate_pad.RECORDED_LIVE], groups[evaluate_pad.RECORDED_PRINT]
    assert (live["scored"], printed["scored"]) == (3, 3)  # of the test people, not of the others
    assert live["error"] == pytest.approx(
        dict(zip(("value", "low", "high"), (1 / 3, *clopper_pearson(1, 3)), strict=True))
    )
    assert printed["error"]["value"] == 0
    assert found["time"]["pad_ms"] > 0


def test_a_missing_archive_is_named(material: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--lfw", material / "none", "--recorded", material / "recorded.npz")
    assert evaluate_pad.main([str(material / "pad.json"), *map(str, options)]) == 2
    assert "lfw.zip" in capsys.readouterr().err
