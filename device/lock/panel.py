"""Outputs: the buzzer, LED, silent alarm and keypad of a door, held by the lock process for the recognizer.

The recognizer names a signal and hears keys; which pin that is, and for how long it is high, is decided here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from device.config import Config, pins_of
from device.errors import LockError
from device.lock.alarm import AlarmPin
from device.lock.bolt import set_lgpio_folder
from device.lock.matrix_keypad import SCAN_S, MatrixKeypad
from device.lock.prompt import Prompt, open_prompt
from device.lock.wire import ALARM, QUIET


class Outputs:
    """What is configured of them, claimed and silent; nothing at all is fine.

    Args:
        pin_factory: gpiozero's pins; None takes lgpio, or what GPIOZERO_PIN_FACTORY names.
    """

    def __init__(self, config: Config, *, pin_factory: Any) -> None:
        self._prompt: Prompt | None = None
        self._alarm: AlarmPin | None = None
        self._keypad: MatrixKeypad | None = None
        self._own_factory: Any = None
        self._pressed: list[str] = []
        self._scanned_s = 0.0
        try:
            self._claim(config, pin_factory)
        except ImportError as error:
            self.close()
            raise LockError(f"outputs: {error}: apt install python3-lgpio") from error
        except BaseException:
            self.close()
            raise

    @property
    def scanned(self) -> bool:
        """True when there is a keypad to look at."""
        return self._keypad is not None

    def play(self, signal: str) -> None:
        """Give a signal of the protocol once; an output that does not obey must not keep the door from locking."""
        with suppress(Exception):
            if signal == ALARM:
                if self._alarm is not None:
                    self._alarm.sound()
            elif self._prompt is not None:
                self._prompt.show(None)  # the same move again is a pattern again
                self._prompt.show(None if signal == QUIET else signal)

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
        for part in (self._prompt, self._alarm, self._keypad, self._own_factory):
            if part is not None:
                with suppress(Exception):
                    part.close()

    def _claim(self, config: Config, pin_factory: Any) -> None:
        keypad, liveness = config.keypad, config.liveness
        alarm_pin = config.policy.alarm_pin
        if not (keypad.rows or alarm_pin >= 0 or max(liveness.buzzer_pin, liveness.led_pin) >= 0):
            return
        if pin_factory is None and not os.environ.get("GPIOZERO_PIN_FACTORY"):
            pin_factory = self._own_factory = _lgpio()
        self._prompt = open_prompt(liveness, pin_factory=pin_factory)
        if alarm_pin >= 0:
            self._alarm = AlarmPin(alarm_pin, pin_factory=pin_factory)
        if keypad.rows:
            self._keypad = open_keypad(config, self._pressed_key, pin_factory=pin_factory)

    def _pressed_key(self, key: str) -> None:
        self._pressed.append(key)


def open_keypad(config: Config, on_key: Callable[[str], None], *, pin_factory: Any) -> MatrixKeypad:
    """Claim the configured keypad."""
    rows, columns = (pins_of(getattr(config.keypad, key), f"keypad.{key}") for key in ("rows", "columns"))
    return MatrixKeypad(rows, columns, on_key, pin_factory=pin_factory)


def _lgpio() -> Any:
    set_lgpio_folder()
    from gpiozero.pins.lgpio import LGPIOFactory

    return LGPIOFactory()
