"""RemoteLock against a real lock process: the Lock protocol, and what it does when the other side is gone."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time

import pytest

from device.build import build_front
from device.config import Config, LockConfig
from device.errors import LockError, LockRefused
from device.lock import client as lock_client
from device.lock.client import RemoteLock
from device.lock.door import Report
from device.lock.server import SILENCE_S
from device.lock.wire import Answer, write_answer
from tests.support.lock_bench import Process
from tests.support.waiting import wait_until

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


def test_a_frame_that_takes_long_cuts_no_pulse(tmp_path):
    """The beat says that the program lives; the loop is in one slow frame meanwhile."""
    process = Process(tmp_path, "[lock]\npulse_s = 30\n")
    try:
        lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
        lock.unlock()
        time.sleep(SILENCE_S + 1.5)
        assert process.levels() == [True]
        assert lock.is_locked is False
        lock.check()
        lock.close()
        assert process.levels() == [True, False]
    finally:
        process.end(signal.SIGKILL)


def test_a_loop_that_hangs_stops_beating_and_is_let_in_again(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_client, "HANGS_S", 0.5)
    process = Process(
        tmp_path, "[lock]\npulse_s = 14\n"
    )  # longer than the wait for the silence to be noticed
    news = []
    try:
        lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
        lock.on_news = lambda name, details: news.append(name)
        lock.unlock()
        wait_until(lambda: not process.trace.level, 10)  # nobody calls check(): silent, locked and hung up on
        lock.check()
        assert lock.is_locked is True
        assert [name for name in news if name.startswith("lock")] == ["lock_lost", "lock_back"]
        lock.unlock()
        assert process.trace.level
        lock.close()
        assert process.levels() == [True, False, True, False]
    finally:
        process.end(signal.SIGKILL)


def test_a_lock_process_that_starts_anew_is_connected_to(tmp_path):
    process = Process(tmp_path)
    news = []
    lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
    lock.on_news = lambda name, details: news.append((name, details))
    process.end(signal.SIGKILL)
    wait_until(lambda: lock.check() or lock.is_locked is None)
    with pytest.raises(LockRefused, match="gone"):
        lock.unlock()
    lock.lock()  # a lost camera meanwhile: it is locked, and the program goes on
    again = Process(tmp_path)
    try:
        wait_until(lambda: lock.check() or lock.is_locked, 20)
        lock.unlock()
        assert again.trace.level
        lost, back = (each for each in news if each[0].startswith("lock"))
        assert lost[0] == "lock_lost"
        assert "see `systemctl status face-unlock-lock`" in lost[1]["error"]
        assert back == ("lock_back", {})
        lock.close()
    finally:
        again.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_process_that_stays_away_is_an_error(process, number):
    lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
    lock._patience_s = 0.5
    process.end(number)
    with pytest.raises(LockError, match="see `systemctl status face-unlock-lock`"):
        wait_until(lambda: lock.check())
    assert lock.is_locked is None
    with pytest.raises(LockError, match="is gone"):
        lock.close()
    lock.close()


def test_a_lock_process_that_hangs_unlocks_nothing_and_stays_away(process, lock, monkeypatch):
    monkeypatch.setattr(lock_client, "ANSWER_S", 0.3)
    lock._patience_s = 0.5
    process.process.send_signal(signal.SIGSTOP)
    assert lock.is_locked is True  # sets the new patience
    started_s = time.monotonic()
    with pytest.raises(LockError, match="is gone"):
        wait_until(lambda: lock.check())
    assert time.monotonic() - started_s < 5
    with pytest.raises(LockRefused, match="gone"):
        lock.unlock()
    process.process.send_signal(signal.SIGCONT)
    assert process.levels() == []


def test_a_lock_that_the_button_opened_does_not_keep_the_recognizer_waiting(tmp_path):
    """`lock` at a reconnect or at SIGTERM ends the recognizer's own pulse, and is done when that is over."""
    (tmp_path / "gpio23.level").write_text("1")
    process = Process(tmp_path, "[lock]\npulse_s = 5\n[door]\nexit_pin = 23\n")
    try:
        lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
        (tmp_path / "gpio23.level").write_text("0")
        wait_until(lambda: process.trace.level)
        wait_until(lambda: lock.check() or lock.is_locked is False)
        started_s = time.monotonic()
        lock.lock()
        lock.close()
        assert time.monotonic() - started_s < 1
        time.sleep(1)
        assert process.trace.level
        again = RemoteLock(process.address, life_s=1.5, patience_s=20)
        assert again.is_locked is False
        again.close()
        wait_until(lambda: not process.trace.level, 10)
        (rise_s, _), (fall_s, _) = process.trace.changes()
        assert 4.9 <= fall_s - rise_s <= 7
    finally:
        process.end(signal.SIGKILL)


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
    lock.on_news = lambda name, details: seen.append((name, *details.values()))
    lock.unlock()
    (tmp_path / "stuck_open").touch()
    wait_until(lambda: ("alarm", "jammed") in seen or lock.check())
    assert lock.is_locked is None
    assert ("door", "jammed") in seen
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


def test_what_is_asked_for_somebody_elsewhere_and_what_is_signalled_reach_the_lock_process(process, lock):
    """Neither is obeyed here: the door is not opened from outside, and there is no such signal."""
    with pytest.raises(LockRefused) as caught:
        lock.open_from_outside()
    assert caught.value.reason == "not_allowed"
    with pytest.raises(LockRefused) as caught:
        lock.signal("no such")
    assert caught.value.reason in ("rubbish", "unknown_command")


def test_a_locked_door_at_the_start_is_no_news_and_a_key_is_one(tmp_path):
    key = write_answer(Answer("key", NONCE, "locked", Report("locked"), key="7"))
    impostor = Impostor(tmp_path / "s", HELLO, key)
    lock = RemoteLock(tmp_path / "s", life_s=1.5, patience_s=0)
    keys, changes = [], []
    lock.on_key, lock.on_change = keys.append, changes.append
    wait_until(lambda: keys)
    impostor.connection.send(write_answer(Answer("ok", NONCE, "locked", Report("locked"))))
    wait_until(lambda: lock.is_locked)
    time.sleep(0.3)
    assert (keys, changes) == (["7"], [])
    impostor.listener.close()


def test_build_takes_the_lock_process_unless_pins_are_given(process):
    from gpiozero.pins.mock import MockFactory

    config = Config(lock=LockConfig(socket=str(process.address)))
    process.connect()[0].close()
    lock = build_front(config, pin_factory=None)
    assert isinstance(lock, RemoteLock)
    lock.close()
    pins = MockFactory()
    mock = build_front(config, pin_factory=pins)  # a demo never reaches the door
    mock.unlock()
    assert pins.pin(17).state is True
    mock.close()
    assert process.levels() == []
