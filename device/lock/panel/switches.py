"""DoorPins: the switches of a door and its alarm output, on a Raspberry Pi's GPIO.

Each switch lies between its pin and ground; the board's own resistor pulls the pin up. So a cut wire reads as an open
door, a bolt that is not thrown, an opened box, and a button that nobody presses. They are polled: polling
misses nothing at start-up, and needs no callback thread of a library.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from device.config import DoorConfig
from device.lock.door import Debounced, Seen, debounce

STILL_S = 0.05  # contacts bounce for some milliseconds; nobody presses a button for less
SWITCHES = {"closed": "contact_pin", "thrown": "bolt_pin", "sealed": "tamper_pin", "exit_pressed": "exit_pin"}


class DoorPins:
    """The configured switches, debounced, and the alarm.

    Args:
        pin_factory: gpiozero's pins, as `board_pins()` yields them.
        warn: hears in a line what cannot be claimed; the door works without it.
    """

    def __init__(
        self, settings: DoorConfig, *, pin_factory: Any, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self._pin_factory, self._warn = pin_factory, warn
        self._levels: dict[str, Debounced] = {}
        pins = {what: getattr(settings, key) for what, key in SWITCHES.items() if getattr(settings, key) >= 0}
        self._devices = {what: self._switch(what, pin) for what, pin in pins.items()}
        self._alarm = self._output(settings.alarm_pin) if settings.alarm_pin >= 0 else None

    @property
    def watched(self) -> bool:
        """True when there is a switch to look at."""
        return bool(self._devices)

    def look(self, pin_locked: bool | None, now_s: float) -> Seen:
        """Return what pin and switches say now; a switch that cannot be read counts as open."""
        for what, device in self._devices.items():
            try:
                raw = bool(device.value)
            except Exception:
                raw = False
            self._levels[what] = debounce(self._levels.get(what), raw, now_s, STILL_S)
        return Seen(pin_locked=pin_locked, **{what: switch.level for what, switch in self._levels.items()})

    def alarm(self, on: bool) -> None:
        """Drive the alarm output; one that does not obey must not keep the door from locking."""
        if self._alarm is not None:
            with contextlib.suppress(Exception):
                self._alarm.value = on

    def close(self) -> None:
        """Switch the alarm off and give all pins back."""
        self.alarm(False)
        for device in [*self._devices.values(), self._alarm]:
            if device is not None:
                with contextlib.suppress(Exception):
                    device.close()

    def _switch(self, what: str, pin: int) -> Any:
        try:
            from gpiozero import DigitalInputDevice

            return DigitalInputDevice(pin, pull_up=True, pin_factory=self._pin_factory)
        except Exception as error:
            self._tell(SWITCHES[what], pin, error, "it counts as open")
            return None

    def _output(self, pin: int) -> Any:
        try:
            from gpiozero import DigitalOutputDevice

            return DigitalOutputDevice(pin, pin_factory=self._pin_factory)
        except Exception as error:
            self._tell("alarm_pin", pin, error, "the door works without it")
            return None

    def _tell(self, key: str, pin: int, error: Exception, effect: str) -> None:
        self._warn(f"door.{key}: GPIO{pin} cannot be claimed: {error}: {effect}: check the [door] section")
