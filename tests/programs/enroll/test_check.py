"""enroll.py --check: whether the stored templates serve."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.checkout import ASTRONAUT, enroll, error_of
from tests.support.photos import photo_path

pytestmark = pytest.mark.usefixtures("real_model")


# --check


def test_check_says_that_templates_serve_and_changes_nothing(stored: Path, options: list[str]) -> None:
    before = stored.read_bytes()
    done = enroll("--check", "Eileen", "--images", ASTRONAUT, *options)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"Eileen: 1 of 1 looks match \(similarity 0\.9\d to 0\.9\d, needed 0\.4\d\): the templates serve",
        done.stdout,
    )
    assert stored.read_bytes() == before
    assert not list(stored.parent.glob("*.png"))


def test_check_of_another_face_says_that_they_do_not(stored: Path, options: list[str]) -> None:
    before = stored.read_bytes()
    done = enroll("--check", "Eileen", "--images", str(photo_path("hopper")), "--json", *options)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["event"], told["looks"], told["matching"], told["serves"]) == ("check", 1, 0, False)
    assert told["highest"] < told["threshold"]
    assert told["taken_for"] is None
    assert stored.read_bytes() == before


def test_check_names_whom_the_door_takes_a_face_for(stored: Path, options: list[str]) -> None:
    enroll("--name", "Grace", "--images", str(photo_path("hopper")), "--no-sheet", *options)
    done = enroll("--check", "Grace", "--images", ASTRONAUT, *options)
    assert done.returncode == 1
    assert "the door takes this face for 'Eileen'" in done.stdout


def test_check_at_a_camera(stored: Path, options: list[str], person_clip: Path) -> None:
    arguments = ["--camera", str(person_clip), "--samples", "1"]
    done = enroll("--check", "Eileen", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "the templates serve" in done.stdout


def test_check_of_nobody(stored: Path, options: list[str], tmp_path: Path, empty_config: Path) -> None:
    line = error_of(enroll("--check", "bob", "--images", ASTRONAUT, *options), 2)
    assert "'bob' is not enrolled: enrolled are Eileen" in line
    absent = ["--gallery", str(tmp_path / "absent.db"), "--config", str(empty_config)]
    assert "does not exist" in error_of(enroll("--check", "bob", "--images", ASTRONAUT, *absent), 5)
    assert not (tmp_path / "absent.db").exists()


def test_check_without_a_face(stored: Path, options: list[str], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((300, 300, 3), 90, np.uint8))
    done = enroll("--check", "Eileen", "--images", str(tmp_path / "empty.png"), *options)
    assert "no face" in error_of(done, 8)
