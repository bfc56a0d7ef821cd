"""The real program when something around it fails: each time a defined state of the pin, and an event that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

import unlock
from tests.test_lockd import Process
from tests.test_unlock_cli import LONG_PULSE_S, Door, door, names  # noqa: F401  (a fixture)
from tests.test_unlock_lockd import await_level

FROZEN = "[camera]\nfrozen_s = 1\n"


def told(lines: list[dict[str, object]]) -> list[str]:
    """Return the events without those of every run."""
    return [name for name in names(lines) if name not in ("started", "ready", "refused", "stopping")]


# The camera


def test_a_frozen_picture_of_the_subject_opens_nothing_until_it_moves(door: Door, person_clip: Path) -> None:  # noqa: F811
    door.configure(1.0, FROZEN)
    door.start("--camera", str(person_clip), "--once", CAMERA="skip:20 frozen:70 clip:25")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    frozen = ["camera_frozen", "camera_lost", "camera_back", "camera_clear"]
    assert told(lines) == [*frozen, "unlocked", "granted", "locked"]
    assert door.levels() == [1, 0]


def test_a_camera_that_freezes_in_mid_pulse_ends_the_pulse(door: Door, person_clip: Path) -> None:  # noqa: F811
    door.configure(LONG_PULSE_S, FROZEN)
    door.start("--camera", str(person_clip), CAMERA="skip:15 clip:20 frozen:30 clip:5")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert told(lines)[:4] == ["unlocked", "granted", "camera_frozen", "locked"]
    assert door.levels() == [1, 0]
    assert door.pulses_s()[0] < LONG_PULSE_S / 3


def test_a_covered_camera_is_told_and_decides_nothing(door: Door, person_clip: Path) -> None:  # noqa: F811
    door.start("--camera", str(person_clip), "--once", CAMERA="skip:15 clip:2 covered:45 clip:20")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert told(lines)[:3] == ["camera_covered", "unlocked", "granted"]
    assert [line["reason"] for line in lines if line["event"] == "camera_covered"] == ["dark"]
    assert door.levels() == [1, 0]


# Memory


@pytest.mark.parametrize("who", ["numpy", "opencv"])
def test_memory_that_runs_out_in_mid_pulse_ends_locked(door: Door, person_clip: Path, who: str) -> None:  # noqa: F811
    door.configure(LONG_PULSE_S)
    door.start("--camera", str(person_clip), NO_MEMORY_AFTER_GRANT=who)
    code, lines, err = door.end()
    assert (code, err) == (1, f"unlock: {unlock.OUT_OF_MEMORY}\n")
    assert (lines[-1]["event"], lines[-1]["error"]) == ("stopping", unlock.OUT_OF_MEMORY)
    assert door.levels() == [1, 0]
    assert door.pulses_s()[0] < LONG_PULSE_S / 3


def test_without_any_memory_the_lock_process_locks_however_the_recognizer_dies(
    door: Door,  # noqa: F811
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
