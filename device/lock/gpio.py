"""The bolt on a Raspberry Pi's GPIO, through gpiozero."""

from __future__ import annotations

from typing import Any

from device.errors import LockError
from device.lock.bolt import PulseLock
from device.lock.claim import GPIOZERO, Claim


class GpioLock(PulseLock):
    """A relay on a Raspberry Pi's GPIO, through gpiozero.

    Args:
        pin: BCM number.
        active_high: True when a high pin unlocks. Prefer it: lgpio claims an output low, which energizes an
            active-low relay for some microseconds.
        pulse_s: seconds of one unlock.
        pin_factory: gpiozero's pins, as `board_pins()` yields them.
    """

    def __init__(self, *, pin: int, active_high: bool, pulse_s: float, pin_factory: Any) -> None:
        self._line, self._active_high = pin, active_high
        self._chip = getattr(pin_factory, "chip", None)
        try:
            from gpiozero import DigitalOutputDevice

            self._pin = DigitalOutputDevice(
                pin, active_high=active_high, initial_value=False, pin_factory=pin_factory
            )
        except ImportError as error:
            raise LockError(f"{self}: {error}: apt install python3-lgpio, or run with --demo") from error
        except Exception as error:
            raise LockError(
                f"{self}: cannot be claimed: {error}: check lock.pin, the gpio group, and that no other program has it "
                "(a running door: sudo systemctl stop face-unlock face-unlock-lock), or run with --demo"
            ) from error
        try:
            super().__init__(pulse_s=pulse_s)
        except BaseException:
            self._release()
            raise

    def __str__(self) -> str:
        return f"GPIO{self._line}"

    @property
    def claim(self) -> Claim:
        return Claim(GPIOZERO, "" if self._chip is None else str(self._chip), self._line, self._active_high)

    def _write(self, unlocked: bool) -> None:
        if unlocked:
            self._pin.on()
        else:
            self._pin.off()

    def _read(self) -> bool:
        return bool(self._pin.value)

    def _release(self) -> None:
        self._pin.close()
