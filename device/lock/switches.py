"""DoorPins: the switches of a door and its alarm output, on a Raspberry Pi's GPIO.

Each switch lies between its pin and ground; the board's own resistor pulls the pin up. So a cut wire reads as an open
door, a bolt that is not thrown, an opened box, and a button that nobody presses. They are read by looking, again and
again: what the loop sees cannot be missed at start-up, and no callback thread of a library has a say.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from device.config import DoorConfig
from device.errors import LockError
from device.lock.door import Debounced, Seen, debounce

STILL_S = 0.05  # contacts bounce for some milliseconds; nobody presses a button for less
SWITCHES = {"closed": "contact_pin", "thrown": "bolt_pin", "sealed": "tamper_pin", "exit_pressed": "exit_pin"}


class DoorPins:
    """The configured switches, debounced, and the alarm.

    Args:
        pin_factory: gpiozero's pins; None takes lgpio, or what GPIOZERO_PIN_FACTORY names.
    """

    def __init__(self, settings: DoorConfig, *, pin_factory: Any) -> None:
        self._devices: dict[str, Any] = {}
        self._levels: dict[str, Debounced] = {}
        self._alarm: Any = None
        self._own_factory: Any = None
        pins = {what: getattr(settings, key) for what, key in SWITCHES.items() if getattr(settings, key) >= 0}
        if not pins and settings.alarm_pin < 0:
            return
        try:
            self._claim(pins, settings.alarm_pin, pin_factory)
        except ImportError as error:
            raise LockError(f"door: {error}: apt install python3-lgpio") from error
        except Exception as error:
            self.close()
            raise LockError(f"door: a pin cannot be claimed: {error}: check the [door] section") from error

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
        for device in [*self._devices.values(), self._alarm, self._own_factory]:
            if device is not None:
                with contextlib.suppress(Exception):
                    device.close()

    def _claim(self, pins: dict[str, int], alarm_pin: int, pin_factory: Any) -> None:
        from gpiozero import DigitalInputDevice, DigitalOutputDevice

        if pin_factory is None and not os.environ.get("GPIOZERO_PIN_FACTORY"):
            from gpiozero.pins.lgpio import LGPIOFactory

            pin_factory = self._own_factory = LGPIOFactory()
        for what, pin in pins.items():
            self._devices[what] = DigitalInputDevice(pin, pull_up=True, pin_factory=pin_factory)
        if alarm_pin >= 0:
            self._alarm = DigitalOutputDevice(alarm_pin, pin_factory=pin_factory)
