"""The time of day, if it can be trusted: a board without a battery starts in the past, and anybody may set a clock.

A jump is detected by comparing the clock with the time since boot, which nobody can set. After a jump the clock counts
as not set, until a time server answers or the clock is set back. Rules that need the time then ask for the PIN or
refuse. All waits use the monotonic clock, so a jump does not change them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from device.access.policy import clock_is_set
from device.types import News

RELEASED = datetime(2026, 11, 1, tzinfo=timezone.utc)  # no honest clock shows less
SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd touches it with every answer
JUMP_S = 60.0  # no rule is finer than a minute; steps in one direction add up


class Clock:
    """The wall clock of a running door.

    Args:
        require_sync: True: it is not set until a time server has answered since the boot.
        wall_s, steady_s: seconds since 1970, and seconds since the boot, sleep included.
    """

    def __init__(
        self,
        require_sync: bool,
        *,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        synchronized: Path = SYNCHRONIZED,
    ) -> None:
        self._require_sync, self._synchronized = require_sync, synchronized
        self._wall_s, self._steady_s = wall_s, steady_s
        self._trusted_s = self._told_s = wall_s() - steady_s()  # when the boot was, by this clock
        self._answer = self._last_answer()
        self._jumped = self._doubted = False  # doubted: it was told

    def now(self) -> datetime | None:
        """Return the time, or None while the clock is not set."""
        self._look()
        now = datetime.fromtimestamp(self._wall_s(), timezone.utc)
        synchronized = self._answer is not None if self._require_sync else None
        return now if clock_is_set(now, RELEASED, synchronized) and not self._jumped else None

    def news(self) -> Iterator[News]:
        """Yield a jump of the clock with its size, and the end of the doubt."""
        boot_s = self._look()
        moved_s = boot_s - self._told_s
        if abs(moved_s) > JUMP_S or self._jumped > self._doubted:
            self._told_s, self._doubted = boot_s, True
            yield "clock_jumped", {"jump_s": moved_s}
        if self._doubted and not self._jumped:
            self._doubted = False
            yield "clock_ok", {}

    def _look(self) -> float:
        """Compare the clocks, and return when the boot was."""
        boot_s, answer = self._wall_s() - self._steady_s(), self._last_answer()
        if answer is not None and answer != self._answer:
            self._trusted_s = boot_s
        self._answer = answer
        self._jumped = abs(boot_s - self._trusted_s) > JUMP_S
        return boot_s

    def _last_answer(self) -> int | None:
        try:
            return self._synchronized.stat().st_mtime_ns
        except OSError:
            return None


class NoClock:
    """What stands for the clock where no rule needs the time of day."""

    def news(self) -> Iterator[News]:
        yield from ()
