"""The real program in its own process, on mock pins whose waveform is written down."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from device.decide.moves import Move
from device.journal.approaches import HOLD_STILL
from device.types import Reason
from tests.support.checkout import ROOT, enroll, unlock
from tests.support.clips import make_clip
from tests.support.doors.running import LONG_PULSE_S, PULSE_S, Door, names
from tests.support.tiny_model import write_tiny


def test_a_grant_is_one_pulse_and_ends_locked(door: Door, person_clip: Path) -> None:
    door.start("--camera", str(person_clip), "--once")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert door.levels() == [1, 0]
    (pulse_s,) = door.pulses_s()
    assert PULSE_S - 0.1 < pulse_s < PULSE_S + 4  # a busy machine ends it later
    told = [name for name in names(lines) if name != "refused"]
    assert told == ["started", "ready", "unlocked", "granted", "approach", "locked", "stopping"]
    (approach,) = (line for line in lines if line["event"] == "approach")
    assert (approach["subject_id"], approach["reason"]) == ("Eileen", "granted")
    (granted,) = (line for line in lines if line["event"] == "granted")
    assert granted["subject_id"] == "Eileen"
    assert lines[-1]["exit_code"] == 0
    assert "demo" not in lines[0]


def test_no_number_that_helps_an_attacker_is_told(door: Door, person_clip: Path) -> None:
    door.start("--camera", str(person_clip), "--once")
    _, lines, _ = door.end()
    assert not {"similarity", "threshold", "embedding", "image"} & {key for line in lines for key in line}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_signal_in_mid_pulse_locks_at_once(door: Door, person_clip: Path, number: int, code: int) -> None:
    door.configure(LONG_PULSE_S)
    process = door.start("--camera", str(person_clip))
    door.wait_until_high()
    process.send_signal(number)
    received, lines, err = door.end()
    assert (received, err) == (code, "")
    assert door.levels() == [1, 0]
    assert door.pulses_s()[0] < LONG_PULSE_S / 2
    assert lines[-1]["event"] == "stopping"
    assert lines[-1]["reason"] == signal.Signals(number).name.lower()


def test_two_signals_in_a_row_still_end_locked(door: Door, person_clip: Path) -> None:
    door.configure(LONG_PULSE_S)
    process = door.start("--camera", str(person_clip))
    door.wait_until_high()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    door.end()
    assert door.levels() == [1, 0]


def test_a_signal_that_python_swallows_still_ends_the_program(door: Door, empty_clip: Path) -> None:
    door.start("--camera", str(empty_clip), SIGTERM_IN_DEL="1")
    code, lines, _ = door.end()
    assert code == 0
    assert lines[-1]["reason"] == "sigterm"


def test_nohup_keeps_the_program_running(door: Door, person_clip: Path) -> None:
    process = door.start("--camera", str(person_clip), NOHUP="1")
    door.wait_until_high()
    process.send_signal(signal.SIGHUP)
    code, lines, _ = door.end()
    assert (code, lines[-1]["reason"]) == (0, "end")
    (pulse_s,) = door.pulses_s()
    assert PULSE_S - 0.1 < pulse_s < PULSE_S + 4  # a busy machine ends it later


@pytest.mark.parametrize("arguments", [[], ["--once"]])
def test_a_bolt_that_does_not_lock_ends_the_program_and_says_so(
    door: Door, person_clip: Path, arguments: list[str]
) -> None:
    door.start("--camera", str(person_clip), *arguments, STUCK_OPEN="1")
    code, lines, err = door.end()
    assert code == 7
    assert "reads back as the opposite" in err
    assert door.levels() == [1]
    assert (lines[-1]["event"], lines[-1]["exit_code"]) == ("stopping", 7)
    assert "reads back as the opposite" in lines[-1]["error"]


def test_an_exception_in_mid_pulse_ends_locked(door: Door, person_clip: Path) -> None:
    door.configure(LONG_PULSE_S)
    door.start("--camera", str(person_clip), FAIL_AFTER_GRANT="1")
    code, _, err = door.end()
    assert code == 1
    assert "the test's own fault" in err
    assert door.levels() == [1, 0]
    assert door.pulses_s()[0] < LONG_PULSE_S / 2


def test_after_kill_9_the_relock_locks(door: Door, person_clip: Path) -> None:
    door.configure(LONG_PULSE_S)
    process = door.start("--camera", str(person_clip))
    door.wait_until_high()
    process.kill()
    door.process.communicate()
    assert door.levels() == [1]  # what the hardware does; the reason for the relock
    relock = door.start("--relock", mode="relock")
    out, err = relock.communicate(timeout=240)
    assert (relock.returncode, out.strip(), err) == (0, "locked: GPIO17", "")
    assert door.levels() == [1, 0]


def test_once_without_a_grant_exits_with_1(door: Door, empty_clip: Path) -> None:
    door.start("--camera", str(empty_clip), "--once", "--max-seconds", "1")
    code, lines, _ = door.end()
    assert code == 1
    assert lines[-1]["reason"] == "time_over"
    assert door.levels() == []


def test_max_seconds_is_a_clean_end(door: Door, empty_clip: Path) -> None:
    door.configure(PULSE_S, "[status]\nheartbeat_s = 1\n")
    door.start("--camera", str(empty_clip), "--max-seconds", "2.5")
    code, lines, _ = door.end()
    assert code == 0
    assert lines[-1]["reason"] == "time_over"  # the clip alone lasts 30
    beats = [line for line in lines if line["event"] == "heartbeat"]
    assert beats
    assert beats[0]["is_locked"] is True
    assert beats[0]["camera_lost"] is False


def test_demo_says_so_on_every_line(
    enrolled_gallery: Path, person_clip: Path, no_liveness: list[str]
) -> None:
    options = [
        "--demo",
        "--camera",
        str(person_clip),
        "--gallery",
        str(enrolled_gallery),
        *no_liveness,
    ]
    done = unlock(*options, "--max-seconds", "3")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) >= 3
    assert all("[demo: no pin is driven]" in line for line in lines)
    as_json = unlock(*options, "--json", "--max-seconds", "1").stdout.splitlines()
    assert as_json
    assert json.loads(as_json[0])["lock"] == "mock"  # no driver of the board is in use
    assert all(json.loads(line)["demo"] is True for line in as_json)
    broken = unlock(*options[:1], "--camera", "missing.mp4")
    assert broken.stderr.startswith("[demo: no pin is driven] unlock: camera missing.mp4")


def test_without_pins_there_is_no_way_around_demo(
    enrolled_gallery: Path, person_clip: Path, no_liveness: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--gallery", str(enrolled_gallery), *no_liveness]
    done = unlock("--camera", str(person_clip), *options)
    assert done.returncode == 2
    assert "--demo" in done.stderr  # a film of somebody enrolled is no visitor
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "Mock")
    done = unlock("--camera", "0", *options)
    assert done.returncode == 7
    assert "drives no pin" in done.stderr
    assert "--demo" in done.stderr


def test_systemd_hears_ready_beats_and_stopping(door: Door, person_clip: Path, tmp_path: Path) -> None:
    address = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(60)
        told: list[str] = []

        def listen() -> None:  # a socket keeps ten datagrams; systemd reads all the time, and so does this
            while not told or told[-1] != "STOPPING=1":
                told.append(manager.recv(4096).decode())

        listener = threading.Thread(target=listen)
        listener.start()
        door.start("--camera", str(person_clip), NOTIFY_SOCKET=str(address), WATCHDOG_USEC="400000")
        assert door.end()[0] == 0
        listener.join(10)
    assert told[0].startswith("READY=1\n")
    assert "WATCHDOG=1" in told
    assert any(message.startswith("STATUS=granted Eileen") for message in told)


def test_one_key_changes_the_model_of_enrollment_and_door(
    real_model: None, tmp_path: Path, enrolled_gallery: Path, empty_clip: Path, no_liveness: list[str]
) -> None:
    model = str(write_tiny(tmp_path, "wide", side=160, dimension=512))
    settings = tmp_path / "config.toml"
    off = '[liveness]\nmode = "off"\n'
    settings.write_text(f'model = "{model}"\ngallery = "{tmp_path}/gallery.db"\n{off}')
    photo = ["--images", "tests/data/astronaut.jpg", "--no-sheet"]
    enrolled = enroll("--name", "Eileen", *photo, "--config", str(settings))
    assert enrolled.returncode == 0, enrolled.stderr
    watch = ["--demo", "--camera", str(empty_clip), "--max-seconds", "1"]
    watched = unlock(*watch, "--config", str(settings), "--no-liveness")
    assert watched.returncode == 0, watched.stderr
    assert "model wide-" in watched.stdout

    options = ["--gallery", str(enrolled_gallery), *no_liveness, "--model", model]
    for done in (
        unlock(*watch, *options),
        enroll("--name", "Bob", *photo, *(o for o in options if o != "--no-liveness")),
    ):
        assert done.returncode == 5
        assert "remove those subjects and enroll them again" in done.stderr
        assert len([line for line in done.stderr.splitlines() if "configured model is wide-" in line]) == 1


def test_liveness_is_off_with_two_keys_only(
    enrolled_gallery: Path, empty_clip: Path, no_liveness: list[str], empty_config: Path
) -> None:
    options = ["--demo", "--json", "--camera", str(empty_clip), "--gallery", str(enrolled_gallery)]
    options += ["--max-seconds", "1"]
    alone = unlock(*options, *no_liveness[:2])
    assert (alone.returncode, alone.stdout) == (3, "")
    assert "--no-liveness" in alone.stderr
    assert len(alone.stderr.splitlines()) == 1
    flag = unlock(*options, "--config", str(empty_config), "--no-liveness")
    assert (flag.returncode, flag.stdout) == (2, "")
    assert 'received "challenge"' in flag.stderr
    both = unlock(*options, *no_liveness)
    lines = [json.loads(line) for line in both.stdout.splitlines()]
    assert both.returncode == 0
    assert len(lines) >= 3
    assert all(line["liveness"] == "off" for line in lines)


def test_a_portrait_in_a_clip_is_asked_and_opens_nothing(
    real_model: None, tmp_path: Path, enrolled_gallery: Path
) -> None:
    clip = make_clip(tmp_path / "portrait.mp4", "tests/data/astronaut.jpg:6")
    door = Door(tmp_path, enrolled_gallery)
    door.config.write_text('[liveness]\nmode = "always"\n')
    pins = [sys.executable, "-m", "tests.support.recorded_unlock", str(door.pins), "unlock"]
    options = [
        "--config",
        str(door.config),
        "--gallery",
        str(enrolled_gallery),
        "--json",
        "--camera",
        str(clip),
    ]
    done = subprocess.run([*pins, *options], cwd=ROOT, capture_output=True, text=True, timeout=240)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert door.levels() == []
    assert not any("liveness" in line for line in lines)
    reasons = {line.get("reason") for line in lines}
    asked = [line["action"] for line in lines if line["event"] == "challenge"]
    # a passive network that is sure of the attack ends it before the challenge
    assert asked or "spoof_suspected" in reasons
    assert set(asked) <= {*map(str, Move), HOLD_STILL}


def test_every_reason_stands_in_tune() -> None:
    page = (ROOT / "docs/owner/tune.md").read_text(encoding="utf-8")
    assert [each for each in Reason if f"| `{each}` |" not in page] == []


def test_a_known_person_before_the_default_door_has_a_line_that_says_why_it_did_not_open(
    door: Door, person_clip: Path
) -> None:
    """A portrait held still is asked to hold still, then for a move, and the approach ends with its one line."""
    door.config.write_text("")
    pins = [sys.executable, "-m", "tests.support.recorded_unlock", str(door.pins), "unlock", "--json"]
    options = ["--config", str(door.config), "--gallery", str(door.gallery), "--camera", str(person_clip)]
    done = subprocess.run([*pins, *options], cwd=ROOT, capture_output=True, text=True, timeout=240)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    (line,) = (each for each in lines if each["event"] == "approach")
    assert line["reason"] in ("challenge", "challenge_failed", "spoof_suspected")
    assert line["advice"]
    assert line["took_s"] > 1
