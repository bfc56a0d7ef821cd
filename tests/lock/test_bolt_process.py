"""A bolt's process that ends in every way: each pin change is a line, written before it can die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

CHILD = """
    import json, os, signal, sys, threading, time
    from gpiozero.pins.mock import MockFactory, MockPin
    from device.lock.gpio import GpioLock

    class RecordingPin(MockPin):
        def _change_state(self, value):
            changed = super()._change_state(value)
            if changed:
                os.write(record, json.dumps([time.monotonic(), self._state]).encode() + b"\\n")
            return changed

    record = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    lock = GpioLock(pin=17, active_high=True, pulse_s=float(sys.argv[2]),
                    pin_factory=MockFactory(pin_class=RecordingPin))

    def stop(number, frame):
        sys.exit(0)
"""


def start_child(tmp_path, pulse_s, body):
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD) + textwrap.dedent(body))
    record = tmp_path / "pin.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, script, record, str(pulse_s)], env=environment, stderr=subprocess.PIPE, text=True
    )
    return child, record


def states(record):
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line) for line in record.read_text().splitlines()]
    return []


def finish(child):
    _, errors = child.communicate(timeout=240)
    return child.returncode, errors


def test_sigterm_in_mid_pulse_ends_locked(tmp_path):
    child, record = start_child(
        tmp_path,
        30,
        """
        signal.signal(signal.SIGTERM, stop)
        with lock:
            lock.unlock()
            time.sleep(20)
        """,
    )
    wait_until(lambda: states(record), 20)
    child.send_signal(signal.SIGTERM)
    assert finish(child) == (0, "")
    assert [level for _, level in states(record)] == [True, False]


@pytest.mark.parametrize(
    ("way_out", "code"), [("raise RuntimeError('boom')", 1), ("sys.exit(3)", 3), ("pass", 0)]
)
def test_end_of_the_program_without_close_ends_locked(tmp_path, way_out, code):
    child, record = start_child(tmp_path, 30, f"lock.unlock()\n{way_out}\n")
    assert finish(child)[0] == code
    assert [level for _, level in states(record)] == [True, False]


def test_pulse_ends_while_the_main_thread_hangs_in_c(tmp_path):
    child, record = start_child(
        tmp_path,
        0.3,
        """
        import ctypes
        signal.signal(signal.SIGTERM, stop)
        lock.unlock()
        libc = ctypes.CDLL(None)
        while True:  # a hung driver call: no Python signal handler can run
            libc.pause()
        """,
    )
    wait_until(lambda: len(states(record)) == 2, 20)
    child.kill()
    finish(child)
    (opened_s, opened), (closed_s, closed) = states(record)
    assert (opened, closed) == (True, False)
    assert 0.25 <= closed_s - opened_s < 2


def test_sigkill_leaves_the_pin_as_it_was(tmp_path):
    """Nothing in the process can help here: this is why the service relocks afterwards."""
    child, record = start_child(tmp_path, 30, "lock.unlock()\ntime.sleep(20)\n")
    wait_until(lambda: states(record), 20)
    child.kill()
    finish(child)
    assert [level for _, level in states(record)] == [True]
