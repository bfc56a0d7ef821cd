"""Enrolling somebody who looks like another."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import enroll as enroll_program
from device.build import WEIGHTS, look_alike_margin
from device.gallery.gallery import Gallery
from device.gallery.rows import Need
from device.numeric.similarity import l2_normalize
from device.vision.embed import load_manifest
from tests.support.checkout import ASTRONAUT, enroll, error_of, people
from tests.support.photos import photo, photo_path

pytestmark = pytest.mark.usefixtures("real_model")


def test_a_strangers_face_is_not_added_to_a_name(stored: Path, options: list[str]) -> None:
    done = enroll("--name", "Eileen", "--images", str(photo_path("hopper")), "--no-sheet", *options)
    assert "this is not the face that is enrolled as 'Eileen'" in error_of(done, 8)
    assert people(stored) == {"Eileen": 1}


def test_replace_starts_over(stored: Path, options: list[str]) -> None:
    done = enroll("--name", "Eileen", "--images", ASTRONAUT, "--replace", "--no-sheet", *options)
    assert done.returncode == 0, done.stderr
    assert people(stored) == {"Eileen": 1}


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_a_face_unlike_the_stored_one_replaces_it_after_a_question(
    answer: str, code: int, stored: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    before = stored.read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    arguments = ["--name", "Eileen", "--images", str(photo_path("hopper")), "--replace", "--no-sheet"]
    assert enroll_program.main([*arguments, *options]) == code
    told = capsys.readouterr().err
    assert "this is not the face that is enrolled as 'Eileen': replace her or his 1 template?" in told
    assert (stored.read_bytes() == before) == (code != 0)
    if code:
        assert enroll_program.main([*arguments, "--yes", *options]) == 0


def test_whom_no_threshold_parts_is_refused(stored: Path, options: list[str]) -> None:
    line = error_of(enroll("--name", "Twin", "--images", ASTRONAUT, "--no-sheet", *options), 8)
    assert "'Twin' looks like 'Eileen', who is enrolled, and no threshold parts them" in line
    assert "--allow-lookalike" in line
    assert people(stored) == {"Eileen": 1}
    assert needs(stored) == {}


def test_an_allowed_look_alike_is_challenged_and_so_is_the_other(stored: Path, options: list[str]) -> None:
    arguments = ["--images", ASTRONAUT, "--no-sheet", "--allow-lookalike", "--json"]
    done = enroll("--name", "Twin", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "warning: 'Twin' looks like 'Eileen'" in done.stderr
    assert "challenges both" in done.stderr
    told = json.loads(done.stdout)
    assert (told["looks_like"], told["challenged"]) == (["Eileen"], True)
    assert people(stored) == {"Eileen": 1, "Twin": 1}
    assert {name: need.challenge for name, need in needs(stored).items()} == {"Eileen": True, "Twin": True}
    assert enroll("--list", *options).stdout.count("challenged: has a look-alike") == 2


def needs(gallery: Path) -> dict[str, Need]:
    with Gallery(gallery, model_id=None, dimension=1, read_only=True) as opened:
        return dict(opened.needs())


def two_views(folder: Path) -> list[str]:
    """Write two views of the astronaut that are no near-duplicates."""
    paths = [folder / "straight.png", folder / "narrow.png"]
    narrow = cv2.resize(photo("astronaut"), (440, 560))
    for path, view in zip(paths, (photo("astronaut"), narrow), strict=True):
        cv2.imwrite(str(path), view[..., ::-1])
    return [str(path) for path in paths]


def add_somebody_like(gallery: Path, name: str, similarity: float) -> None:
    """Enroll two made-up templates of which the nearest is at a similarity to Eileen's."""
    manifest = load_manifest(WEIGHTS / "mobilefacenet.json")
    size = manifest.embedding_dim
    with Gallery(gallery, model_id=manifest.model_id, dimension=size, read_only=False) as opened:
        (theirs,) = opened.templates("Eileen")
        away = np.random.default_rng(len(name)).normal(size=(2, size))
        away = l2_normalize(away - (away @ theirs)[:, None] * theirs)
        nearest = similarity * theirs + np.sqrt(1 - similarity**2) * away[0]
        opened.enroll(name, l2_normalize(np.stack([nearest, nearest + 0.4 * away[1]])), replace=False)


def test_a_look_alike_whom_a_threshold_parts_raises_it_for_both(
    stored: Path, options: list[str], tmp_path: Path
) -> None:
    add_somebody_like(stored, "Ellen", 0.5)
    add_somebody_like(stored, "Erin", 0.33)
    arguments = ["--images", *two_views(tmp_path), "--replace", "--no-sheet", "--json"]
    done = enroll("--name", "Eileen", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "'Eileen' looks like 'Ellen', who is enrolled: the door asks more of both" in done.stderr
    told = json.loads(done.stdout)
    assert (told["templates"], told["looks_like"], told["challenged"]) == (2, ["Ellen"], False)
    found = needs(stored)
    assert found["Eileen"] == found["Ellen"]
    assert (
        found["Erin"].threshold < found["Ellen"].threshold
    )  # parted by the door, and stored for a lenient one
    assert found["Eileen"].challenge is False
    margin = look_alike_margin(load_manifest(WEIGHTS / "mobilefacenet.json"))
    assert 0.5 + margin - 0.1 < found["Eileen"].threshold <= 0.5 + margin + 0.1
    check = enroll("--check", "Eileen", "--images", ASTRONAUT, "--json", *options)
    assert json.loads(check.stdout)["threshold"] == pytest.approx(found["Eileen"].threshold, abs=1e-4)


def test_a_promise_that_cannot_be_kept_is_said(stored: Path, options: list[str], tmp_path: Path) -> None:
    arguments = ["--images", *two_views(tmp_path), "--replace", "--no-sheet"]
    config = tmp_path / "strict.toml"
    config.write_text("false_accepts_per_approach = 1e-4\n")
    done = enroll("--name", "Eileen", *arguments, *options, "--config", str(config))
    assert done.returncode == 0, done.stderr
    assert "note: at most one stranger in 10,000 tries cannot be promised with 2 templates" in done.stderr
    assert "keeps one stranger in 5,000 tries" in done.stderr
