"""The real enroll.py, used well and badly; whatever happens, nothing that was stored is lost."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

import enroll as enroll_program
from device.enroll import photographs
from device.errors import GalleryError
from device.gallery.gallery import Gallery
from tests.support.checkout import ASTRONAUT, ROOT, enroll, error_of, people, run_program

pytestmark = pytest.mark.usefixtures("real_model")


def test_enroll_list_remove(tmp_path: Path, options: list[str]) -> None:
    sheet = tmp_path / "sheet.png"
    done = enroll("--name", "alice", "--images", ASTRONAUT, "--sheet", str(sheet), *options)
    assert done.returncode == 0, done.stderr
    assert "enrolled alice: 1 template, no picture in the gallery" in done.stdout
    assert cv2.imread(str(sheet)).shape == (128, 128, 3)
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert "alice: 1 template, enrolled 2" in enroll("--list", *options).stdout
    removed = enroll("--remove", "alice", "--yes", "--sheet", str(sheet), *options)
    assert removed.returncode == 0
    assert "removed alice: 1 template" in removed.stdout
    assert not sheet.exists()
    assert enroll("--list", *options).stdout.strip() == "nobody is enrolled"


def test_json_is_one_object_a_line(options: list[str]) -> None:
    done = enroll("--name", "alice", "--images", ASTRONAUT, "--no-sheet", "--json", *options)
    told = json.loads(done.stdout)
    assert told == {
        "event": "enrolled",
        "subject_id": "alice",
        "templates": 1,
        "looks_like": [],
        "challenged": False,
        "sheet": None,
    }
    (subject,) = json.loads(enroll("--list", "--json", *options).stdout)["subjects"]
    assert (subject["subject_id"], subject["templates"]) == ("alice", 1)


def test_no_picture_is_stored(options: list[str], tmp_path: Path) -> None:
    enroll("--name", "alice", "--images", ASTRONAUT, "--no-sheet", *options)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix not in (".db-wal", ".db-shm")) == [
        f"gallery.db{end}" for end in ("", ".anchor", ".audit", ".audit.head", ".generation", ".key")
    ]
    assert (tmp_path / "gallery.db").stat().st_size < 100_000
    assert (tmp_path / "gallery.db").stat().st_mode & 0o077 == 0


def test_the_same_photograph_twice_is_one_template(options: list[str]) -> None:
    done = enroll("--name", "alice", "--images", ASTRONAUT, ASTRONAUT, "--no-sheet", *options)
    assert done.returncode == 0
    assert "nearly the same" in done.stderr
    assert "1 template," in done.stdout


def test_an_enrollment_is_recorded_before_it_is_stored(options, tmp_path, monkeypatch) -> None:
    log, seen = tmp_path / "gallery.db.audit", []

    def fail(*_given, **_named):
        seen.append(log.read_text())
        raise GalleryError("the card is full")

    monkeypatch.setattr(Gallery, "enroll", fail)
    assert enroll_program.main(["--name", "alice", "--images", ASTRONAUT, "--no-sheet", *options]) == 5
    assert '"event":"enrolled"' in seen[0]
    assert log.read_text().count('"reason":"enrolled_failed"') == 1


def test_the_same_photograph_later_is_refused(stored: Path, options: list[str]) -> None:
    line = error_of(enroll("--name", "Eileen", "--images", ASTRONAUT, "--no-sheet", *options), 8)
    assert "nearly the same as an earlier sample" in line
    assert people(stored) == {"Eileen": 1}


def test_photographs_are_in_memory_one_at_a_time(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read, alive = photographs.read_picture, []

    def counted(path: Path) -> np.ndarray:
        image = read(path)
        alive.append(weakref.ref(image))
        assert sum(each() is not None for each in alive) <= 2
        return image

    monkeypatch.setattr(photographs, "read_picture", counted)
    assert enroll_program.main(["--name", "alice", "--images", *[ASTRONAUT] * 4, "--no-sheet", *options]) == 0
    assert len(alive) == 4


def test_a_bad_file_after_the_last_sample_is_named_too(options: list[str], tmp_path: Path) -> None:
    arguments = ["--images", ASTRONAUT, "missing.jpg", "--samples", "1", "--no-sheet"]
    done = enroll("--name", "alice", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "not used: missing.jpg: no such file" in done.stderr
    assert people(tmp_path / "gallery.db") == {"alice": 1}


@pytest.mark.parametrize("sheet", ["gallery.db", "gallery.db-shm", "photo.png", "notes.txt", "", "link.png"])
@pytest.mark.parametrize("what", ["--name", "--remove"])
def test_only_a_contact_sheet_is_written_over_or_deleted(
    what: str,
    sheet: str,
    stored: Path,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    shutil.copy(ROOT / "README.md", tmp_path / "gallery.db-shm")
    cv2.imwrite(str(tmp_path / "photo.png"), cv2.imread(ASTRONAUT))
    (tmp_path / "link.png").symlink_to("photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    source = ["--images", str(tmp_path / "photo.png"), "--replace"] if what == "--name" else []
    assert enroll_program.main([what, "Eileen", *source, "--sheet", str(tmp_path / sheet), *options]) == 2
    assert "expected a new file or a contact sheet" in capsys.readouterr().err
    assert people(stored) == {"Eileen": 1}
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "photo.png").read_bytes() == before
    assert (tmp_path / "link.png").is_symlink()


@pytest.mark.parametrize("sheet", ["gallery.db", "gallery.db-wal"])
def test_a_new_gallery_is_no_contact_sheet(sheet: str, options: list[str], tmp_path: Path) -> None:
    arguments = ["--images", ASTRONAUT, "--sheet", str(tmp_path / sheet)]
    assert enroll_program.main(["--name", "alice", *arguments, *options]) == 2
    assert people(tmp_path / "gallery.db") == {}


def test_a_contact_sheet_is_written_over(options: list[str], tmp_path: Path) -> None:
    sheet = ["--sheet", str(tmp_path / "sheet.png")]
    for _ in range(2):
        done = enroll("--name", "alice", "--images", ASTRONAUT, "--replace", *sheet, *options)
        assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("gallery.db")] == [
        "sheet.png"
    ]


def test_a_folder_without_a_contact_sheet_is_a_warning(options: list[str], tmp_path: Path) -> None:
    sheet = ["--sheet", str(tmp_path / "missing" / "sheet.png")]
    done = enroll("--name", "alice", "--images", ASTRONAUT, *sheet, *options)
    assert done.returncode == 0
    assert "warning: no contact sheet" in done.stderr
    assert "enrolled alice: 1 template, no picture in the gallery\n" in done.stdout


def test_a_terminal_without_the_letters_of_a_name(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run_program("enroll.py", "--name", "Zo\u00eb", "--images", ASTRONAUT, "--no-sheet", *options)
    assert done.returncode == 0, done.stderr
    assert "enrolled Zo\\xeb: 1 template" in done.stdout
    assert "Zo\\xeb: 1 template" in run_program("enroll.py", "--list", *options).stdout


def test_a_clip_is_a_camera(options: list[str], person_clip: Path) -> None:
    arguments = ["--camera", str(person_clip), "--samples", "1", "--no-sheet"]
    done = enroll("--name", "alice", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "look straight" in done.stderr


def test_a_camera_that_shows_nobody(options: list[str], tmp_path: Path) -> None:
    clip = tmp_path / "nobody.mp4"
    run_program("scripts/make_clip.py", str(clip), "nobody:1")
    line = error_of(enroll("--name", "alice", "--camera", str(clip), "--no-sheet", *options), 8)
    assert "0 of 5 samples collected (no face)" in line
    assert people(tmp_path / "gallery.db") == {}
