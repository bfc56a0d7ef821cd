"""Status lines on stdout and stderr that take nothing, break or are captured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

from device.journal.status import (
    LineWriter,
    StatusLog,
    stdout_writer,
)
from tests.support.checkout import ROOT


def test_a_stderr_that_takes_nothing_delays_no_event_and_no_end():
    hang = threading.Event()

    def absent():
        raise FileNotFoundError("/dev/ttyUSB0")

    writer = LineWriter(open_output=absent, reopen=True, tell=lambda _: hang.wait())
    log = StatusLog(writers=[writer], demo=False)
    started_s = time.monotonic()
    for _ in range(1000):
        log.event("heartbeat")
    log.close(0.2)
    assert time.monotonic() - started_s < 5
    hang.set()


def run_child(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **options,
    )


CHILD = """
import time
from device.journal.status import StatusLog, stdout_writer
log = StatusLog(writers=[stdout_writer()], demo=True)
for n in range(200):
    log.event("heartbeat", frames=n)
    {pause}
log.close()
"""


def test_stdout_gets_every_line():
    done = run_child(CHILD.format(pause="pass"))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frames"] for line in lines] == list(range(200))
    assert (done.returncode, done.stderr) == (0, "")


def test_broken_pipe_does_not_end_the_program():
    command = f"""set -o pipefail; "$PYTHON" -c '{CHILD.format(pause="time.sleep(0.002)")}' | head -n 1"""
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_stdout_that_pytest_captures(capsys):
    log = StatusLog(writers=[stdout_writer()], demo=False)
    log.event("ready")
    log.close()
    assert json.loads(capsys.readouterr().out)["event"] == "ready"
