"""The time of day, where it can be believed: a board without a battery wakes up in the past."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from device.policy import clock_is_set

RELEASED = datetime(2026, 11, 1, tzinfo=timezone.utc)  # no honest clock shows less
SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd makes it once a server answered


def believed_now(require_sync: bool) -> datetime | None:
    """Return the time, or None while the clock is not set."""
    now = datetime.now(timezone.utc)
    synchronized = SYNCHRONIZED.exists() if require_sync else None
    return now if clock_is_set(now, RELEASED, synchronized) else None
