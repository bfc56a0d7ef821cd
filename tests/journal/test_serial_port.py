"""Status lines on a real serial line: one end of a pty."""

from __future__ import annotations

import json
import os
import re
import select
import time

import pytest

from device.journal.status import (
    StatusLog,
    serial_writer,
)


@pytest.fixture
def line():
    """The two ends of a pseudo terminal: (file descriptor to read, name of the port)."""
    reader, writer = os.openpty()
    yield reader, os.ttyname(writer)
    for end in (reader, writer):
        os.close(end)


def read_lines(reader, count, seconds=10.0):
    data, deadline = b"", time.monotonic() + seconds
    while data.count(b"\n") < count and time.monotonic() < deadline:
        if select.select([reader], [], [], 0.1)[0]:
            data += os.read(reader, 65536)
    return data


def test_serial_port(line):
    reader, port = line
    log = StatusLog(writers=[serial_writer(port, 115200)], demo=False)
    log.event("started")
    log.event("granted", subject_id="alice")
    data = read_lines(reader, 2)
    assert [json.loads(text)["event"] for text in data.splitlines()] == ["started", "granted"]
    log.close()


def test_port_that_nobody_reads_delays_no_event(line, monkeypatch):
    monkeypatch.setattr("device.journal.status.WRITE_TIMEOUT_S", 0.1)
    reader, port = line
    log = StatusLog(writers=[serial_writer(port, 9600)], demo=False)
    slowest_s = 0.0
    for n in range(3000):  # some 200 kB into a buffer of a few
        started_s = time.monotonic()
        log.event("heartbeat", frames=n)
        slowest_s = max(slowest_s, time.monotonic() - started_s)
    assert slowest_s < 0.5  # a write that waited would take its timeout at least, and 3000 of them minutes
    data = b""
    deadline = time.monotonic() + 15
    while b'"frames": 2999' not in data and time.monotonic() < deadline:  # somebody reads at last
        data += read_lines(reader, 50, seconds=0.2)
    log.close()
    whole = [json.loads(text) for text in data.splitlines() if re.fullmatch(rb"\{[^{}]*\}", text)]
    assert whole[-1]["frames"] == 2999
    assert sum(line.get("dropped", 0) for line in whole) > 1000


def test_port_that_comes_later(line, tmp_path, monkeypatch):
    monkeypatch.setattr("device.journal.status.REOPEN_S", (0.01, 0.02))
    reader, port = line
    plugged = tmp_path / "ttyUSB0"
    log = StatusLog(writers=[serial_writer(str(plugged), 115200)], demo=False)
    log.event("started")
    time.sleep(0.05)
    plugged.symlink_to(port)
    assert b'"started"' in read_lines(reader, 1)
    log.close()


def test_unplugged_port_harms_nothing(monkeypatch):
    monkeypatch.setattr("device.journal.status.REOPEN_S", (0.01, 0.02))
    reader, writer = os.openpty()
    log = StatusLog(writers=[serial_writer(os.ttyname(writer), 115200)], demo=False)
    log.event("started")
    assert b"started" in read_lines(reader, 1)
    os.close(reader)
    os.close(writer)
    for _ in range(10):
        log.event("heartbeat")
    log.close(0.1)


def test_a_port_that_cannot_be_opened_is_told_once_and_once_when_it_is_back(
    line, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("device.journal.status.REOPEN_S", (0.01, 0.02))
    reader, port = line
    plugged = tmp_path / "ttyUSB0"
    log = StatusLog(writers=[serial_writer(str(plugged), 115200, "[demo] ")], demo=False)
    log.event("started")
    time.sleep(0.3)  # many tries
    plugged.symlink_to(port)
    assert b'"started"' in read_lines(reader, 1)
    log.event("ready")
    assert b'"ready"' in read_lines(reader, 1)
    log.close()
    assert capfd.readouterr().err.splitlines() == [
        f"[demo] serial port {plugged}: cannot be opened: No such file or directory: trying again every 0.02 s",
        f"[demo] serial port {plugged}: is back",
    ]


def test_a_port_that_works_says_nothing_on_stderr(line, capfd):
    reader, port = line
    log = StatusLog(writers=[serial_writer(port, 115200)], demo=False)
    log.event("started")
    read_lines(reader, 1)
    log.close()
    assert capfd.readouterr().err == ""
