"""The bolt on a line of any GPIO chip of the kernel, through libgpiod: a Jetson's, or that of another board."""

from __future__ import annotations

from typing import Any

from device.errors import LockError
from device.lock.bolt import PulseLock
from device.lock.claim import GPIOCHIP, Claim


class GpiochipLock(PulseLock):
    """A relay on a line of a GPIO chip, through libgpiod's own Python bindings (`gpiod` 2.x).

    Tests run it on a double of that module; it ran on Debian's kernel with gpio-sim, and not on a Jetson. A Jetson's
    kernel lets go of a line when its owner dies, so the relay's pull resistor locks it.

    Args:
        chip: such as `/dev/gpiochip0`.
        line: offset on that chip (`gpioinfo` lists them).
        active_high: True when a high line unlocks.
        pulse_s: seconds of one unlock.
        gpiod: the module; None imports it.
    """

    def __init__(self, *, chip: str, line: int, active_high: bool, pulse_s: float, gpiod: Any = None) -> None:
        self._chip, self._line, self._active_high = chip, line, active_high
        try:
            if gpiod is None:
                import gpiod
            values = gpiod.line.Value
            self._value = {True: values.ACTIVE, False: values.INACTIVE}
            settings = gpiod.LineSettings(
                direction=gpiod.line.Direction.OUTPUT,
                output_value=values.INACTIVE,  # the kernel claims the line with this level: no glitch
                active_low=not active_high,
            )
            self._request = gpiod.request_lines(chip, consumer="face-unlock", config={line: settings})
        except ImportError as error:
            raise LockError(f"{self}: {error}: pip install 'gpiod>=2', or run with --demo") from error
        except Exception as error:
            raise LockError(
                f"{self}: cannot be claimed: {error}: check lock.chip, lock.line and the gpio group; on a Raspberry "
                'Pi take lock.driver = "gpiozero" and lock.pin'
            ) from error
        try:
            super().__init__(pulse_s=pulse_s)
        except BaseException:
            self._release()
            raise

    def __str__(self) -> str:
        return f"{self._chip} line {self._line}"

    @property
    def claim(self) -> Claim:
        return Claim(GPIOCHIP, self._chip, self._line, self._active_high)

    def _write(self, unlocked: bool) -> None:
        self._request.set_value(self._line, self._value[unlocked])

    def _read(self) -> bool:
        return bool(self._request.get_value(self._line) == self._value[True])

    def _release(self) -> None:
        self._request.release()
