"""The exit button, the contact and the tamper switch, whatever the recognizer does."""

from __future__ import annotations

import time

import pytest

from device.lock import server as lock_server
from tests.support.lock_bench import PULSE_S, SWITCHES, levels


@pytest.fixture
def door(make_bench):
    """A shut door with switches, and the pins to move them by: low is shut or pressed."""
    bench = make_bench(door=SWITCHES, pulse_s=30)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: ("door", {"door": "locked"}) in bench.log.lines)
    return bench


def press(bench, pin=23, seconds=0.15):
    bench.factory.pin(pin).drive_low()
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        bench.server.step()
    bench.factory.pin(pin).drive_high()


def test_the_exit_button_works_with_the_recognizer_dead(door):
    press(door)
    assert door.pin.state is True


def test_a_dying_recognizer_does_not_lock_in_who_pressed_the_button(door):
    client = door.connect()
    press(door)
    client.socket.close()
    for _ in range(5):
        door.server.step()
    assert door.pin.state is True


def test_rubbish_does_not_lock_in_who_pressed_the_button(door):
    client = door.connect()
    press(door)
    client.send(b"rubbish")
    assert client.receive().word == "refused"
    assert door.pin.state is True


ENDS = {
    "lock": lambda client: client.ask("lock"),
    "hang up": lambda client: client.socket.close(),
    "rubbish": lambda client: client.send(b"rubbish"),
    "a pulse, and lock": lambda client: (client.ask("pulse"), client.ask("lock")),
    "a pulse, and hang up": lambda client: (client.ask("pulse"), client.socket.close()),
    "a pulse, and another recognizer": lambda client: (
        client.ask("pulse"),
        client.socket.close(),
        client.bench.connect(),
    ),
}


@pytest.mark.parametrize("first", ["button", "recognizer"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_that_the_recognizer_does_ends_the_pulse_of_the_button(make_bench, end, first):
    """A pulse belongs to who asked for it."""
    bench = make_bench(door=SWITCHES, pulse_s=2.0)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: ("door", {"door": "locked"}) in bench.log.lines)
    client = bench.connect()
    if first == "recognizer":
        client.ask("pulse")
    press(bench)
    pressed_s = time.monotonic() - 0.15
    ENDS[end](client)
    bench.step_until(lambda: not bench.pin.state, 4)
    assert levels(bench.pin) == [False, True, False]
    assert 1.75 <= time.monotonic() - pressed_s <= 4


def test_the_recognizer_is_told_that_the_button_opened(door):
    client = door.connect()
    press(door)
    assert client.ask("lock").bolt == "released"
    assert client.ask("pulse").bolt == "unlocked"
    assert client.ask("lock").bolt == "released"


def test_the_buttons_pulse_outlives_neither_itself_nor_a_recognizer_that_hangs(make_bench, monkeypatch):
    """After the button's own pulse, the recognizer's is its own again: one that hangs, or goes, is locked behind."""
    monkeypatch.setattr(lock_server, "SILENCE_S", 0.2)
    bench = make_bench(door=SWITCHES, pulse_s=3.0)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: bench.log.lines)
    press(bench)
    bench.step_until(lambda: not bench.pin.state)
    for end in ("silence", "hang up"):
        client = bench.connect()
        client.ask("pulse")
        began_s = time.monotonic()
        if end == "hang up":
            client.socket.close()
        bench.step_until(lambda: not bench.pin.state, 2)
        assert time.monotonic() - began_s < 2  # before its pulse is over
        client.socket.close()
        bench.server.step()


def test_a_recognizer_that_hangs_in_the_buttons_pulse_ends_only_its_own(make_bench, monkeypatch):
    monkeypatch.setattr(lock_server, "SILENCE_S", 0.2)
    bench = make_bench(door=SWITCHES, pulse_s=3.0)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: bench.log.lines)
    client = bench.connect()
    client.ask("pulse")
    press(bench)
    bench.step_until(lambda: "silent" in bench.log.reasons(), 2)
    assert bench.pin.state is True
    bench.step_until(lambda: not bench.pin.state)


def test_who_presses_while_the_leaf_stands_open_still_gets_out(door):
    """Somebody else's door falls shut behind them; that ends their pulse, not the one of the button."""
    client = door.connect()
    client.ask("pulse")
    door.factory.pin(22).drive_high()
    door.step_until(lambda: ("door", {"door": "open"}) in door.log.lines)
    press(door)
    door.factory.pin(22).drive_low()
    for _ in range(30):
        door.server.step()
    assert door.pin.state is True
    assert client.ask("beat").bolt == "released"  # theirs alone is left
    assert client.ask("lock").bolt == "released"
    door.factory.pin(22).drive_high()  # now it is theirs that opens, and falls shut
    door.step_until(lambda: door.log.lines[-1] == ("door", {"door": "open"}))
    door.factory.pin(22).drive_low()
    door.step_until(lambda: not door.pin.state, 1)


def test_a_touch_of_the_button_that_is_no_press(door):
    press(door, seconds=0.01)
    for _ in range(10):
        door.server.step()
    assert door.pin.state is False


def test_a_button_that_is_stuck_opens_once(make_bench):
    bench = make_bench(door=SWITCHES)
    bench.factory.pin(22).drive_low()
    bench.step_until(lambda: bench.log.lines)
    bench.factory.pin(23).drive_low()
    until_s = time.monotonic() + 3 * PULSE_S
    while time.monotonic() < until_s:
        bench.server.step()
    assert levels(bench.pin) == [False, True, False]


def test_a_door_that_falls_shut_is_locked(door):
    client = door.connect()
    client.ask("pulse")
    door.factory.pin(22).drive_high()
    door.step_until(lambda: ("door", {"door": "open"}) in door.log.lines)
    assert door.pin.state is True
    door.factory.pin(22).drive_low()
    door.step_until(lambda: not door.pin.state, 1)


def test_a_forced_door_is_told_and_drives_the_alarm(door):
    client = door.connect()
    door.factory.pin(22).drive_high()
    door.step_until(lambda: ("alarm", {"reason": "forced"}) in door.log.lines)
    assert door.factory.pin(25).state is True
    assert client.ask("beat").report.alarms == {"forced"}
    door.factory.pin(22).drive_low()
    door.step_until(lambda: ("alarm_over", {"reason": "forced"}) in door.log.lines)
    assert door.factory.pin(25).state is False
