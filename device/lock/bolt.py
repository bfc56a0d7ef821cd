"""Bolt: an output pin that unlocks for one pulse and locks itself again.

Guarantees, whatever the program does:

- The pin is driven to locked while it is claimed, again after it, and first thing when it is given back:
  gpiozero's `close()` in mid-pulse leaves the output energized.
- A thread of the lock's own ends each pulse by monotonic time, whether the main thread hangs, raises or is
  busy. Nothing ends that thread, not even memory that runs out; `check()`, which every loop calls, looks after it.
- A pulse belongs to who asked for it. A second `unlock()` of the same asker starts the pulse anew, it never stacks;
  without a pause one asker has the bolt open for at most max(30 s, one pulse), then it locks. `end()` ends the pulse
  of one asker and leaves the other's as it is.
- Each write is read back from the pin. A pin that does not obey is a `LockError`, and the relock is tried
  again until it succeeds.

A killed process (SIGKILL, power) runs none of this: a Raspberry Pi keeps the output driven after its owner's
death, so the service runs relock.py afterwards, and the relay wants a pull resistor to its locked side
(docs/owner/install.md).
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from device.errors import ConfigError, LockError
from device.lock.claim import Claim, ClaimFile

if TYPE_CHECKING:
    from typing import Self

MAX_OPEN_S = 30.0  # one asker's restarted pulses never add up to more, unless one pulse alone is longer
RETRY_S = 0.2  # a relock that failed is tried again this often
PAUSE_S = 0.02  # after a wait that failed: the relock thread must neither end nor spin


class Asker(str, Enum):
    """The owner of a pulse."""

    OUTSIDE = "outside"  # the recognizer
    INSIDE = "inside"  # the exit button


class PulseLock(ABC):
    """The pulse and its end, for a pin that a subclass writes and reads.

    `on_change(locked)` may be set to be told of each change of the pin, from the thread that caused it; what
    it raises is dropped. `record`, where set, hears that the pin was given back locked.
    """

    def __init__(self, *, pulse_s: float) -> None:
        if not 0 < pulse_s <= 60:
            raise ConfigError(f"lock.pulse_s: expected above 0 and at most 60 s, received {pulse_s:g}")
        self.on_change: Callable[[bool], None] | None = None
        self.record: ClaimFile | None = None
        self.pulse_s = pulse_s
        # An RLock, because a signal handler may call lock() while unlock() holds it.
        self._wake = threading.Condition(threading.RLock())
        self._relock_at_s: float | None = None
        self._ends_s: dict[Asker, float] = {}  # of each asker's pulse
        self._began_s: dict[Asker, float] = {}  # of each asker's first pulse since the bolt was locked
        self._fault = ""
        self._closed = False
        self._drive(False)
        # The thread exists before the first pulse, so no pulse can start that nobody ends.
        self._timer = self._start_timer()
        atexit.register(self.close)

    @property
    @abstractmethod
    def claim(self) -> Claim:
        """The pin, in words that relock.py understands."""

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
        """Look after the relock thread; raise LockError when the last relock failed: the door may stand open."""
        with contextlib.suppress(LockError):
            self.end_overdue()
        if not (self._timer.is_alive() or self._closed):
            self._timer = self._start_timer()
        if fault := self._fault:
            raise LockError(f"the last relock failed: {fault}: check the wiring, then restart")

    @property
    def is_pulsing(self) -> bool:
        """True from unlock() until the pin was locked again."""
        return self._relock_at_s is not None

    def runs(self, asker: Asker) -> bool:
        """Say whether a pulse of this asker runs."""
        with self._wake:
            return self.is_pulsing and self._ends_s.get(asker, 0.0) > time.monotonic()

    def unlock(self, frame_at_s: float | None = None, *, asker: Asker = Asker.OUTSIDE) -> None:
        """Unlock for one pulse; raise LockError, locked as far as the pin obeys, when it cannot."""
        with self._wake:
            if self._closed:
                raise LockError("unlock() after close(): build a new lock")
            self.check()
            now_s = time.monotonic()
            was_open = self.is_pulsing
            # The end is set before the pin: an exception between the lines still ends locked.
            bound_s = self._began_s.setdefault(asker, now_s) + max(MAX_OPEN_S, self.pulse_s)
            self._ends_s[asker] = min(now_s + self.pulse_s, bound_s)
            self._relock_at_s = max(self._ends_s.values())
            self._wake.notify_all()
            try:
                self._drive(True)
            except BaseException:
                with contextlib.suppress(LockError):
                    self.lock()
                raise
        if not was_open:
            self._tell(False)

    def end(self, asker: Asker) -> None:
        """End this asker's pulse: lock, unless somebody else's still runs. Raises what `lock()` raises."""
        with self._wake:
            self._ends_s.pop(asker, None)
            last_s = max(self._ends_s.values(), default=0.0)
            if self.is_pulsing and not self._fault and last_s > time.monotonic():
                self._relock_at_s = last_s
                self._wake.notify_all()
                return
            self.lock()

    def lock(self) -> None:
        """Lock now; raise LockError when the pin does not obey (the relock thread keeps trying)."""
        with self._wake:
            if self._closed:
                return
            was_open = self.is_pulsing
            try:
                self._drive(False)
            except LockError as error:
                self._fault = str(error)
                self._relock_at_s = time.monotonic() + RETRY_S
                self._wake.notify_all()
                raise
            self._fault = ""
            self._relock_at_s = None
            self._ends_s.clear()
            self._began_s.clear()
        if was_open:
            self._tell(True)

    def end_overdue(self) -> None:
        """Lock when the last pulse is over and its end was missed; raise what `lock()` raises."""
        # Held from the look at the clock to the write, so that an unlock() in between keeps its pulse.
        with self._wake:
            if self._relock_at_s is not None and self._relock_at_s <= time.monotonic():
                self.lock()

    def close(self) -> None:
        """Lock, then give the pin back; a second call does nothing."""
        with self._wake:
            if self._closed:
                return
            was_open = self.is_pulsing
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
            if self.record is not None:
                self.record.release()
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

    def _start_timer(self) -> threading.Thread:
        timer = threading.Thread(target=self._end_pulses, name="relock", daemon=True)
        try:
            timer.start()
        except RuntimeError as error:
            raise LockError(f"{self}: no thread to end a pulse: {error}: stop other programs") from error
        return timer

    def _end_pulses(self) -> None:
        """End each pulse. Whatever is raised (no memory, say), this thread goes on, and neither ends nor spins."""
        while not self._closed:
            try:
                self._await_end()
            except BaseException:
                time.sleep(PAUSE_S)
            try:
                self.end_overdue()
            except LockError:
                pass  # lock() has noted the fault and the time of the next try
            except BaseException:
                time.sleep(PAUSE_S)

    def _await_end(self) -> None:
        with self._wake:
            left_s = None if self._relock_at_s is None else self._relock_at_s - time.monotonic()
            if not self._closed and (left_s is None or left_s > 0):
                self._wake.wait(left_s)

    def _tell(self, locked: bool) -> None:
        if self.on_change is not None:
            with contextlib.suppress(Exception):
                self.on_change(locked)
