"""Tell a person at the door what a challenge asks for, by a buzzer, an LED, both or neither.

blink        two short
turn left    one long
turn right   two long
nod          three short
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from device.config import LivenessConfig, LockConfig
from device.errors import ConfigError, LockError, LockRefused
from device.lock.bolt import set_lgpio_folder
from device.lock.client import RemoteLock
from device.lock.wire import QUIET
from device.lock.wiring import UART_PINS

SHORT_S, LONG_S, PAUSE_S = 0.12, 0.5, 0.15
PATTERNS = {"blink": (2, SHORT_S), "turn_left": (1, LONG_S), "turn_right": (2, LONG_S), "nod": (3, SHORT_S)}


class Prompt:
    """Play the pattern of a move on each output once, when the move changes.

    Args:
        outputs: gpiozero's `DigitalOutputDevice`s.
        factory: pins of its own, closed with it; None: somebody else's.
    """

    def __init__(self, outputs: list[Any], factory: Any = None) -> None:
        self._outputs, self._factory = outputs, factory
        self._shown: str | None = None

    def show(self, move: str | None) -> None:
        """Tell a move, or be silent for None; an output that fails costs the person a hint, not the door its lock."""
        if move == self._shown:
            return
        self._shown = move
        for output in self._outputs:
            with contextlib.suppress(Exception):
                output.off()
                if move is not None:
                    count, on_s = PATTERNS[move]
                    output.blink(on_time=on_s, off_time=PAUSE_S, n=count, background=True)

    def close(self) -> None:
        """Be silent and give the pins back."""
        for output in [*self._outputs, *([self._factory] if self._factory else [])]:
            with contextlib.suppress(Exception):
                output.close()


class RemotePrompt(Prompt):
    """Have the lock process, whose pins they are, play the pattern; it is silent when this program goes."""

    def __init__(self, lock: RemoteLock) -> None:
        super().__init__([])
        self._lock = lock

    def show(self, move: str | None) -> None:
        """Tell a move, or be silent for None; one that came too late costs the person a hint."""
        if move == self._shown:
            return
        self._shown = move
        with contextlib.suppress(LockRefused):
            self._lock.signal(move or QUIET)


def prompt_pins(settings: LivenessConfig) -> dict[str, int]:
    """Return the configured pins by their key."""
    pins = {"buzzer_pin": settings.buzzer_pin, "led_pin": settings.led_pin}
    return {key: pin for key, pin in pins.items() if pin >= 0}


def check_prompt_pins(settings: LivenessConfig, lock: LockConfig, serial_port: str = "") -> None:
    """Refuse a pin that would drive the lock, two outputs on one pin, and the serial log's."""
    pins = prompt_pins(settings)
    for key, pin in pins.items():
        if lock.driver != "gpiozero":
            raise ConfigError(
                f'liveness.{key}: expected -1 with lock.driver = "{lock.driver}", received {pin}: '
                "a prompt needs gpiozero's pins"
            )
        if pin == lock.pin:
            raise ConfigError(f"liveness.{key}: GPIO{pin} is lock.pin, which opens the door: choose another")
        if serial_port and not serial_port.startswith(("/dev/ttyUSB", "/dev/ttyACM")) and pin in UART_PINS:
            raise ConfigError(
                f"liveness.{key}: GPIO{pin} carries the serial log on {serial_port}: choose another"
            )
    if len(set(pins.values())) < len(pins):
        raise ConfigError(
            f"liveness.led_pin: GPIO{settings.led_pin} is liveness.buzzer_pin as well: choose another"
        )


def open_prompt(settings: LivenessConfig, *, pin_factory: Any) -> Prompt:
    """Claim the configured pins, silent; none at all is fine."""
    pins = prompt_pins(settings)
    if not pins:
        return Prompt([])
    set_lgpio_folder()
    outputs: list[Any] = []
    own = None
    try:
        from gpiozero import DigitalOutputDevice

        if pin_factory is None and not os.environ.get("GPIOZERO_PIN_FACTORY"):
            from gpiozero.pins.lgpio import LGPIOFactory

            pin_factory = own = LGPIOFactory()
        for pin in pins.values():
            outputs.append(DigitalOutputDevice(pin, initial_value=False, pin_factory=pin_factory))
    except Exception as error:
        Prompt(outputs, own).close()
        claimed = ", ".join(f"liveness.{key} GPIO{pin}" for key, pin in pins.items())
        raise LockError(
            f"{claimed}: cannot be claimed: {error}: check the pins, or set them to -1"
        ) from error
    return Prompt(outputs, own)
