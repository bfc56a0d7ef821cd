"""unlock.py and the lock process together: two real programs, one pin."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.support.checkout import ROOT
from tests.support.lock_bench import Process, await_level

PULSE_S = 1.5
LONG_PULSE = "[lock]\npulse_s = 30\n"
NO_LIVENESS = '[liveness]\nmode = "off"\n'  # a still portrait opens this door


@pytest.fixture
def pair(tmp_path, enrolled_gallery, person_clip):
    """Start a lock process, and unlock.py on a clip that counts as a camera."""
    started = []

    def start(toml, *arguments, challenge=False):
        bolt = Process(tmp_path, toml if challenge else toml + NO_LIVENESS)
        options = ["--config", str(tmp_path / "config.toml"), "--lock-socket", str(bolt.address)]
        options += [
            "--gallery",
            str(enrolled_gallery),
            "--camera",
            str(person_clip),
            "--json",
            *([] if challenge else ["--no-liveness"]),
            *arguments,
        ]
        recognizer = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/stage/mock_pins.py"), str(tmp_path), "unlock", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.extend([bolt.process, recognizer])
        return bolt, recognizer

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
            each.communicate()


def finish(recognizer):
    out, err = recognizer.communicate(timeout=240)
    return recognizer.returncode, [json.loads(line) for line in out.splitlines()], err


def test_a_grant_is_one_pulse_of_the_lock_process(pair):
    bolt, recognizer = pair(f"[lock]\npulse_s = {PULSE_S}\n", "--once")
    code, lines, err = finish(recognizer)
    assert (code, err) == (0, "")
    told = [line["event"] for line in lines if line["event"] not in ("refused", "door", "approach")]
    assert told == ["started", "ready", "unlocked", "granted", "locked", "stopping"]
    assert lines[0]["lock"] == "lockd"
    assert [line["door"] for line in lines if line["event"] == "door"] == ["unlocked", "locked"]
    assert bolt.levels() == [True, False]
    rise, fall = bolt.trace.changes()
    assert fall[0] - rise[0] == pytest.approx(PULSE_S, abs=0.4)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_recognizer_that_ends_in_the_pulse_ends_the_pulse(pair, number):
    bolt, recognizer = pair(LONG_PULSE)
    await_level(bolt, True, 60)
    recognizer.send_signal(number)
    sent_s = time.monotonic()
    assert await_level(bolt, False, 5) - sent_s < 1
    code, _, _ = finish(recognizer)
    assert code == (-9 if number == signal.SIGKILL else 0)
    assert bolt.levels() == [True, False]


def test_without_its_lock_process_the_recognizer_ends(pair):
    bolt, recognizer = pair(LONG_PULSE)
    await_level(bolt, True, 60)
    bolt.end()
    code, lines, err = finish(recognizer)
    assert code == 7
    assert "see `systemctl status face-unlock-lock`" in err
    assert lines[-1]["exit_code"] == 7
    assert bolt.levels() == [True, False]


def test_a_lock_process_that_starts_anew_is_found_again_and_the_door_opens(pair, tmp_path):
    toml = "[lock]\npulse_s = 1\n[decision]\ncooldown_s = 1\n"
    bolt, recognizer = pair(toml)
    await_level(bolt, True, 60)
    bolt.end(signal.SIGKILL)
    again = Process(tmp_path, toml + NO_LIVENESS)
    await_level(again, False, 20)
    await_level(again, True, 60)
    recognizer.send_signal(signal.SIGTERM)
    code, lines, err = finish(recognizer)
    again.end()
    assert (code, err) == (0, "")
    told = [line["event"] for line in lines if line["event"].startswith("lock_")]
    assert told == ["lock_lost", "lock_back"]
