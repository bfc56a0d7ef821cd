"""The time of day, if it can be trusted: a board without a battery starts in the past, and anybody may set a clock.

A jump is detected by comparing the clock with the time since boot, which nobody can set. After a jump the clock counts
as not set, until a time server answers or the clock is set back.

A board without a battery-backed clock (RTC) starts with the time of its last shutdown: on a Sunday night that may be
Friday, 17:50. So a clock is trusted when a time server has answered since the boot, or when an RTC shows the same.

Without a trusted clock, rules that need the time ask for the PIN or refuse. All waits use the monotonic clock, so a
jump does not change them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from device.access.policy import clock_is_set
from device.types import News

RELEASED = datetime(2026, 11, 1, tzinfo=timezone.utc)  # no honest clock shows less
SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd touches it with every answer
RTCS = Path("/sys/class/rtc")
LOCAL_ZONE = Path("/etc/localtime")
JUMP_S = 60.0  # no rule is finer than a minute; steps in one direction add up


class Clock:
    """The wall clock of a running door.

    Args:
        require_sync: True: it is not set until a time server has answered since the boot, or an RTC agrees.
        wall_s, steady_s: seconds since 1970, and seconds since the boot, sleep included.
    """

    def __init__(
        self,
        require_sync: bool,
        *,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        synchronized: Path = SYNCHRONIZED,
        rtcs: Path = RTCS,
        zone: Callable[[], str] | None = None,
    ) -> None:
        self._require_sync, self._synchronized, self._rtcs = require_sync, synchronized, rtcs
        self._zone = zone or local_zone
        self._told_zone = self._zone()
        self._wall_s, self._steady_s = wall_s, steady_s
        self._trusted_s = self._told_s = wall_s() - steady_s()  # when the boot was, by this clock
        self._answer = self._last_answer()
        self._by_rtc = False  # an RTC agreed since the boot
        self._jumped = self._doubted = False  # doubted: it was told

    def now(self) -> datetime | None:
        """Return the time, or None while the clock is not set; the board's own time zone is that of now."""
        time.tzset()
        self._look()
        now = datetime.fromtimestamp(self._wall_s(), timezone.utc)
        synchronized = (self._answer is not None or self._by_rtc) if self._require_sync else None
        return now if clock_is_set(now, RELEASED, synchronized) and not self._jumped else None

    def news(self) -> Iterator[News]:
        """Yield another time zone, a jump of the clock with its size, and the end of the doubt."""
        zone, before = self._zone(), self._told_zone
        if zone != before:
            self._told_zone = zone
            yield "time_zone", {"reason": zone}
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
        is_off = abs(boot_s - self._trusted_s) > JUMP_S
        if (is_off or not self._by_rtc) and self._rtc_agrees():
            self._by_rtc, self._trusted_s = True, boot_s  # its driver may come late, and set the clock
        self._jumped = abs(boot_s - self._trusted_s) > JUMP_S
        return boot_s

    def _last_answer(self) -> int | None:
        try:
            return self._synchronized.stat().st_mtime_ns
        except OSError:
            return None

    def _rtc_agrees(self) -> bool:
        """Say whether a battery-backed clock shows the same time; one that lost its power shows 1970 or 2000."""
        now_s = self._wall_s()
        for file in self._rtcs.glob("rtc*/since_epoch"):
            with suppress(OSError, ValueError):
                at_s = int(file.read_text(encoding="ascii"))
                if at_s >= RELEASED.timestamp() and abs(now_s - at_s) <= JUMP_S:
                    return True
        return False


class NoClock:
    """What stands for the clock where no rule needs the time of day."""

    def news(self) -> Iterator[News]:
        yield from ()


def local_zone(link: Path = LOCAL_ZONE) -> str:
    """Return the name of the board's time zone as it is now, such as Europe/Berlin; its offset where it has no name."""
    if named := os.environ.get("TZ", "").lstrip(":"):
        return named
    with suppress(OSError):
        parts = link.resolve(strict=True).parts
        if "zoneinfo" in parts:
            return "/".join(parts[parts.index("zoneinfo") + 1 :])
    time.tzset()
    return time.strftime("UTC%z")
