"""enroll.py and what it cannot work with: files, names, galleries, interruptions; one line, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

import enroll as enroll_program
from device.build import WEIGHTS
from device.gallery.gallery import Gallery
from tests.support.checkout import ASTRONAUT, ROOT, enroll, error_of, people, run_program
from tests.support.galleries import plain_user
from tests.support.photos import photo, photo_path

pytestmark = pytest.mark.usefixtures("real_model")


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
        [*without_override(), *program], cwd=ROOT, capture_output=True, text=True, timeout=240
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
    assert error_of(enroll(*arguments), 2).endswith(": see enroll.py --help")


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
    rest = process.communicate(timeout=240)[1]
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
