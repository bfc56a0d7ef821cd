"""Lock: an output pin that unlocks for one pulse and locks itself again; `python -m device.lock --relock`.

What holds, whatever the program does:

- The pin is driven to locked while it is claimed, again after it, and first thing when it is given back:
  gpiozero's `close()` in mid-pulse leaves the output energized.
- A thread of the lock's own ends each pulse by monotonic time, whether the main thread hangs, raises or is
  busy.
- A second `unlock()` starts the pulse anew, it never stacks; without a pause the bolt stays open for at most
  max(30 s, one pulse), then it locks and only a fresh `unlock()` opens it again.
- Each write is read back from the pin. A pin that does not obey is a `LockError`, and the relock is tried
  again until it succeeds.

A killed process (SIGKILL, power) runs none of this: a Raspberry Pi keeps the output driven after its owner's
death, so the service runs `--relock` afterwards, and the relay wants a pull resistor to its locked side
(docs/owner/install.md).
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.config import LockConfig, load_config
from device.errors import ConfigError, FaceUnlockError, LockError
from device.lock.wiring import BOOT_FILE

if TYPE_CHECKING:
    from typing import Self

MAX_OPEN_S = 30.0  # restarted pulses never add up to more, unless one pulse alone is longer
RETRY_S = 0.2  # a relock that failed is tried again this often


class PulseLock(ABC):
    """The pulse and its end, for a pin that a subclass writes and reads.

    `on_change(locked)` may be set to be told of each change of the pin, from the thread that caused it; what
    it raises is dropped.
    """

    def __init__(self, *, pulse_s: float) -> None:
        if not 0 < pulse_s <= 60:
            raise ConfigError(f"lock.pulse_s: expected above 0 and at most 60 s, received {pulse_s:g}")
        self.on_change: Callable[[bool], None] | None = None
        self._pulse_s = pulse_s
        # An RLock, because a signal handler may call lock() while unlock() holds it.
        self._wake = threading.Condition(threading.RLock())
        self._relock_at_s: float | None = None
        self._opened_at_s = 0.0
        self._fault = ""
        self._closed = False
        self._drive(False)
        # The thread exists before the first pulse, so no pulse can start that nobody ends.
        self._timer = threading.Thread(target=self._end_pulses, name="relock", daemon=True)
        self._timer.start()
        atexit.register(self.close)

    @abstractmethod
    def _write(self, unlocked: bool) -> None:
        """Drive the pin."""

    @abstractmethod
    def _read(self) -> bool:
        """Read the pin back: True is unlocked."""

    @abstractmethod
    def _release(self) -> None:
        """Give the pin back."""

    @property
    def is_locked(self) -> bool | None:
        """True locked, False unlocked, None when the pin cannot be read (or is given back)."""
        with self._wake:
            if not self._closed:
                with contextlib.suppress(Exception):
                    return not self._read()
        return None

    def check(self) -> None:
        """Raise LockError when the last relock failed: the door may stand open."""
        if fault := self._fault:
            raise LockError(f"the last relock failed: {fault}: check the wiring, then restart")

    @property
    def is_pulsing(self) -> bool:
        """True from unlock() until the pin was locked again."""
        return self._relock_at_s is not None

    def unlock(self, frame_at_s: float | None = None) -> None:
        """Unlock for one pulse; raise LockError, locked as far as the pin obeys, when it cannot."""
        with self._wake:
            if self._closed:
                raise LockError("unlock() after close(): build a new lock")
            self.check()
            now_s = time.monotonic()
            was_open = self._relock_at_s is not None
            if not was_open:
                self._opened_at_s = now_s
            # The end is set before the pin: an exception between the two lines still ends locked.
            bound_s = self._opened_at_s + max(MAX_OPEN_S, self._pulse_s)
            self._relock_at_s = min(now_s + self._pulse_s, bound_s)
            self._wake.notify_all()
            try:
                self._drive(True)
            except BaseException:
                with contextlib.suppress(LockError):
                    self.lock()
                raise
        if not was_open:
            self._tell(False)

    def lock(self) -> None:
        """Lock now; raise LockError when the pin does not obey (the relock thread keeps trying)."""
        with self._wake:
            if self._closed:
                return
            was_open = self._relock_at_s is not None
            try:
                self._drive(False)
            except LockError as error:
                self._fault = str(error)
                self._relock_at_s = time.monotonic() + RETRY_S
                self._wake.notify_all()
                raise
            self._fault = ""
            self._relock_at_s = None
        if was_open:
            self._tell(True)

    def close(self) -> None:
        """Lock, then give the pin back; a second call does nothing."""
        with self._wake:
            if self._closed:
                return
            was_open = self._relock_at_s is not None
            try:
                self._drive(False)  # first: closing alone would leave an energized relay energized
            except BaseException:
                with contextlib.suppress(Exception):
                    self._write(False)  # a signal handler's exception may have cut the first write short
                raise
            finally:
                self._closed = True
                self._relock_at_s = None
                self._wake.notify_all()
                atexit.unregister(self.close)
                with contextlib.suppress(Exception):
                    self._release()
        if was_open:
            self._tell(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _drive(self, unlocked: bool) -> None:
        wanted = "unlocked" if unlocked else "locked"
        try:
            self._write(unlocked)
            obeyed = self._read() == unlocked
        except Exception as error:
            raise LockError(f"{self}: cannot be driven to {wanted}: {error}: check the wiring") from error
        if not obeyed:
            raise LockError(f"{self}: driven to {wanted}, reads back as the opposite: check for a short")

    def _end_pulses(self) -> None:
        while not self._closed:
            with self._wake:
                left_s = None if self._relock_at_s is None else self._relock_at_s - time.monotonic()
                if left_s is None or left_s > 0:
                    self._wake.wait(left_s)
                    continue
            with contextlib.suppress(Exception):  # lock() has noted the fault and the time of the next try
                self._lock_if_due()

    def _lock_if_due(self) -> None:
        # Held from the look at the clock to the write, so that an unlock() in between keeps its pulse.
        with self._wake:
            if self._relock_at_s is not None and self._relock_at_s <= time.monotonic():
                self.lock()

    def _tell(self, locked: bool) -> None:
        if self.on_change is not None:
            with contextlib.suppress(Exception):
                self.on_change(locked)


class GpioLock(PulseLock):
    """A relay on a Raspberry Pi's GPIO, through gpiozero.

    Args:
        pin: BCM number.
        active_high: True when a high pin unlocks. Prefer it: lgpio claims an output low, which energizes an
            active-low relay for some microseconds.
        pulse_s: seconds of one unlock.
        pin_factory: gpiozero's pins; None takes lgpio, or what GPIOZERO_PIN_FACTORY names.
    """

    def __init__(self, *, pin: int, active_high: bool, pulse_s: float, pin_factory: Any) -> None:
        set_lgpio_folder()  # before lgpio is imported: it reads the variable once
        self._name = f"GPIO{pin}"
        self._own_factory = None
        try:
            from gpiozero import DigitalOutputDevice

            if pin_factory is None and not os.environ.get("GPIOZERO_PIN_FACTORY"):
                # gpiozero's own search would end at factories that write a wrong register on newer boards
                from gpiozero.pins.lgpio import LGPIOFactory

                pin_factory = self._own_factory = LGPIOFactory()
            self._pin = DigitalOutputDevice(
                pin, active_high=active_high, initial_value=False, pin_factory=pin_factory
            )
        except ImportError as error:
            raise LockError(f"{self}: {error}: apt install python3-lgpio, or run with --demo") from error
        except Exception as error:
            self._close_factory()
            raise LockError(
                f"{self}: cannot be claimed: {error}: check lock.pin and the gpio group, or run with --demo"
            ) from error
        try:
            super().__init__(pulse_s=pulse_s)
        except BaseException:
            self._release()
            raise

    def __str__(self) -> str:
        return self._name

    def _write(self, unlocked: bool) -> None:
        if unlocked:
            self._pin.on()
        else:
            self._pin.off()

    def _read(self) -> bool:
        return bool(self._pin.value)

    def _release(self) -> None:
        self._pin.close()
        self._close_factory()

    def _close_factory(self) -> None:
        if self._own_factory is not None:
            self._own_factory.close()


class JetsonLock(PulseLock):
    """A relay on a Jetson's GPIO, through libgpiod's own Python bindings (`gpiod` 2.x).

    Tests run it on a double of that module; it was not run on a Jetson. The Jetson kernel lets go of a line
    when its owner dies, so the relay's pull resistor locks it.

    Args:
        chip: such as `/dev/gpiochip0`.
        line: offset on that chip (`gpioinfo` lists them).
        active_high: True when a high line unlocks.
        pulse_s: seconds of one unlock.
        gpiod: the module; None imports it.
    """

    def __init__(self, *, chip: str, line: int, active_high: bool, pulse_s: float, gpiod: Any) -> None:
        self._name = f"{chip} line {line}"
        self._line = line
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
                f"{self}: cannot be claimed: {error}: check lock.chip, lock.line and the gpio group"
            ) from error
        try:
            super().__init__(pulse_s=pulse_s)
        except BaseException:
            self._release()
            raise

    def __str__(self) -> str:
        return self._name

    def _write(self, unlocked: bool) -> None:
        self._request.set_value(self._line, self._value[unlocked])

    def _read(self) -> bool:
        return bool(self._request.get_value(self._line) == self._value[True])

    def _release(self) -> None:
        self._request.release()


def board_text() -> str:
    """Return the Raspberry Pi's config.txt, empty where there is none or it may not be read."""
    with contextlib.suppress(OSError):
        return Path(BOOT_FILE).read_text(encoding="utf-8", errors="replace")
    return ""


def set_lgpio_folder() -> None:
    """Let lgpio put its pipes into the service's RuntimeDirectory: its working folder is read-only there."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if folder:
        os.environ.setdefault("LG_WD", folder)


def open_lock(settings: LockConfig, *, pin_factory: Any) -> PulseLock:
    """Build the lock that a `[lock]` section describes; given pins are the only ones driven, whatever the driver."""
    if settings.driver == "jetson" and pin_factory is None:
        return JetsonLock(
            chip=settings.chip,
            line=settings.line,
            active_high=settings.active_high,
            pulse_s=settings.pulse_s,
            gpiod=None,
        )
    # Without this a forgotten variable of a test leaves a door that reports grants and never moves.
    if pin_factory is None and os.environ.get("GPIOZERO_PIN_FACTORY", "").lower() == "mock":
        raise LockError(
            "GPIOZERO_PIN_FACTORY=mock drives no pin, expected real ones: unset it, or run with --demo"
        )
    return GpioLock(
        pin=settings.pin,
        active_high=settings.active_high,
        pulse_s=settings.pulse_s,
        pin_factory=pin_factory,
    )


def main(arguments: list[str] | None = None, *, pin_factory: Any = None) -> int:
    """Drive the configured pin to locked, give it back, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m device.lock", description=main.__doc__)
    parser.add_argument("--relock", action="store_true", required=True, help="lock the door now")
    parser.add_argument("--config", type=Path, help="TOML file; without it the service's, else the defaults")
    args = parser.parse_args(arguments)
    try:
        lock = open_lock(load_config(args.config).lock, pin_factory=pin_factory)
        lock.close()
    except FaceUnlockError as error:
        print(f"relock: {error}", file=sys.stderr)
        return error.exit_code
    print(f"locked: {lock}")
    return 0
