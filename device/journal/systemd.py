"""Notifier: tell systemd that the door is ready, alive or stopping (sd_notify(3), a datagram on AF_UNIX).

Only the camera loop may send the beat, after a handled frame: systemd restarts a process whose camera loop hangs.
Without a camera there are no frames. Then each finished attempt to reconnect sends a beat. An attempt may take long, so
`camera_lost()` stretches the watchdog to ten minutes, and `camera_back()` restores it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

CAMERA_LOST_WATCHDOG_US = 10 * 60 * 1_000_000
BEATS_PER_WATCHDOG = 4  # sd_watchdog_enabled(3) asks for two; four leave room for a late one


class Notifier:
    """A service's line to its manager; silent where there is none, and never a reason to fail.

    Args:
        address: `$NOTIFY_SOCKET`: a path, or `@name` for an abstract socket; None or empty: nobody listens.
        watchdog_us: `$WATCHDOG_USEC`, microseconds; None: no watchdog.
    """

    def __init__(self, *, address: str | None, watchdog_us: int | None) -> None:
        self._address = address or ""
        self._watchdog_us = watchdog_us
        self._last_beat_s: float | None = None
        self._camera_is_lost = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Notifier:
        """Read `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID` as systemd sets them."""
        usec = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_us = int(usec) if usec.isdecimal() and int(usec) > 0 and ours else None
        return cls(address=environment.get("NOTIFY_SOCKET"), watchdog_us=watchdog_us)

    def ready(self, status: str) -> None:
        """Say that start-up is complete: the unit becomes active."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(f"STATUS={_one_line(text)}")

    def watchdog(self, now_s: float) -> None:
        """Beat, after a handled frame or a failed reconnection; four times per watchdog interval at most,
        so call it for each."""
        if self._watchdog_us is None:
            return
        interval_s = self._watchdog_us / 1e6 / BEATS_PER_WATCHDOG
        if self._last_beat_s is None or not 0 <= now_s - self._last_beat_s < interval_s:
            self._last_beat_s = now_s
            self._send("WATCHDOG=1")

    def camera_lost(self) -> None:
        """Stretch the watchdog: a beat comes after each try to reconnect only."""
        self._camera_is_lost = True
        if self._watchdog_us is not None:
            self._send(f"WATCHDOG_USEC={max(CAMERA_LOST_WATCHDOG_US, self._watchdog_us)}")

    def camera_back(self, now_s: float) -> None:
        """Restore the watchdog, after the first handled frame; does nothing when no camera was lost."""
        if self._watchdog_us is None or not self._camera_is_lost:
            return
        self._camera_is_lost = False
        # First the beat: the shorter interval counts from the last one, which may be older than that by now.
        self._last_beat_s = now_s
        self._send("WATCHDOG=1")
        self._send(f"WATCHDOG_USEC={self._watchdog_us}")

    def stopping(self) -> None:
        """Say that the service shuts down."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A manager that is gone or does not read must not stop the door: OSError of any kind is dropped.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)
            connection.sendto(message.encode(), address)


def _one_line(text: str) -> str:
    return " ".join(text.split())
