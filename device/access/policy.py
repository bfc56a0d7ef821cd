"""Who may enter when, and when a face alone is not enough; pure, the time is an argument.

    Mon-Fri 08:00-18:00, Sat 10:00-14:00     windows; one that ends before it starts goes on past midnight

While the clock is not set, a policy that depends on the time asks for the PIN or refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from device.access.lease import Lease
from device.errors import UsageError
from device.types import Reason

ACCESS = ("face", "face+pin", "disabled")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_A_DAY = 24 * 60
WINDOW = re.compile(
    r"(?:([A-Za-z]{3})(?:-([A-Za-z]{3}))? +)?([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours on some days of the week; Monday is 0, minutes count from midnight, the end is not in it."""

    days: tuple[int, ...]
    start_min: int
    end_min: int

    def holds(self, at: datetime) -> bool:
        """Say whether a local time lies in it; the hours past midnight belong to the day they began on."""
        minute, day = at.hour * 60 + at.minute, at.weekday()
        if self.start_min < self.end_min:
            return day in self.days and self.start_min <= minute < self.end_min
        began_yesterday = (day - 1) % 7 in self.days and minute < self.end_min
        return began_yesterday or (day in self.days and minute >= self.start_min)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one subject may; the default is what a first-time owner gets: by face, always.

    `time_zone` is a name of the IANA database, "" the board's own. `valid_until` is the last valid day. `entries` is
    how often a guest may enter. The PIN is asked for in `pin_hours`, every `pin_every_h` hours, and after
    `pin_after_failures` failures at the door; with access "face+pin" always.
    """

    access: str = "face"
    hours: str = ""
    time_zone: str = ""
    valid_from: date | None = None
    valid_until: date | None = None
    entries: int | None = None
    pin_hours: str = ""
    pin_every_h: float | None = None
    pin_after_failures: int | None = None

    def __post_init__(self) -> None:
        if self.access not in ACCESS:
            raise UsageError(f"access {self.access!r}: expected one of {', '.join(ACCESS)}")
        parse_hours(self.hours)
        parse_hours(self.pin_hours)
        zone_of(self.time_zone)
        if self.valid_from and self.valid_until and self.valid_from > self.valid_until:
            raise UsageError(
                f"valid from {self.valid_from} until {self.valid_until}: expected the days in order"
            )
        for name, least in (("entries", 0), ("pin_every_h", 0.001), ("pin_after_failures", 1)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 1_000_000:
                raise UsageError(f"{name} {value}: expected {least:g} to 1000000")

    @property
    def needs_clock(self) -> bool:
        """Say whether the answer depends on the time."""
        return bool(
            self.hours
            or self.valid_from
            or self.valid_until
            or self.pin_hours
            or self.pin_every_h is not None
        )

    @property
    def asks_pin(self) -> bool:
        """Say whether there is a case in which the PIN is asked for."""
        steps = (self.pin_hours, self.pin_every_h, self.pin_after_failures)
        return self.access == "face+pin" or any(step not in ("", None) for step in steps)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the door remembers of a subject; `last_pin_at` is a UTC time."""

    entries: int = 0
    last_pin_at: datetime | None = None


def judge(
    policy: Policy,
    usage: Usage,
    at: datetime | None,
    *,
    failures: int = 0,
    has_pin: bool,
    lease: Lease = Lease.HOLDS,
    switched_off: bool = False,
) -> Reason:
    """Return GRANTED, PIN_NEEDED, or why the subject may not enter.

    Args:
        at: now, with its time zone; None while the clock is not set.
        failures: at this door since the last grant.
        has_pin: False for a subject without one, who is refused where the PIN would be asked for.
        lease: of a subject who came from a keeper.
        switched_off: faces were switched off from outside, this one's or everybody's.
    """
    pin = Reason.PIN_NEEDED if has_pin else Reason.NO_PIN
    if policy.access == "disabled":
        return Reason.DISABLED
    if switched_off:
        return Reason.SWITCHED_OFF
    if lease is Lease.OVER:
        return Reason.LEASE_OVER
    if policy.entries is not None and usage.entries >= policy.entries:
        return Reason.NO_ENTRIES_LEFT
    if at is None and policy.needs_clock:
        return Reason.PIN_NEEDED if has_pin else Reason.CLOCK_NOT_SET
    if at is not None and not _is_valid_day(policy, at):
        return Reason.NOT_VALID
    if at is not None and policy.hours and not within(policy.hours, policy.time_zone, at):
        return Reason.OUTSIDE_HOURS
    return pin if lease is Lease.STALE or _steps_up(policy, usage, at, failures) else Reason.GRANTED


def within(hours: str, time_zone: str, at: datetime) -> bool:
    """Say whether a time lies in one of the windows, in the time zone's own wall clock."""
    local = at.astimezone(zone_of(time_zone))
    return any(window.holds(local) for window in parse_hours(hours))


def _is_valid_day(policy: Policy, at: datetime) -> bool:
    day = at.astimezone(zone_of(policy.time_zone)).date()
    return (policy.valid_from or day) <= day <= (policy.valid_until or day)


def _steps_up(policy: Policy, usage: Usage, at: datetime | None, failures: int) -> bool:
    if policy.access == "face+pin":
        return True
    if policy.pin_after_failures is not None and failures >= policy.pin_after_failures:
        return True
    if at is None:
        return False
    if policy.pin_hours and within(policy.pin_hours, policy.time_zone, at):
        return True
    return policy.pin_every_h is not None and not _is_recent(usage.last_pin_at, at, policy.pin_every_h)


def _is_recent(last: datetime | None, at: datetime, hours: float) -> bool:
    # A PIN "of the future" was given before the clock was set back: it proves nothing.
    return last is not None and timedelta(0) <= at - last < timedelta(hours=hours)


def parse_hours(text: str) -> tuple[Window, ...]:
    """Read windows separated by commas; without days a window holds every day."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return tuple(_window(part) for part in parts)


def _window(text: str) -> Window:
    parts = WINDOW.fullmatch(text)
    if parts is None:
        raise UsageError(f"hours {text[:40]!r}: expected such as 'Mon-Fri 08:00-18:00, Sat 10:00-14:00'")
    first, last = parts[1] or "Mon", parts[2] or parts[1] or "Sun"
    start, end = _minute(parts[3], parts[4], text), _minute(parts[5], parts[6], text)
    if start in (end, MINUTES_A_DAY):
        raise UsageError(f"hours {text!r}: expected an end after the start; the whole day is 00:00-24:00")
    begin, count = _day(first, text), (_day(last, text) - _day(first, text)) % 7 + 1
    return Window(tuple(sorted((begin + i) % 7 for i in range(count))), start, end)


def _minute(hour: str, minute: str, text: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > MINUTES_A_DAY:
        raise UsageError(f"hours {text!r}: expected times of 00:00 to 24:00")
    return value


def _day(name: str, text: str) -> int:
    if name.capitalize() not in DAYS:
        raise UsageError(f"hours {text!r}: day {name!r}: expected one of {', '.join(DAYS)}")
    return DAYS.index(name.capitalize())


def zone_of(name: str) -> ZoneInfo | None:
    """Return the time zone, None for the board's own."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"time zone {name[:40]!r}: expected a name such as Europe/Berlin that this system knows"
        ) from None


def policy_to_json(policy: Policy) -> dict[str, Any]:
    """Return what was set, as JSON stores it."""
    values = {each.name: getattr(policy, each.name) for each in fields(policy)}
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
        if value not in (None, "")
    }


def policy_from_json(stored: Mapping[str, Any]) -> Policy:
    """Return the policy that was stored."""
    dates = {
        name: date.fromisoformat(stored[name]) for name in ("valid_from", "valid_until") if name in stored
    }
    return Policy(**{**stored, **dates})


def clock_is_set(at: datetime, not_before: datetime, synchronized: bool | None) -> bool:
    """Say whether a clock can be believed.

    Args:
        not_before: this release's day; a clock before it lost its time.
        synchronized: whether a time server was reached since the boot, None where nobody asks.
    """
    return at >= not_before and synchronized is not False
