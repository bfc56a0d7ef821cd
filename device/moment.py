"""Moments as they are written: in UTC for programs and in what is stored, in the time of this place for a person."""

from __future__ import annotations

from datetime import datetime, timezone


def in_utc(at: datetime) -> str:
    """Return a moment as ISO 8601 in UTC, to the second: "2026-11-28T07:12:31Z"."""
    return f"{at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def in_local_time(at: datetime | str) -> str:
    """Return a moment as a clock and a calendar of this place show it: "2026-11-28 08:12:31".

    Args:
        at: a datetime, or ISO 8601; without a zone it is of this place. What is no moment comes back as it is.
    """
    try:
        moment = at if isinstance(at, datetime) else datetime.fromisoformat(at.replace("Z", "+00:00"))
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):  # a record that another hand wrote
        return str(at)
