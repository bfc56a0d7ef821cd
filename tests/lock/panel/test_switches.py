"""The switches and the alarm on gpiozero's mock pins."""

from __future__ import annotations

import pytest
from gpiozero.pins.mock import MockFactory, MockPin

from device.config import DoorConfig
from device.lock.door import Seen
from device.lock.panel.switches import STILL_S, DoorPins

ALL = DoorConfig(contact_pin=22, bolt_pin=23, exit_pin=24, tamper_pin=25, alarm_pin=26)


@pytest.fixture
def pins():
    factory = MockFactory()
    yield factory
    factory.close()


@pytest.fixture
def door(pins):
    made = DoorPins(ALL, pin_factory=pins)
    yield made
    made.close()


def test_each_switch_is_shut_when_its_pin_is_low(pins, door):
    cut = Seen(pin_locked=True, closed=False, thrown=False, sealed=False, exit_pressed=False)
    assert door.look(True, 0.0) == cut  # pulled up by the board: a cut wire, and nobody at the button
    for number, what in ((22, "closed"), (23, "thrown"), (24, "exit_pressed"), (25, "sealed")):
        assert pins.pin(number).pull == "up"
        pins.pin(number).drive_low()
        door.look(True, 1.0)
        seen = door.look(True, 1.0 + 2 * STILL_S)
        assert [name for name in ("closed", "thrown", "exit_pressed", "sealed") if getattr(seen, name)] == [
            what
        ]
        pins.pin(number).drive_high()
        door.look(True, 2.0)
        door.look(True, 2.0 + 2 * STILL_S)


def test_a_bounce_is_not_seen(pins, door):
    door.look(True, 0.0)
    pins.pin(24).drive_low()
    assert not door.look(True, 1.0).exit_pressed
    pins.pin(24).drive_high()
    assert not door.look(True, 1.01).exit_pressed
    assert not door.look(True, 2.0).exit_pressed


def test_a_switch_that_cannot_be_read_counts_as_open(pins, door, monkeypatch):
    pins.pin(22).drive_low()
    assert door.look(True, 0.0).closed
    monkeypatch.setattr(MockPin, "_get_state", lambda self: 1 / 0)
    door.look(True, 1.0)
    assert door.look(True, 1.0 + 2 * STILL_S).closed is False
    monkeypatch.undo()


def test_no_switch_is_none(pins):
    with_none = DoorPins(DoorConfig(), pin_factory=pins)
    assert not with_none.watched
    assert with_none.look(False, 0.0) == Seen(pin_locked=False)
    with_none.alarm(True)
    with_none.close()
    assert pins.pins == {}


def test_the_alarm_is_off_at_first_and_at_last(pins, door):
    pin = pins.pin(26)
    assert (pin.function, pin.state) == ("output", False)
    door.alarm(True)
    assert pin.state is True
    door.close()
    assert [state.state for state in pin.states] == [False, True, False]


def test_an_alarm_that_does_not_obey_is_borne(pins, door, monkeypatch):
    monkeypatch.setattr(MockPin, "_set_state", lambda self, value: 1 / 0)
    door.alarm(True)
    monkeypatch.undo()


def test_a_switch_that_cannot_be_claimed_counts_as_open_and_is_told(pins, door):
    told = []
    other = DoorPins(DoorConfig(contact_pin=5, exit_pin=24, alarm_pin=26), pin_factory=pins, warn=told.append)
    assert [text.split(" cannot be claimed")[0] for text in told] == [
        "door.exit_pin: GPIO24",
        "door.alarm_pin: GPIO26",
    ]
    pins.pin(5).drive_low()
    assert other.look(True, 0.0) == Seen(pin_locked=True, closed=True, exit_pressed=False)
    other.alarm(True)
    other.close()
    DoorPins(DoorConfig(contact_pin=5), pin_factory=pins, warn=pytest.fail).close()


def test_a_button_is_pressed_for_a_twentieth_of_a_second(pins, door):
    door.look(True, 0.0)
    pins.pin(24).drive_low()
    assert not door.look(True, 1.0).exit_pressed
    assert not door.look(True, 1.04).exit_pressed
    assert door.look(True, 1.06).exit_pressed


def test_gpio0_is_a_pin():
    """The wiring's check refuses it; here -1 alone is none."""
    factory = MockFactory()
    with_one = DoorPins(DoorConfig(contact_pin=0), pin_factory=factory)
    assert with_one.watched
    with_one.close()
