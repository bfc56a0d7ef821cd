"""RemoteLock against a real lock process: the Lock protocol, and what it does when the other side is gone."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time

import pytest

from device.build import build_lock
from device.config import Config, LockConfig
from device.errors import LockError, LockRefused
from device.lock import client as lock_client
from device.lock.client import RemoteLock
from device.lock.door import Report
from device.lock.wire import Answer, write_answer
from tests.lock.test_lockd import Process

NONCE = "ab" * 16
PULSE_S = 0.6


@pytest.fixture
def process(tmp_path):
    made = Process(tmp_path, f"[lock]\npulse_s = {PULSE_S}\n")
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.communicate()


@pytest.fixture
def lock(process):
    made = RemoteLock(process.address, life_s=1.5, patience_s=20)
    yield made
    with contextlib.suppress(LockError):
        made.close()


def wait_until(condition, seconds=5.0):
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_one_pulse(process, lock):
    told = []
    lock.on_change = told.append
    assert lock.is_locked is True
    lock.unlock(time.monotonic())
    assert lock.is_locked is False
    wait_until(lambda: lock.is_locked)
    lock.close()
    assert told == [False, True]
    rise, fall = process.trace.changes()
    assert fall[0] - rise[0] == pytest.approx(PULSE_S, abs=0.15)


def test_an_old_frame_is_refused_and_the_next_one_opens(process, lock):
    with pytest.raises(LockRefused, match="stale") as caught:
        lock.unlock(time.monotonic() - 1.6)
    assert caught.value.reason == "stale"
    assert process.levels() == []
    lock.unlock(time.monotonic())
    assert process.levels() == [True]


def test_lock_and_close_lock(tmp_path, process):
    for way_out in (RemoteLock.lock, RemoteLock.close):
        lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
        lock.unlock()
        getattr(lock, way_out.__name__)()
        assert process.trace.level is False
        lock.close()
        lock.close()
        assert lock.is_locked is None
        with pytest.raises(LockError, match="after close"):
            lock.unlock()
    assert process.levels() == [True, False] * 2


def test_lock_and_unlock_again_on_one_connection(process, lock):
    for _ in range(5):
        lock.unlock(time.monotonic())
        assert process.trace.level is True
        lock.lock()
        assert process.trace.level is False
    assert process.levels() == [True, False] * 5


def test_check_beats_and_no_check_ends_the_pulse(tmp_path):
    process = Process(tmp_path, "[lock]\npulse_s = 30\n")
    try:
        lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
        lock.unlock()
        until_s = time.monotonic() + 2.6  # longer than the lock process bears silence
        while time.monotonic() < until_s:
            lock.check()
            time.sleep(0.05)
        assert process.levels() == [True]
        wait_until(lambda: not process.trace.level)
        with pytest.raises(LockError, match="hung up"):
            lock.check()
        assert lock.is_locked is None
    finally:
        process.end(signal.SIGKILL)


def test_who_was_silent_in_mid_pulse_locks_and_is_let_in_again(tmp_path):
    """A camera that hangs keeps the recognizer from beating: that must not end it."""
    process = Process(tmp_path, "[lock]\npulse_s = 30\n")
    try:
        lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
        lock.unlock()
        wait_until(lambda: not process.trace.level)  # hung up on
        lock.lock()
        assert lock.is_locked is True
        lock.check()
        lock.unlock()
        assert process.trace.level
        lock.close()
        assert process.levels() == [True, False, True, False]
    finally:
        process.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_process_that_is_gone_is_an_error_everywhere(process, lock, number):
    process.end(number)
    assert lock.is_locked is None
    for method in (lock.check, lock.unlock, lock.lock):
        with pytest.raises(LockError, match="see `systemctl status face-unlock-lock`"):
            method()
    with pytest.raises(LockError):
        lock.close()
    lock.close()


def test_a_lock_process_that_hangs_is_an_error(process, lock, monkeypatch):
    monkeypatch.setattr(lock_client, "ANSWER_S", 0.3)
    process.process.send_signal(signal.SIGSTOP)
    assert lock.is_locked is True  # sets the new patience
    started_s = time.monotonic()
    with pytest.raises(LockError, match="does not answer"):
        lock.unlock()
    assert time.monotonic() - started_s < 2
    process.process.send_signal(signal.SIGCONT)


class Stopped(BaseException):
    """What a signal's handler raises, in whatever line the program is."""


def stop(*_):
    raise Stopped


@pytest.mark.parametrize("verb", ["pulse", "beat"])
@pytest.mark.parametrize("line", ["before the answer", "with the answer in hand"])
def test_a_signal_in_the_middle_of_a_command_locks_at_once(process, lock, monkeypatch, verb, line):
    if verb == "beat":
        lock.unlock()
    with monkeypatch.context() as patch:
        if line == "before the answer":
            patch.setattr(lock, "_wait_for_answer", stop)
        else:
            patch.setattr(lock_client, "read_answer", stop)
        with pytest.raises(Stopped):
            lock._ask(verb, time.monotonic())
    wait_until(lambda: process.trace.level)
    started_s = time.monotonic()
    lock.close()
    assert time.monotonic() - started_s < 0.25
    assert process.levels() == [True, False]


def test_the_bolt_may_be_jammed(tmp_path, process, lock):
    seen = []
    lock.on_door = lambda before, after: seen.append((before.door, after.door, after.alarms))
    lock.unlock()
    (tmp_path / "stuck_open").touch()
    wait_until(lambda: (seen and seen[-1][1] == "jammed") or lock.check())
    assert lock.is_locked is None
    assert seen[-1][2] == {"jammed"}
    with pytest.raises(LockRefused, match="jammed"):
        lock.unlock()
    with pytest.raises(LockError, match="expected locked"):
        lock.lock()
    (tmp_path / "stuck_open").unlink()
    wait_until(lambda: lock.check() or lock.is_locked)
    lock.unlock()


def test_nobody_there(tmp_path):
    with pytest.raises(LockError, match="cannot be reached"):
        RemoteLock(tmp_path / "bolt.sock", life_s=1.5, patience_s=0.2)


def test_it_waits_for_a_lock_process_that_starts_late(tmp_path):
    made = []
    starter = threading.Timer(0.5, lambda: made.append(Process(tmp_path)))
    starter.start()
    lock = RemoteLock(tmp_path / "bolt.sock", life_s=1.5, patience_s=20)
    assert lock.is_locked is True
    lock.close()
    made[0].end()


def test_a_second_recognizer_gives_up(process, lock):
    lock.check()
    with pytest.raises(LockError, match="busy"):
        RemoteLock(process.address, life_s=1.5, patience_s=0.3)
    lock.check()


class Impostor:
    """Somebody else on the socket, who answers with given packets."""

    def __init__(self, address, *packets):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(address))
        self.listener.listen(1)
        self.packets = packets
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        connection, _ = self.listener.accept()
        connection.send(self.packets[0])
        for packet in self.packets[1:]:
            connection.recv(300)
            connection.send(packet)
        self.connection = connection


HELLO = write_answer(Answer("hello", NONCE, "locked", Report("locked")))


@pytest.mark.parametrize("packet", [b"ok", b"\xff" * 100, b"x" * 1000, b"granted " + NONCE.encode()])
def test_an_answer_that_is_none_is_an_error(tmp_path, packet):
    impostor = Impostor(tmp_path / "s", HELLO, packet)
    lock = RemoteLock(tmp_path / "s", life_s=1.5, patience_s=0)
    with pytest.raises(LockError, match="expected a line of its protocol"):
        lock.unlock()
    impostor.listener.close()


def test_build_takes_the_lock_process_unless_pins_are_given(process):
    from gpiozero.pins.mock import MockFactory

    config = Config(lock=LockConfig(socket=str(process.address)))
    process.connect()[0].close()
    lock = build_lock(config, pin_factory=None)
    assert isinstance(lock, RemoteLock)
    lock.close()
    pins = MockFactory()
    with build_lock(config, pin_factory=pins) as mock:  # a demo never reaches the door
        mock.unlock()
        assert pins.pin(17).state is True
    assert process.levels() == []
