"""The front: moves of a challenge, the alarm and the keypad, with the pins here and without a lock process."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from gpiozero.pins.mock import MockFactory

from device.config import Config, KeypadConfig, LivenessConfig, PolicyConfig
from device.decide.moves import Move
from device.lock.front import LocalFront, Prompt, raise_alarm
from device.lock.panel.outputs import LONG_S, PATTERNS, SHORT_S
from tests.support.waiting import wait_until

PULSES = {"blink": (2, SHORT_S), "turn_left": (1, LONG_S), "turn_right": (2, LONG_S), "nod": (3, SHORT_S)}


def test_every_move_has_a_pattern_of_its_own() -> None:
    assert set(PATTERNS) == {str(move) for move in Move}
    assert len(set(PATTERNS.values())) == len(PATTERNS)


@pytest.fixture
def factory():
    made = MockFactory()
    yield made
    made.close()


def open_front(factory, **sections):
    return LocalFront(Config(**sections), pin_factory=factory)


@pytest.mark.parametrize("move", PULSES)
def test_a_move_is_played_once_on_both_outputs(factory, move: str) -> None:
    front = open_front(factory, liveness=LivenessConfig(buzzer_pin=22, led_pin=23))
    prompt = Prompt(front.signal)
    count, on_s = PULSES[move]
    pins = [factory.pin(22), factory.pin(23)]
    for pin in pins:
        pin.clear_states()
    for _ in range(3):  # each frame of the challenge shows it again
        prompt.show(move)
    wait_until(lambda: all(len(pin.states) >= 2 * count + 1 for pin in pins))
    for pin in pins:
        states = [state.state for state in pin.states]
        assert states == [False] + [True, False] * count
        on = [after.timestamp for before, after in pairwise(pin.states) if before.state]
        assert min(on) == pytest.approx(on_s, abs=0.25)
    front.close()


def test_silence_ends_a_pattern_and_close_gives_the_pins_back(factory) -> None:
    liveness = LivenessConfig(buzzer_pin=22)
    front = open_front(factory, liveness=liveness)
    prompt = Prompt(front.signal)
    prompt.show("turn_left")
    time.sleep(0.05)
    prompt.show(None)
    assert factory.pin(22).state is False
    front.close()
    open_front(factory, liveness=liveness).close()  # the pins are free


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # gpiozero's own thread
def test_an_output_that_fails_is_no_fault_of_the_door(factory) -> None:
    front = open_front(factory, liveness=LivenessConfig(led_pin=22))
    front._outputs._hints[0].close()
    Prompt(front.signal).show("nod")
    front.unlock()
    assert factory.pin(17).state
    front.close()


def test_nothing_but_the_lock_is_the_default(factory) -> None:
    front = open_front(factory)
    for signal in ("nod", "alarm", "quiet"):
        front.signal(signal)
    Prompt().show("nod")
    assert [pin.info.name for pin in factory.pins.values()] == ["GPIO17"]
    front.close()


def test_the_alarms_pin_is_low_but_for_an_alarm(factory) -> None:
    front = open_front(factory, policy=PolicyConfig(alarm_pin=22))
    assert factory.pin(22).state == 0
    raise_alarm(front.signal)
    wait_until(lambda: factory.pin(22).state)
    front.close()
    assert factory.pin(22).state == 0


def test_keys_of_a_keypad_are_heard(factory) -> None:
    front = open_front(factory, keypad=KeypadConfig(rows="5,6,13,19", columns="16,20,21"))
    heard: list[str] = []
    front.on_key = heard.append
    factory.pin(20).drive_high()  # as if the key of every row in this column were down, one after the other
    wait_until(lambda: True)
    factory.pin(20).drive_low()
    front.close()
    assert factory.pin(5).function == "output" or factory.pin(5).state == 0


def test_what_cannot_be_claimed_is_told_and_the_door_works_without_it(factory) -> None:
    taken = open_front(factory, policy=PolicyConfig(alarm_pin=24))
    taken.bolt.close()  # frees the lock's pin, and keeps the alarm's
    told: list[tuple[str, dict]] = []
    front = open_front(factory, policy=PolicyConfig(alarm_pin=24), liveness=LivenessConfig(led_pin=23))
    front.on_news = lambda name, details: told.append((name, details))
    front.check()
    front.check()
    [(name, details)] = told
    assert name == "warning"
    assert details["error"].startswith("policy.alarm_pin: GPIO24 cannot be claimed")
    assert "\n" not in details["error"]
    front.unlock()
    assert factory.pin(17).state
    front.close()
