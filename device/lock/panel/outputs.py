"""Outputs: the buzzer, LED, display, silent alarm and keypad of a door, held by the lock process for the recognizer.

The recognizer names a signal and hears keys; which pin that is, and for how long it is high, is decided here. What a
challenge asks for is played on buzzer and LED alike:

blink        two short
turn left    one long
turn right   two long
nod          three short

A display says the same in words, and asks to look into the camera and hold still as well (display.py).

None of them may keep a door from working: one that cannot be claimed is told, and left out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from device.config import Config, LivenessConfig, pins_of
from device.errors import LockError
from device.lock.panel.display import TEXTS, open_display
from device.lock.panel.keypad import SCAN_S, MatrixKeypad
from device.lock.wire import ALARM

SHORT_S, LITTLE_S, LONG_S, FAR_S, PAUSE_S = 0.12, 0.25, 0.5, 0.8, 0.15
PATTERNS = {
    "blink": (2, SHORT_S),
    "turn_left": (1, LONG_S),
    "turn_right": (2, LONG_S),
    "turn_left_little": (1, LITTLE_S),
    "turn_right_little": (2, LITTLE_S),
    "turn_left_far": (1, FAR_S),
    "turn_right_far": (2, FAR_S),
    "nod": (3, SHORT_S),
    "back": (1, SHORT_S),
}
ALARM_S = 60.0


def prompt_pins(settings: LivenessConfig) -> dict[str, int]:
    """Return the configured pins of buzzer and LED by their key."""
    pins = {"liveness.buzzer_pin": settings.buzzer_pin, "liveness.led_pin": settings.led_pin}
    return {key: pin for key, pin in pins.items() if pin >= 0}


class Outputs:
    """What is configured of them, claimed and silent; nothing at all is fine.

    Args:
        pin_factory: gpiozero's pins, as `board_pins()` yields them.
        warn: hears in a line what cannot be claimed.
    """

    def __init__(
        self, config: Config, *, pin_factory: Any, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self._pin_factory, self._warn = pin_factory, warn
        self._pressed: list[str] = []
        self._scanned_s = 0.0
        hints = [self._output(key, pin) for key, pin in prompt_pins(config.liveness).items()]
        self._hints = [each for each in hints if each is not None]
        self._display = open_display(config.liveness, warn)
        alarm_pin = config.policy.alarm_pin
        self._alarm = self._output("policy.alarm_pin", alarm_pin) if alarm_pin >= 0 else None
        self._keypad = self._open_keypad(config) if config.keypad.rows else None

    @property
    def scanned(self) -> bool:
        """True when there is a keypad to look at."""
        return self._keypad is not None

    def play(self, signal: str) -> None:
        """Give a signal of the protocol once; an output that does not obey must not keep the door from locking."""
        if signal == ALARM:
            if self._alarm is not None:
                with suppress(Exception):
                    self._alarm.blink(on_time=ALARM_S, off_time=0.1, n=1)
            return
        if self._display is not None:
            self._display.show(TEXTS.get(signal, ""))
        for output in self._hints:
            with suppress(Exception):
                output.off()
                if signal in PATTERNS:
                    count, on_s = PATTERNS[signal]
                    output.blink(on_time=on_s, off_time=PAUSE_S, n=count, background=True)

    def keys(self, now_s: float) -> list[str]:
        """Return the keys that went down since the last look; looked at closer together they would bounce."""
        if self._keypad is not None and now_s - self._scanned_s >= SCAN_S:
            self._scanned_s = now_s
            with suppress(Exception):
                self._keypad.scan()
        pressed, self._pressed = self._pressed, []
        return pressed

    def close(self) -> None:
        """Switch all off and give the pins back."""
        for output in (*self._hints, self._alarm):
            if output is not None:
                with suppress(Exception):
                    output.off()
                with suppress(Exception):
                    output.close()
        if self._keypad is not None:
            self._keypad.close()
        if self._display is not None:
            self._display.close()

    def _output(self, key: str, pin: int) -> Any:
        try:
            from gpiozero import DigitalOutputDevice

            return DigitalOutputDevice(pin, initial_value=False, pin_factory=self._pin_factory)
        except Exception as error:
            self._warn(
                f"{key}: GPIO{pin} cannot be claimed: {error}: the door works without it: check the pin"
            )
            return None

    def _open_keypad(self, config: Config) -> MatrixKeypad | None:
        rows, columns = (pins_of(getattr(config.keypad, key), f"keypad.{key}") for key in ("rows", "columns"))
        try:
            return MatrixKeypad(
                rows, columns, lambda key: self._pressed.append(key), pin_factory=self._pin_factory
            )
        except LockError as error:
            self._warn(f"{error}: the door works without it")
            return None
