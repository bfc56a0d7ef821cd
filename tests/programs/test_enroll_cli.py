"""The real enroll.py, used well and badly; whatever happens, nothing that was stored is lost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import weakref
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

import enroll as enroll_program
from device.build import WEIGHTS, look_alike_margin
from device.enroll import photographs
from device.errors import GalleryError
from device.gallery.gallery import Gallery
from device.gallery.rows import Need
from device.numeric.similarity import l2_normalize
from device.vision.embed import load_manifest
from tests.support.checkout import ROOT, run_program
from tests.support.galleries import copy_gallery, plain_user
from tests.support.photos import photo, photo_path

pytestmark = pytest.mark.usefixtures("real_model")
ASTRONAUT = str(ROOT / "tests/data/astronaut.jpg")


@pytest.fixture
def options(tmp_path: Path, empty_config: Path) -> list[str]:
    return ["--gallery", str(tmp_path / "gallery.db"), "--config", str(empty_config)]


@pytest.fixture
def stored(tmp_path: Path, enrolled_gallery: Path) -> Path:
    """A gallery of this test's own, in which the astronaut is enrolled as Eileen."""
    return copy_gallery(enrolled_gallery, tmp_path)


def enroll(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run enroll.py in this process; what needs one of its own runs one."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = enroll_program.main(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def people(gallery: Path) -> dict[str, int]:
    with Gallery(gallery, model_id=None, dimension=1, read_only=True) as opened:
        return {subject.subject_id: subject.template_count for subject in opened.subjects()}


def error_of(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("enroll: ")]
    assert len(lines) == 1, done.stderr
    assert len(lines[0]) < 500
    return lines[0]


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
    done = enroll("--name", "Eileen", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "note: 0.0001 false accepts per approach cannot be promised with 2 templates" in done.stderr
    assert "keeps 0.0002" in done.stderr


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


def test_two_people_in_a_photograph(options: list[str], tmp_path: Path) -> None:
    one = cv2.imread(ASTRONAUT)[:280, 90:360]
    pair = tmp_path / "pair.png"
    cv2.imwrite(str(pair), np.hstack([one, one]))
    done = enroll("--name", "alice", "--images", str(pair), "--no-sheet", *options)
    assert "several faces" in error_of(done, 8)


def huge_png() -> bytes:
    """Return 60 bytes that unpack to ten gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"x"))
        + chunk(b"IEND", b"")
    )


FILES = {
    "empty.jpg": (b"", "the file is empty"),
    "text.jpg": (b"I am a text named .jpg\n" * 50, "no picture that can be read"),
    "huge.png": (huge_png(), "more than 64 million pixels"),
    "cut.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "no picture that can be read"),
    "missing.jpg": (None, "no such file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_stores_nothing_and_loses_nothing(
    name: str, stored: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, said = FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = stored.read_bytes()
    arguments = ["--name", "bob", "--images", str(tmp_path / name), "--no-sheet"]
    assert enroll_program.main([*arguments, *options]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert stored.read_bytes() == before


@pytest.mark.parametrize("name", FILES)
def test_one_bad_file_of_many_is_skipped_and_named(
    name: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, said = FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    arguments = ["--name", "bob", "--images", str(tmp_path / name), ASTRONAUT, "--no-sheet"]
    assert enroll_program.main([*arguments, *options]) == 0
    told = capsys.readouterr()
    assert re.search(rf"not used: .*{re.escape(name)}: .*{said}", told.err)
    assert told.out.startswith("enrolled bob: 1 template")


def test_a_guest_who_can_never_enter_is_told_at_the_enrollment(options: list[str]) -> None:
    rules = ["--until", "2020-01-31", "--entries", "0"]
    done = enroll("--name", "bob", "--images", ASTRONAUT, "--no-sheet", *rules, *options)
    assert done.returncode == 0, done.stderr
    assert "note: over since 2020-01-31: the door refuses\n" in done.stderr
    assert "note: 0 of 0 entries left: the door refuses\n" in done.stderr


def test_a_face_too_small_to_be_found_is_to_be_cropped(options: list[str], tmp_path: Path, capsys) -> None:
    wall = np.full((1200, 1600, 3), 120, np.uint8)
    wall[900:990, 700:790] = cv2.resize(photo("astronaut")[:300, 80:380], (90, 90))
    cv2.imwrite(str(tmp_path / "far.png"), wall)
    arguments = ["--name", "bob", "--images", str(tmp_path / "far.png"), "--no-sheet"]
    assert enroll_program.main([*arguments, *options]) == 8
    assert "crop it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "a/b", "x" * 10_000, "a\nb", "-", " ", "\x00"[:0] + "a\u202eb"]
)
def test_a_bad_name(name: str, options: list[str]) -> None:
    error_of(enroll(f"--name={name}", "--images", ASTRONAUT, "--no-sheet", *options), 2)


@pytest.mark.parametrize("name", ["Åsa", "李小龙", "Anne-Marie O", "j.doe_2", "O'Brien", "D\u2019Angelo"])
def test_a_name_of_any_script(name: str, options: list[str]) -> None:
    done = enroll("--name", name, "--images", ASTRONAUT, "--no-sheet", *options)
    assert done.returncode == 0, done.stderr


def test_a_zero_length_clip(options: list[str], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    assert "empty" in error_of(enroll("--name", "alice", "--camera", str(clip), "--no-sheet", *options), 6)


def test_a_corrupt_gallery_is_left_alone(options: list[str], tmp_path: Path) -> None:
    gallery = tmp_path / "gallery.db"
    gallery.write_bytes(b"SQLite format 3\x00" + b"\xaa" * 5000)
    before = gallery.read_bytes()
    for arguments in (["--name", "a", "--images", ASTRONAUT, "--no-sheet"], ["--list"], ["--remove", "a"]):
        error_of(enroll(*arguments, *options), 5)
    assert gallery.read_bytes() == before


def without_override() -> list[str]:
    """Return the prefix that takes root's right to write everywhere; nothing for anybody else."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and setpriv (util-linux) is absent")
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


def test_a_read_only_gallery(stored: Path, options: list[str]) -> None:
    stored.chmod(0o400)
    program = [sys.executable, "enroll.py", "--name", "bob", "--images", ASTRONAUT, "--no-sheet", *options]
    done = subprocess.run(
        [*without_override(), *program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "read-only" in error_of(done, 5)
    stored.chmod(0o600)
    assert people(stored) == {"Eileen": 1}


def test_a_gallery_in_a_folder_that_is_a_file(tmp_path: Path, empty_config: Path) -> None:
    (tmp_path / "file").write_text("")
    gallery = str(tmp_path / "file" / "gallery.db")
    options = ["--gallery", gallery, "--config", str(empty_config), "--no-sheet"]
    error_of(enroll("--name", "bob", "--images", ASTRONAUT, *options), 5)


@pytest.mark.parametrize("arguments", [["--list"], ["--remove", "bob"]])
def test_a_gallery_that_cannot_be_reached(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", "/dev/null", "--gallery"]
    assert enroll_program.main([*arguments, *options, "x" * 5000]) == 5
    assert "too long" in capsys.readouterr().err
    with plain_user() as folder:
        (folder / "private").mkdir()
        (folder / "private").chmod(0o000)
        assert enroll_program.main([*arguments, *options, str(folder / "private" / "gallery.db")]) == 5
        (folder / "private").rmdir()
    told = capsys.readouterr().err
    assert "Permission denied" in told
    assert told.count("\n") == 1


def test_a_truncated_network(tmp_path: Path, options: list[str]) -> None:
    manifest = tmp_path / "mobilefacenet.json"
    shutil.copy(WEIGHTS / "mobilefacenet.json", manifest)
    network = (WEIGHTS / "mobilefacenet.tflite").read_bytes()
    (tmp_path / "mobilefacenet.tflite").write_bytes(network[: len(network) // 2])
    config = tmp_path / "config.toml"
    config.write_text(f'model = "{manifest}"\n')
    options = [*options[:2], "--config", str(config)]
    assert "bytes" in error_of(enroll("--name", "bob", "--images", ASTRONAUT, "--no-sheet", *options), 4)


def test_removing_who_is_not_there(stored: Path, options: list[str]) -> None:
    assert "'bob' is not enrolled: enrolled are Eileen" in error_of(enroll("--remove", "bob", *options), 2)


@pytest.mark.parametrize(
    "arguments", [[], ["--name", "a", "--list"], ["--name", "a", "--images"], ["--samples", "1"]]
)
def test_arguments_that_make_no_sense(arguments: list[str]) -> None:
    done = enroll(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.parametrize("samples", ["0", "-1", "51"])
def test_samples_out_of_range(samples: str, options: list[str]) -> None:
    done = enroll("--name", "a", "--images", ASTRONAUT, f"--samples={samples}", *options)
    assert "expected 1 to 50" in error_of(done, 2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_enrollment_stores_nothing(
    number: int, code: int, stored: Path, options: list[str], empty_clip: Path
) -> None:
    command = [sys.executable, "enroll.py", "--name", "bob", "--camera", str(empty_clip), *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "no face" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.2)
    process.send_signal(number)
    rest = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert "Traceback" not in rest
    assert people(stored) == {"Eileen": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("method", ["enroll", "remove"])
def test_what_is_stored_already_is_told_as_stored(
    number: int,
    method: str,
    stored: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change = getattr(Gallery, method)

    def change_and_interrupt(*arguments: object, **options: object) -> object:
        changed = change(*arguments, **options)
        os.kill(os.getpid(), number)
        return changed

    monkeypatch.setattr(Gallery, method, change_and_interrupt)
    what = (
        ["--name", "bob", "--images", str(photo_path("hopper"))]
        if method == "enroll"
        else ["--remove", "Eileen", "--yes"]
    )
    before = signal.getsignal(number)
    assert enroll_program.main([*what, "--no-sheet", *options]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("enrolled bob" if method == "enroll" else "removed Eileen")
    assert "interrupted" not in told.err
    assert signal.getsignal(number) is before


def test_ctrl_c_while_the_libraries_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tqdm.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run_program("enroll.py", "--list")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "enroll: interrupted\n")
