"""What was true before the house was built is true in it: recorded decisions, network outputs and stored files.

tests/data/release_0_1.zip was made once by the programs of the release before the move, and is never made anew.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

import enroll
from device.build import build_embedder, build_gallery, build_liveness
from device.config import Config, load_config
from scripts import audit, backup
from tests.support import recorded

RECORD = json.loads(recorded.RECORD.read_text())
OLD = recorded.DATA / "release_0_1.zip"
OLD_MODEL = "mobilefacenet-bff05a9aba37"
ENROLLED = {  # UTC; the list shows the time of this place
    "Eileen Collins": datetime(2026, 11, 28, 15, 59, 24, tzinfo=timezone.utc),
    "Grace Hopper": datetime(2026, 11, 28, 15, 59, 25, tzinfo=timezone.utc),
}
PEOPLE = "".join(
    f"{name}: 1 template, enrolled {at.astimezone():%Y-%m-%d %H:%M:%S}\n" for name, at in ENROLLED.items()
)
PASSPHRASE = "a long passphrase of today"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a door of the last release: configuration, gallery with its key, audit, backup."""
    folder = tmp_path / "old"
    folder.mkdir(mode=0o700)
    with ZipFile(OLD) as files:
        files.extractall(folder)
    for file in folder.iterdir():
        file.chmod(0o600)
    return folder


def people(listed: str) -> str:
    """Return a list without the rules below each name, which older releases did not print."""
    return "".join(line for line in listed.splitlines(keepends=True) if not line.startswith("  "))


def options(folder: Path) -> list[str]:
    return ["--config", str(folder / "config.toml"), "--gallery", str(folder / "gallery.db")]


@pytest.mark.usefixtures("real_model")
def test_the_record_is_of_the_shipped_networks() -> None:
    assert RECORD["models"] == recorded.model_ids(), (
        f"new weights: look at what changed, then record it: {recorded.COMMAND}"
    )


@pytest.mark.usefixtures("real_model")
@pytest.mark.parametrize("name", recorded.PORTRAITS)
def test_the_networks_give_the_recorded_bytes(name: str) -> None:
    assert recorded.outputs(name) == RECORD["portraits"][name]


@pytest.mark.usefixtures("real_model")
@pytest.mark.parametrize("name", recorded.PORTRAITS)
def test_a_portrait_is_aligned_as_recorded(name: str) -> None:
    """To a hair: detector and mesh calculate in floats, which differ a little by machine."""
    face, (crop, near, wide) = recorded.aligned(name), recorded.read_looks(name)
    embedder, scorer = build_embedder(Config()), build_liveness(Config())
    assert scorer is not None
    assert float(embedder.embed(face.image) @ embedder.embed(crop)) > 0.999
    seen = scorer.score(recorded.photo(name), recorded.detected(name).box)
    assert seen == pytest.approx(scorer.score_of(near, wide), abs=0.02)


@pytest.mark.usefixtures("real_model")
def test_the_demo_is_decided_as_recorded() -> None:
    assert recorded.decisions() == RECORD["demo"]


def test_an_old_gallery_opens_and_names_its_people(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enroll.main(["--list", *options(old)]) == 0
    assert people(capsys.readouterr().out) == PEOPLE
    assert enroll.main(["--show", "Eileen Collins", *options(old)]) == 0
    assert "access face+pin, hours Mon-Fri 08:00-18:00, pin" in capsys.readouterr().out
    assert enroll.main(["--show", "Grace Hopper", *options(old)]) == 0
    assert "access face, until 2031-01-31, entries 3" in capsys.readouterr().out


@pytest.mark.usefixtures("real_model")
def test_templates_of_an_old_gallery_still_serve(old: Path) -> None:
    config = load_config(old / "config.toml")
    embedder = build_embedder(config)
    if embedder.model_id != OLD_MODEL:
        pytest.skip("the gallery is of another network, and everybody is enrolled again")
    near, *_ = recorded.read_looks("astronaut")
    config = replace(config, gallery=str(old / "gallery.db"))
    with build_gallery(config, embedder.manifest, read_only=True) as gallery:
        template = gallery.templates("Eileen Collins")[0]
    assert float(np.dot(template, embedder.embed(near))) > 0.9


def test_an_old_configuration_says_what_it_said(old: Path) -> None:
    config = load_config(old / "config.toml")
    assert (config.threads, config.false_accepts_per_approach) == (2, 2e-4)
    assert (config.decision.k, config.decision.n, config.quality.min_sharpness) == (2, 4, 40.0)
    assert (config.lock.pin, config.lock.pulse_s, config.liveness.buzzer_pin) == (27, 4.0, 23)
    assert (config.liveness.unproven, config.policy.wrong_pins, config.audit.keep_files) == ("allow", 4, 5)


def test_an_old_audit_log_is_whole(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["verify", *options(old)]) == 0
    assert "7 records, whole" in capsys.readouterr().out
    assert audit.main(["show", *options(old)]) == 0
    assert "4 granted: Grace Hopper, reason face" in capsys.readouterr().out


@pytest.mark.parametrize("by", ["key", "passphrase"])
def test_an_old_backup_is_restored(
    full_cost: None, old: Path, tmp_path: Path, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the key in place of a gallery that lost a person; by the passphrase on a new board."""
    (tmp_path / "pass").write_text(f"{PASSPHRASE}\n")
    how = ["--no-passphrase"] if by == "key" else ["--passphrase-file", str(tmp_path / "pass")]
    file = shutil.copy(old / "gallery.backup", tmp_path)
    if by == "passphrase":
        for gone in old.glob("gallery.*"):
            gone.unlink()
    assert backup.main(["restore", str(file), *how, *options(old)]) == 0
    capsys.readouterr()
    assert enroll.main(["--list", *options(old)]) == 0
    assert people(capsys.readouterr().out) == PEOPLE
