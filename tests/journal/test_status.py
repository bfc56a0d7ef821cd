"""Status lines: their form, what may never stand in them, and outputs that fail without harming the door."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from device.journal.events import EVENTS, Sink
from device.journal.status import (
    QUEUE_LINES,
    Filtered,
    LineWriter,
    StatusLog,
    make_line,
)
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 3, 1, 7, 30, 0, 125_000, tzinfo=timezone.utc)


class Memory:
    """An output that keeps what was written; `fail` raises at each write, `gate` blocks it."""

    def __init__(self):
        self.data = b""
        self.fail = False
        self.gate = threading.Event()
        self.gate.set()
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        return self

    def write(self, data):
        self.gate.wait()
        if self.fail:
            self.data += data[:7]
            raise OSError("unplugged")
        self.data += data
        return len(data)

    def close(self):
        self.closed += 1

    def lines(self):
        return [
            json.loads(line) for line in self.data.splitlines() if line.startswith(b"{") and line[-1:] == b"}"
        ]


def log_into(output, *, demo=False, reopen=True):
    return StatusLog(writers=[LineWriter(open_output=output.open, reopen=reopen)], demo=demo)


def test_one_object_per_line_in_a_fixed_order():
    output = Memory()
    log = log_into(output)
    log.event("started", version="1.0", model="mobilefacenet-0123456789ab", camera="picamera2:0")
    log.event("granted", subject_id="alice")
    log.event("locked")
    log.close()
    texts = output.data.decode().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf'\{{"event": "granted", "at": "{stamp}", "subject_id": "alice"\}}', texts[1])
    assert list(output.lines()[0]) == ["event", "at", "version", "model", "camera"]
    assert [line["event"] for line in output.lines()] == ["started", "granted", "locked"]
    assert output.closed == 1


def test_keys_keep_their_order_whatever_the_call():
    line = make_line("granted", {"pulse_s": 5, "subject_id": "bo", "reason": None}, at=AT, demo=True)
    assert json.dumps(line) == (
        '{"event": "granted", "at": "2026-03-01T07:30:00.125Z", "demo": true, '
        '"subject_id": "bo", "pulse_s": 5.0}'
    )


def test_demo_marks_every_line():
    output = Memory()
    log = log_into(output, demo=True)
    for name in EVENTS:
        log.event(name)
    log.close()
    assert [line["event"] for line in output.lines()] == list(EVENTS)
    assert all(line["demo"] is True for line in output.lines())


def test_liveness_that_is_off_marks_every_line():
    output = Memory()
    writers = [LineWriter(open_output=output.open, reopen=True)]
    log = StatusLog(writers=writers, demo=False, no_liveness=True)
    for name in EVENTS:
        log.event(name)
    log.event("challenge", action="turn_left", liveness=None)  # no event can take the mark away
    log.close()
    assert len(output.lines()) == len(EVENTS) + 1
    assert all(line["liveness"] == "off" for line in output.lines())
    assert output.lines()[-1]["action"] == "turn_left"
    quiet = Memory()
    other = log_into(quiet)
    other.event("ready")
    other.close()
    assert "liveness" not in quiet.lines()[0]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("refused", {"similarity": 0.31}),
        ("challenge", {"action": "Turn left!"}),
        ("granted", {"embedding": [0.1]}),
        ("granted", {"image": b"jpeg"}),
        ("refused", {"reason": "similarity 0.31"}),
        ("refused", {"reason": 0.31}),
        ("granted", {"subject_id": 0.31}),
        ("heartbeat", {"frames": 0.31}),
        ("heartbeat", {"frames": True}),
        ("heartbeat", {"camera_lost": 1}),
        ("opened", {}),
    ],
)
def test_what_is_not_documented_does_not_leave(name, fields):
    output = Memory()
    log = log_into(output)
    with pytest.raises(ValueError, match="expected"):
        log.event(name, **fields)
    log.close()
    assert output.data == b""


def test_text_stays_one_line_short_and_without_passwords():
    line = make_line(
        "camera_lost",
        {"error": "rtsp://admin:p@ss@door/x\nfailed " + "x" * 999, "camera": "rtsp://a:b@c"},
        at=AT,
        demo=False,
    )
    assert line["error"].startswith("rtsp://***@door/x failed")
    assert len(line["error"]) <= 200
    assert line["camera"] == "rtsp://***@c"
    line = make_line(
        "stopping", {"error": "camera rtsp:/admin:secret@door/x: no such file"}, at=AT, demo=False
    )
    assert line["error"] == "camera rtsp:/***@door/x: no such file"
    text = json.dumps(make_line("granted", {"subject_id": "Zoë\u202e\x1b[2J"}, at=AT, demo=False))
    assert text.isascii()
    assert text.isprintable()


def test_an_output_gets_what_the_table_of_events_lets_it_have():
    console, serial = Memory(), Memory()
    writers = [
        Filtered(LineWriter(open_output=output.open, reopen=False), sink)
        for output, sink in ((console, Sink.CONSOLE), (serial, Sink.SERIAL))
    ]
    log = StatusLog(writers=writers, demo=False)
    log.event("approach", reason="below_threshold", stage="compared", closeness="just_below", took_s=3.2)
    log.event("held_back", reason="below_threshold", count=40)  # a record, no line
    log.close()
    (said,), (sent,) = console.lines(), serial.lines()
    assert said["closeness"] == "just_below"
    assert "closeness" not in sent
    assert {**sent, "closeness": "just_below"} == said


def test_blocked_output_drops_the_oldest_and_says_how_many():
    output = Memory()
    log = log_into(output)
    log.event("started")
    wait_until(lambda: output.lines())
    output.gate.clear()
    for n in range(QUEUE_LINES + 50):
        log.event("heartbeat", frames=n)
    output.gate.set()
    log.close(5)
    lines = output.lines()[1:]
    told = [line["frames"] for line in lines]
    assert told == sorted(told)
    assert told[-1] == QUEUE_LINES + 49  # the newest is never lost
    assert sum(line.get("dropped", 0) for line in lines) + len(lines) == QUEUE_LINES + 50
    assert {list(line)[-1] for line in lines if "dropped" in line} == {"dropped"}


def test_output_that_breaks_is_opened_again_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr("device.journal.status.REOPEN_S", (0.01, 0.02))
    output = Memory()
    output.fail = True
    log = log_into(output)
    log.event("started")
    wait_until(lambda: output.opened > 3)
    output.fail = False
    log.event("ready")
    log.close(5)
    assert [line["event"] for line in output.lines()] == ["started", "ready"]
    assert b'{"event\n' in output.data  # half a line of the break, ended
    assert output.opened == output.closed


def test_output_that_never_opens_delays_nothing(monkeypatch):
    tried = []

    def absent():
        tried.append(time.monotonic())
        raise FileNotFoundError("/dev/ttyUSB0")

    monkeypatch.setattr("device.journal.status.REOPEN_S", (0.02, 0.05))
    log = StatusLog(writers=[LineWriter(open_output=absent, reopen=True)], demo=False)
    for _ in range(1000):
        log.event("heartbeat")
    wait_until(lambda: len(tried) > 4)
    log.close(0.1)
    waits = [tried[n + 1] - tried[n] for n in range(len(tried) - 1)]
    assert waits[0] >= 0.015
    assert max(waits[2:]) >= 0.045  # it waits longer and longer


def test_output_whose_opening_hangs():
    hang = threading.Event()
    log = StatusLog(writers=[LineWriter(open_output=hang.wait, reopen=True)], demo=False)
    log.event("started")
    started_s = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - started_s < 5
    hang.set()


def test_no_output_at_all():
    log = StatusLog(writers=[], demo=False)
    log.event("started")
    log.close()


def test_each_outage_is_told_again(monkeypatch):
    monkeypatch.setattr("device.journal.status.REOPEN_S", (0.01, 0.02))
    output, told = Memory(), []
    writer = LineWriter(open_output=output.open, reopen=True, tell=told.append)
    log = StatusLog(writers=[writer], demo=False)
    for outage in (1, 2):
        output.fail = True
        log.event("heartbeat", frames=outage)
        wait_until(lambda n=outage: len(told) == 2 * n - 1)
        output.fail = False
        wait_until(lambda n=outage: len(told) == 2 * n)
    log.close()
    assert told == ["cannot be written: unplugged: trying again every 0.02 s", "is back"] * 2
