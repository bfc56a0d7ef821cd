"""The real program when something around it fails: each time a defined state of the pin, and an event that says so."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import unlock
from device.access.policy import Policy
from device.gallery.gallery import Gallery
from tests.support.checkout import ROOT, run_program
from tests.support.doors.running import LONG_PULSE_S, Door, events, names, own_gallery
from tests.support.galleries import copy_gallery
from tests.support.lock_bench import Process, await_level

FROZEN = "[camera]\nfrozen_s = 1\n"


def told(lines: list[dict[str, object]]) -> list[str]:
    """Return the events without those of every run."""
    of_every_run = ("started", "ready", "refused", "approach", "heartbeat", "stopping")
    return [name for name in names(lines) if name not in of_every_run]


# The camera


def test_a_frozen_picture_of_the_subject_opens_nothing_until_it_moves(door: Door, person_clip: Path) -> None:
    door.configure(1.0, FROZEN)
    door.start("--camera", str(person_clip), "--once", CAMERA="skip:20 frozen:70 clip:25")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    frozen = ["camera_frozen", "camera_lost", "camera_back", "camera_clear"]
    assert told(lines) == [*frozen, "unlocked", "granted", "locked"]
    assert door.levels() == [1, 0]


def test_a_camera_that_freezes_in_mid_pulse_ends_the_pulse(door: Door, person_clip: Path) -> None:
    door.configure(LONG_PULSE_S, FROZEN + "[decision]\ncooldown_s = 60\n")
    door.start(
        "--camera", str(person_clip), CAMERA="skip:15 clip:20 frozen:30 clip:2"
    )  # two: no second grant
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert told(lines)[:4] == ["unlocked", "granted", "camera_frozen", "locked"]
    assert door.levels() == [1, 0]
    assert door.pulses_s()[0] < LONG_PULSE_S / 3


def test_a_covered_camera_is_told_and_decides_nothing(door: Door, person_clip: Path) -> None:
    door.start("--camera", str(person_clip), "--once", CAMERA="skip:15 clip:2 covered:45 clip:20")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert told(lines)[:3] == ["camera_covered", "unlocked", "granted"]
    assert [line["reason"] for line in lines if line["event"] == "camera_covered"] == ["dark"]
    assert door.levels() == [1, 0]


# The clock


@pytest.mark.parametrize("jump_s", ["0", "-86400", "315360000"])
def test_a_clock_that_jumps_opens_nothing_to_who_has_hours(
    door: Door, person_clip: Path, tmp_path: Path, jump_s: str
) -> None:
    gallery = own_gallery(door, tmp_path)
    with Gallery(gallery, model_id=None, dimension=1, read_only=False) as opened:
        policy = Policy(hours="00:00-24:00")
        opened.set_profile("Eileen", replace(opened.profile("Eileen"), policy=policy))
    door.configure(1.0, "[policy]\nrequire_time_sync = false\n")  # this machine may have no time server
    door.start("--camera", str(person_clip), "--once", JUMP_S=jump_s)
    code, lines, _ = door.end()
    jumps = [line["jump_s"] for line in lines if line["event"] == "clock_jumped"]
    if jump_s == "0":
        assert (code, jumps, door.levels()) == (0, [], [1, 0])
        return
    assert jumps == [pytest.approx(float(jump_s), abs=1)]
    assert "clock_not_set" in {line.get("reason") for line in lines}
    assert (code, door.levels()) == (1, [])
    assert "clock_jumped" in events(gallery)


# Memory


@pytest.mark.parametrize("who", ["numpy", "opencv"])
def test_memory_that_runs_out_in_mid_pulse_ends_locked(door: Door, person_clip: Path, who: str) -> None:
    door.configure(LONG_PULSE_S)
    door.start("--camera", str(person_clip), NO_MEMORY_AFTER_GRANT=who)
    code, lines, err = door.end()
    assert (code, err) == (1, f"unlock: {unlock.OUT_OF_MEMORY}\n")
    assert (lines[-1]["event"], lines[-1]["error"]) == ("stopping", unlock.OUT_OF_MEMORY)
    assert door.levels() == [1, 0]
    assert door.pulses_s()[0] < LONG_PULSE_S / 3


def test_without_any_memory_the_lock_process_locks_however_the_recognizer_dies(
    door: Door,
    person_clip: Path,
    tmp_path: Path,
) -> None:
    """Code that is not Python may fall over a failed allocation: that is a death like any other to the bolt."""
    bolt = Process(tmp_path, f'[liveness]\nmode = "off"\n[lock]\npulse_s = {LONG_PULSE_S}\n')
    try:
        options = ["--camera", str(person_clip), "--lock-socket", str(bolt.address)]
        door.start(*options, NO_MEMORY_AFTER_GRANT="all", CAMERA="skip:15 clip:30", REMOTE="1")
        code, _, _ = door.end()
        assert code not in (0, 130)
        await_level(bolt, False, 3)
        assert bolt.levels() == [True, False]
    finally:
        bolt.process.kill()
        bolt.process.communicate()


# The card


SMALL_BYTES = 64  # a file of pins is smaller, a record is not


def fill(door: Door) -> None:
    """Let no file of the running program grow beyond some bytes: the card is full."""
    assert door.process is not None
    resource.prlimit(door.process.pid, resource.RLIMIT_FSIZE, (SMALL_BYTES, SMALL_BYTES))


def await_line(door: Door, event: str) -> None:
    assert door.process is not None
    assert door.process.stdout is not None
    assert any(json.loads(line)["event"] == event for line in door.process.stdout)


@pytest.mark.parametrize("guest", [False, True])
def test_a_card_that_fills_up_lets_in_whom_nothing_has_to_be_written_for(
    door: Door,
    person_clip: Path,
    tmp_path: Path,
    guest: bool,
) -> None:
    gallery = own_gallery(door, tmp_path)
    with Gallery(gallery, model_id=None, dimension=1, read_only=False) as opened:
        policy = Policy(entries=3 if guest else None)
        opened.set_profile("Eileen", replace(opened.profile("Eileen"), policy=policy))
    door.start("--camera", str(person_clip), "--once", CAMERA="skip:3 clip:40")
    await_line(door, "ready")
    fill(door)
    code, lines, err = door.end()
    assert err == ""
    assert names(lines).count("audit_lost") == 1
    assert code == (1 if guest else 0)
    assert door.levels() == ([] if guest else [1, 0])
    assert ("not_recorded" in {line.get("reason") for line in lines}) is guest


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of some hundred kB, or skip."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"needs to mount a file system: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
@pytest.mark.parametrize("card", ["full", "read-only"])
def test_a_start_on_a_full_or_read_only_card_opens_and_says_what_is_lost(
    door: Door,
    person_clip: Path,
    tmp_path: Path,
    card: str,
) -> None:
    with small_disk(tmp_path / "card") as folder:
        door.gallery = copy_gallery(door.gallery, folder)
        if card == "full":
            (folder / "filler").touch()
            with suppress(OSError), (folder / "filler").open("ab", buffering=0) as filler:
                while filler.write(bytes(512)):
                    pass
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        content = {path.name: path.read_bytes() for path in folder.glob("gallery.db*")}
        content.pop("gallery.db-shm", None)  # SQLite's map of the log: it goes with the last who reads
        door.start("--camera", str(person_clip), "--once")
        code, lines, err = door.end()
        assert (code, err) == (0, "")
        assert told(lines) == ["audit_lost", "unlocked", "granted", "locked"]
        assert door.levels() == [1, 0]
        added = run_program(*ENROLL, "--gallery", str(door.gallery), "--config", str(door.config))
        assert added.returncode == 5
        assert added.stderr.splitlines()[-1].startswith("enroll: ")
        assert all((folder / name).read_bytes() == was for name, was in content.items() if was)


@pytest.mark.parametrize("form", ["json", "words"])
def test_a_log_that_takes_nothing_does_not_stop_the_door(
    door: Door,
    person_clip: Path,
    form: str,
) -> None:
    command = [sys.executable, "-m", "tests.support.recorded_unlock", str(door.pins), "unlock"]
    command += ["--config", str(door.config), "--gallery", str(door.gallery), "--no-liveness", "--once"]
    command += ["--camera", str(person_clip), *(["--json"] if form == "json" else [])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=240)
    assert door.levels() == [1, 0]
    assert (done.returncode, done.stderr) == (0, "")


# The database


HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0.2)
db.execute(f"PRAGMA locking_mode = {sys.argv[2]}")
db.execute("BEGIN EXCLUSIVE")
db.execute("SELECT count(*) FROM subjects").fetchone()
print("held", flush=True)
sys.stdin.read()
"""
ENROLL = [
    "enroll.py",
    "--name",
    "Bob",
    "--images",
    "tests/data/astronaut.jpg",
    "--no-sheet",
    "--allow-lookalike",
]


@contextmanager
def held(gallery: Path, mode: str) -> Iterator[None]:
    """Let a second process hold the gallery: in mode NORMAL it keeps writers out, in mode EXCLUSIVE everybody."""
    command = [sys.executable, "-c", HOLD, str(gallery), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate()


def test_a_gallery_that_is_held_for_writing_lets_the_door_go_on_and_enrollment_wait_then_end(
    door: Door,
    person_clip: Path,
    tmp_path: Path,
) -> None:
    gallery = own_gallery(door, tmp_path)
    with Gallery(gallery, model_id=None, dimension=1, read_only=False) as opened:
        policy = Policy(entries=1)
        opened.set_profile("Eileen", replace(opened.profile("Eileen"), policy=policy))
    with held(gallery, "NORMAL"):
        door.start("--camera", str(person_clip), "--once")
        code, _, err = door.end()
        assert (code, err) == (0, "")
        assert door.levels() == [1, 0]
        added = run_program(*ENROLL, "--gallery", str(gallery), "--config", str(door.config))
        assert added.returncode == 5
        assert "another program holds it for more than 5 s" in added.stderr.splitlines()[-1]
    door.pins.unlink()
    door.start("--camera", str(person_clip), "--once")
    code, lines, _ = door.end()  # the entry was counted meanwhile
    assert (code, door.levels()) == (1, [])
    assert "no_entries_left" in {line.get("reason") for line in lines}


def test_a_gallery_that_is_held_whole_is_one_line_and_a_locked_door(
    door: Door,
    person_clip: Path,
    tmp_path: Path,
) -> None:
    gallery = own_gallery(door, tmp_path)
    with held(gallery, "EXCLUSIVE"):
        door.start("--camera", str(person_clip), "--once")
        code, lines, err = door.end()
    assert code == 5
    assert err.startswith("unlock: ")
    assert err.count("\n") == 1
    assert "another program holds it for more than 5 s" in err
    assert lines[-1]["reason"] == "fault"
    assert 1 not in door.levels()


def test_nobody_takes_the_gallery_from_a_door_that_runs(
    door: Door, person_clip: Path, tmp_path: Path
) -> None:
    gallery = own_gallery(door, tmp_path)
    door.start("--camera", str(person_clip), "--once", CAMERA="skip:3 clip:40")
    await_line(door, "ready")
    taken = subprocess.run(
        [sys.executable, "-c", HOLD, str(gallery), "EXCLUSIVE"], capture_output=True, text=True, input=""
    )
    code, _, err = door.end()
    assert (code, err) == (0, "")
    assert door.levels() == [1, 0]
    assert "locked" in taken.stderr
