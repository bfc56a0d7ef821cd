"""The one place that chooses what drives the pins: of the bolt by `lock.driver`, of all others gpiozero's pins."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from device.config import LockConfig
from device.errors import LockError
from device.lock.bolt import PulseLock
from device.lock.claim import GPIOZERO, ClaimFile, set_lgpio_folder
from device.lock.gpio import GpioLock
from device.lock.gpiochip import GpiochipLock
from device.lock.relock import relock

CHOICE = "GPIOZERO_PIN_FACTORY"  # gpiozero's own variable


@contextlib.contextmanager
def board_pins(given: Any, *, driver: str) -> Iterator[Any]:
    """Yield the pins that every pin of this door is taken from, and close them at the end.

    Given ones (a demo's, a test's) are yielded as they are. Else lgpio's, or those that GPIOZERO_PIN_FACTORY names:
    gpiozero's own search would end at factories that write a wrong register on newer boards. With a lock on another
    driver there is no other pin (wiring.py), and None is yielded.
    """
    own = open_factory() if given is None and driver == GPIOZERO else None
    try:
        yield own if given is None else given
    finally:
        if own is not None:
            with contextlib.suppress(Exception):
                own.close()


def open_factory() -> Any:
    """Return new pins of this board; None leaves the choice to GPIOZERO_PIN_FACTORY."""
    chosen = os.environ.get(CHOICE, "")
    # Without this a forgotten variable of a test leaves a door that reports grants and never moves.
    if chosen.lower() == "mock":
        raise LockError(f"{CHOICE}={chosen} drives no pin, expected real ones: unset it, or run with --demo")
    if chosen:
        return None
    set_lgpio_folder()  # before lgpio is imported: it reads the variable once
    try:
        from gpiozero.pins.lgpio import LGPIOFactory

        return LGPIOFactory()
    except ImportError as error:
        raise LockError(f"gpiozero: {error}: apt install python3-lgpio, or run with --demo") from error
    except Exception as error:
        raise LockError(
            f"gpiozero: no Raspberry Pi's pins here: {error}: check the gpio group; on another board set "
            'lock.driver = "gpiochip", lock.chip and lock.line, or run with --demo'
        ) from error


def open_lock(
    settings: LockConfig,
    *,
    pin_factory: Any,
    record: ClaimFile | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> PulseLock:
    """Build the lock that a `[lock]` section describes.

    Args:
        pin_factory: what `board_pins()` yields; on another driver than gpiozero's, given ones (a mock's) win.
        record: where the claimed pin is written down; None: nowhere (a demo). A pin that an earlier program left
            claimed, and that is not this one, is locked first.
        warn: hears in a line what is wrong with the record.
    """
    lock = _open(settings, pin_factory)
    if record is None:
        return lock
    left = record.read()
    if left is not None and left[1] and not left[0].is_pin_of(lock.claim):
        try:
            relock(left[0], pin_factory=pin_factory)
        except LockError as error:
            warn(f"the pin of an earlier configuration may stand open: {error}")
    record.hold(lock.claim)
    lock.record = record
    if record.fault:
        warn(record.fault)
    return lock


def _open(settings: LockConfig, pin_factory: Any) -> PulseLock:
    if settings.is_gpiochip and pin_factory is None:
        return GpiochipLock(
            chip=settings.chip,
            line=settings.line,
            active_high=settings.active_high,
            pulse_s=settings.pulse_s,
        )
    return GpioLock(
        pin=settings.pin,
        active_high=settings.active_high,
        pulse_s=settings.pulse_s,
        pin_factory=pin_factory,
    )
