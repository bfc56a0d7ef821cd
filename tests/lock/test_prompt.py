"""The prompt: its patterns on the pins, and that it never shares one with the lock."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from gpiozero.pins.mock import MockFactory

from device.config import LivenessConfig, LockConfig
from device.decide.challenge import Move
from device.errors import ConfigError, LockError
from device.lock.prompt import LONG_S, PATTERNS, SHORT_S, check_prompt_pins, open_prompt

PULSES = {"blink": (2, SHORT_S), "turn_left": (1, LONG_S), "turn_right": (2, LONG_S), "nod": (3, SHORT_S)}


def test_every_move_has_a_pattern_of_its_own() -> None:
    assert set(PATTERNS) == {str(move) for move in Move}
    assert len(set(PATTERNS.values())) == len(PATTERNS)


@pytest.mark.parametrize("move", PULSES)
def test_a_move_is_played_once_on_both_outputs(move: str) -> None:
    factory = MockFactory()
    prompt = open_prompt(LivenessConfig(buzzer_pin=22, led_pin=23), pin_factory=factory)
    count, on_s = PULSES[move]
    pins = [factory.pin(22), factory.pin(23)]
    for pin in pins:
        pin.clear_states()
    for _ in range(3):  # each frame of the challenge shows it again
        prompt.show(move)
    until_s = time.monotonic() + 20
    while any(len(pin.states) < 2 * count + 1 for pin in pins) and time.monotonic() < until_s:
        time.sleep(0.02)
    for pin in pins:
        states = [state.state for state in pin.states]
        assert states == [False] + [True, False] * count
        on = [after.timestamp for before, after in pairwise(pin.states) if before.state]
        assert min(on) == pytest.approx(on_s, abs=0.25)
    prompt.close()


def test_silence_ends_a_pattern_and_close_gives_the_pins_back() -> None:
    factory = MockFactory()
    settings = LivenessConfig(buzzer_pin=22)
    prompt = open_prompt(settings, pin_factory=factory)
    prompt.show("turn_left")
    time.sleep(0.05)
    prompt.show(None)
    assert factory.pin(22).state is False
    prompt.close()
    open_prompt(settings, pin_factory=factory).close()  # the pin is free


def test_an_output_that_fails_is_no_fault_of_the_door() -> None:
    factory = MockFactory()
    prompt = open_prompt(LivenessConfig(led_pin=22), pin_factory=factory)
    prompt._outputs[0].close()
    prompt.show("nod")
    prompt.close()


def test_none_is_the_default() -> None:
    factory = MockFactory()
    prompt = open_prompt(LivenessConfig(), pin_factory=factory)
    prompt.show("nod")
    assert factory.pins == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"buzzer_pin": 17}, "liveness.buzzer_pin: GPIO17 is lock.pin"),
        ({"led_pin": 17}, "liveness.led_pin: GPIO17 is lock.pin"),
        ({"led_pin": 22, "buzzer_pin": 22}, "liveness.led_pin: GPIO22 is liveness.buzzer_pin"),
        ({"led_pin": 14}, "carries the serial log"),
    ],
)
def test_a_pin_that_has_another_use_is_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_prompt_pins(LivenessConfig(**settings), LockConfig(), "/dev/serial0")


def test_a_jetson_has_no_prompt() -> None:
    with pytest.raises(ConfigError, match="needs gpiozero's pins"):
        check_prompt_pins(LivenessConfig(led_pin=22), LockConfig(driver="jetson"))


def test_a_pin_that_cannot_be_claimed_is_one_line() -> None:
    factory = MockFactory()
    taken = open_prompt(LivenessConfig(led_pin=22), pin_factory=factory)
    with pytest.raises(LockError, match=r"liveness\.led_pin GPIO22: cannot be claimed") as caught:
        open_prompt(LivenessConfig(led_pin=22), pin_factory=factory)
    assert "\n" not in str(caught.value)
    taken.close()
