"""The bolt: what the pin does on every way out, stated as its whole waveform."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpiozero.pins.mock import MockFactory, MockPin

from device.config import LockConfig
from device.errors import ConfigError, LockError
from device.lock import drivers
from device.lock.bolt import MAX_OPEN_S, Asker
from device.lock.claim import set_lgpio_folder
from device.lock.gpio import GpioLock
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PULSE_S = 0.25


@pytest.fixture
def pins():
    factory = MockFactory()
    yield factory
    factory.close()


def open_lock(pins, *, active_high=True, pulse_s=PULSE_S):
    lock = GpioLock(pin=17, active_high=active_high, pulse_s=pulse_s, pin_factory=pins)
    return lock, pins.pin(17)


def assert_waveform(pin, expected):
    """Hold the pin to (seconds since the change before, level) of all its states: none missing, none more."""
    assert [bool(level) for _, level in expected] == [state.state for state in pin.states]
    # a busy test machine is late, never early: the lower edge is gpiozero's own, the upper one is wide
    for state, (after_s, _) in zip(pin.states, expected, strict=True):
        assert after_s - 0.05 <= state.timestamp <= after_s + 4.0, (pin.states, expected)


def test_grant_is_one_pulse(pins):
    lock, pin = open_lock(pins)
    assert lock.is_locked is True
    pin.clear_states()
    lock.unlock()
    assert lock.is_locked is False
    wait_until(lambda: lock.is_locked)
    lock.close()
    assert_waveform(pin, [(0.0, False), (0.0, True), (PULSE_S, False)])


def test_active_low_is_the_mirror_image(pins):
    lock, pin = open_lock(pins, active_high=False)
    assert pin.state is True
    assert lock.is_locked is True
    pin.clear_states()
    lock.unlock()
    wait_until(lambda: lock.is_locked)
    lock.close()
    assert_waveform(pin, [(0.0, True), (0.0, False), (PULSE_S, True)])


def test_second_unlock_starts_the_pulse_anew(pins):
    lock, pin = open_lock(pins)
    pin.clear_states()
    lock.unlock()
    time.sleep(PULSE_S / 2)
    lock.unlock()
    wait_until(lambda: lock.is_locked)
    time.sleep(PULSE_S * 1.5)  # a stacked pulse would show here
    lock.close()
    assert_waveform(pin, [(0.0, False), (0.0, True), (PULSE_S * 1.5, False)])


def test_unlocking_all_the_time_still_locks_at_the_bound(pins, monkeypatch):
    monkeypatch.setattr("device.lock.bolt.MAX_OPEN_S", 0.4)
    lock, pin = open_lock(pins)
    pin.clear_states()
    until = time.monotonic() + 0.7
    while len(pin.states) < 3 and time.monotonic() < until:
        lock.unlock()
        time.sleep(0.005)
    lock.close()
    assert MAX_OPEN_S == 30.0
    assert pin.states[2].state is False
    assert pin.states[2].timestamp < 0.6


def test_close_in_mid_pulse_locks_before_it_lets_go(pins):
    lock, pin = open_lock(pins, pulse_s=5)
    pin.clear_states()
    lock.unlock()
    lock.close()
    lock.close()
    assert_waveform(pin, [(0.0, False), (0.0, True), (0.0, False)])
    assert pin.function == "input"
    assert lock.is_locked is None
    with pytest.raises(LockError, match="after close"):
        lock.unlock()
    lock.lock()  # a late lock() of a signal handler is no error


@pytest.mark.parametrize("method", ["close", "unlock"])
def test_signal_handler_raises_in_the_middle_of_a_write(pins, monkeypatch, method):
    class Stopped(BaseException):
        pass

    lock, pin = open_lock(pins, pulse_s=5)
    lock.unlock()
    pin.clear_states()
    write, raised = lock._write, []

    def interrupted(unlocked):
        if not raised:
            raised.append(True)
            raise Stopped
        write(unlocked)

    monkeypatch.setattr(lock, "_write", interrupted)
    with pytest.raises(Stopped):
        getattr(lock, method)()
    assert_waveform(pin, [(0.0, True), (0.0, False)])
    lock.close()


def test_exception_in_mid_pulse(pins):
    lock, pin = open_lock(pins, pulse_s=5)
    pin.clear_states()
    with contextlib.suppress(RuntimeError), lock:
        lock.unlock()
        raise RuntimeError("camera on fire")
    assert_waveform(pin, [(0.0, False), (0.0, True), (0.0, False)])


def test_lock_ends_a_pulse_at_once_and_for_good(pins):
    lock, pin = open_lock(pins)
    pin.clear_states()
    lock.unlock()
    lock.lock()
    time.sleep(PULSE_S * 1.5)
    lock.close()
    assert_waveform(pin, [(0.0, False), (0.0, True), (0.0, False)])


def test_main_thread_hangs_in_the_middle_of_a_pulse(pins):
    lock, pin = open_lock(pins)
    pin.clear_states()
    lock.unlock()
    threading.Event().wait(PULSE_S * 3)  # nobody calls the lock meanwhile
    assert_waveform(pin, [(0.0, False), (0.0, True), (PULSE_S, False)])
    lock.close()


def test_changes_are_told_and_a_broken_listener_harms_nothing(pins):
    lock, _ = open_lock(pins)
    told = []

    def listener(locked):
        told.append(locked)
        raise ValueError("listener")

    lock.on_change = listener
    lock.unlock()
    wait_until(lambda: len(told) == 2)
    lock.unlock()
    lock.close()
    assert told == [False, True, False, True]


class StuckPin(MockPin):
    """A pin whose level a short holds: it ignores writes while `stuck`."""

    stuck = False

    def _change_state(self, value):
        return False if self.stuck else super()._change_state(value)


def test_pin_that_does_not_unlock_is_an_error():
    lock, pin = open_lock(MockFactory(pin_class=StuckPin))
    pin.stuck = True
    with pytest.raises(LockError, match="GPIO17: driven to unlocked, reads back"):
        lock.unlock()
    assert lock.is_locked is True
    pin.stuck = False
    time.sleep(PULSE_S)
    assert [s.state for s in pin.states] == [False]
    lock.close()


def test_relock_is_tried_until_the_pin_obeys():
    lock, pin = open_lock(MockFactory(pin_class=StuckPin))
    lock.unlock()
    pin.stuck = True
    time.sleep(PULSE_S * 2)
    assert lock.is_locked is False
    for method in (lock.check, lock.unlock):
        with pytest.raises(LockError, match="last relock failed"):
            method()
    pin.stuck = False
    wait_until(lambda: lock.is_locked)
    lock.check()
    lock.unlock()  # and works again
    lock.close()
    assert pin.state is False


def test_stuck_pin_makes_close_raise_and_gives_it_back():
    lock, pin = open_lock(MockFactory(pin_class=StuckPin))
    lock.unlock()
    pin.stuck = True
    with pytest.raises(LockError, match="locked"):
        lock.close()
    assert pin.function == "input"


def test_pin_that_cannot_be_read_is_unknown(pins, monkeypatch):
    lock, _ = open_lock(pins)
    monkeypatch.setattr(MockPin, "_get_state", lambda self: 1 / 0)
    assert lock.is_locked is None
    monkeypatch.undo()
    lock.close()


def test_pin_in_use_or_unknown_is_one_line(pins):
    lock, _ = open_lock(pins)
    for pin in (17, 99):
        with pytest.raises(LockError, match=rf"GPIO{pin}: cannot be claimed: .*systemctl stop") as caught:
            GpioLock(pin=pin, active_high=True, pulse_s=1, pin_factory=pins)
        assert "\n" not in str(caught.value)
    lock.close()


@pytest.mark.parametrize("pulse_s", [0, -1, 61, float("nan")])
def test_pulse_out_of_range(pins, pulse_s):
    with pytest.raises(ConfigError, match="pulse_s"):
        GpioLock(pin=17, active_high=True, pulse_s=pulse_s, pin_factory=pins)
    GpioLock(pin=17, active_high=True, pulse_s=1, pin_factory=pins).close()  # the pin was given back


@pytest.mark.parametrize("driver", ["gpiozero", "jetson"])
def test_pins_of_the_caller_are_the_only_ones_driven(pins, driver):
    """On a Jetson too: a demo that claims the real line opens the real door."""
    with drivers.open_lock(LockConfig(driver=driver), pin_factory=pins) as lock:
        lock.unlock()
        assert pins.pin(17).state is True


@pytest.mark.parametrize("name", ["mock", "Mock", "MOCK"])
def test_a_forgotten_mock_of_the_environment_is_refused(monkeypatch, name):
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", name)
    with pytest.raises(LockError, match="drives no pin"):
        drivers.board_pins(None, driver="gpiozero").__enter__()


def test_lgpio_writes_into_the_runtime_folder(monkeypatch):
    monkeypatch.delenv("LG_WD", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/face-unlock:/run/other")
    set_lgpio_folder()
    assert os.environ["LG_WD"] == "/run/face-unlock"
    monkeypatch.delenv("LG_WD")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    set_lgpio_folder()
    assert "LG_WD" not in os.environ


# --- the thread that ends a pulse


@pytest.mark.parametrize("times", [1, 10**9])
@pytest.mark.parametrize("error", [MemoryError, RuntimeError, SystemExit])
def test_a_pulse_ends_in_time_though_the_relock_threads_wait_fails(pins, monkeypatch, error, times):
    lock, pin = open_lock(pins, pulse_s=0.5)
    wait, left = lock._wake.wait, [times]

    def failing(timeout=None):
        if left[0]:
            left[0] -= 1
            raise error
        return wait(timeout)

    monkeypatch.setattr(lock._wake, "wait", failing)
    pin.clear_states()
    lock.unlock()
    wait_until(lambda: not pin.state)
    assert_waveform(pin, [(0.0, False), (0.0, True), (0.5, False)])
    monkeypatch.undo()
    lock.unlock()
    wait_until(lambda: not pin.state)
    lock.close()


def test_a_relock_that_runs_out_of_memory_is_tried_again(pins, monkeypatch):
    lock, pin = open_lock(pins)
    write, left = lock._write, [3]

    def failing(unlocked):
        if not unlocked and left[0]:
            left[0] -= 1
            raise MemoryError
        write(unlocked)

    monkeypatch.setattr(lock, "_write", failing)
    lock.unlock()
    wait_until(lambda: not pin.state)
    assert left == [0]
    lock.close()


def test_a_relock_thread_that_is_dead_is_missed_by_the_loop(pins, monkeypatch):
    lock, pin = open_lock(pins)
    dead = threading.Thread(target=lambda: None)
    dead.start()
    dead.join()
    lock.unlock()
    monkeypatch.setattr(lock, "_await_end", lambda: threading.Event().wait(3))  # and the old thread is stuck
    lock._timer = dead
    time.sleep(PULSE_S * 1.5)
    lock.check()  # as every loop does, ten times a second
    assert pin.state is False
    assert lock._timer.is_alive()
    monkeypatch.undo()
    lock.unlock()
    wait_until(lambda: not pin.state)
    lock.close()


def test_without_a_thread_there_is_no_pulse(pins, monkeypatch):
    def no_more(self):
        raise RuntimeError("can't start new thread")

    lock, pin = open_lock(pins)
    lock._timer = SimpleNamespace(is_alive=lambda: False)
    monkeypatch.setattr(threading.Thread, "start", no_more)
    with pytest.raises(LockError, match="no thread to end a pulse"):
        lock.unlock()
    assert pin.state is False
    monkeypatch.undo()
    lock.close()


# --- two askers


def test_a_pulse_belongs_to_who_asked_for_it(pins):
    lock, pin = open_lock(pins, pulse_s=1.0)
    pin.clear_states()
    lock.unlock(asker=Asker.INSIDE)
    time.sleep(0.3)
    lock.unlock()
    assert (lock.runs(Asker.INSIDE), lock.runs(Asker.OUTSIDE)) == (True, True)
    lock.end(Asker.OUTSIDE)
    assert (lock.runs(Asker.INSIDE), lock.runs(Asker.OUTSIDE)) == (True, False)
    wait_until(lambda: not pin.state)
    assert_waveform(pin, [(0.0, False), (0.0, True), (1.0, False)])
    lock.unlock()
    lock.end(Asker.INSIDE)
    assert pin.state is True
    lock.end(Asker.OUTSIDE)
    assert pin.state is False
    lock.close()


def test_one_askers_bound_does_not_cut_the_other_ones_pulse(pins, monkeypatch):
    monkeypatch.setattr("device.lock.bolt.MAX_OPEN_S", 0.4)
    lock, pin = open_lock(pins, pulse_s=0.35)
    began_s = time.monotonic()
    lock.unlock()
    while time.monotonic() - began_s < 0.3:
        lock.unlock()
        time.sleep(0.01)
    lock.unlock(asker=Asker.INSIDE)
    pressed_s = time.monotonic()
    wait_until(lambda: not pin.state)
    assert time.monotonic() - pressed_s >= 0.34
    lock.close()
