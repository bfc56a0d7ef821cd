"""The silent alarm: an output pin that goes high for a while, wired to whatever tells people elsewhere."""

from __future__ import annotations

from typing import Any

from device.errors import LockError, LockRefused
from device.lock.client import RemoteLock
from device.lock.wire import ALARM

ALARM_S = 60.0
TRIES = 3


class AlarmPin:
    """One output; it is low but for `ALARM_S` after each alarm."""

    def __init__(self, pin: int, *, pin_factory: Any) -> None:
        from gpiozero import DigitalOutputDevice

        try:
            self._output = DigitalOutputDevice(pin, pin_factory=pin_factory)
        except Exception as error:
            raise LockError(f"GPIO{pin}: cannot be claimed: {error}: check policy.alarm_pin") from error

    def sound(self) -> None:
        self._output.blink(on_time=ALARM_S, off_time=0.1, n=1)

    def close(self) -> None:
        self._output.off()
        self._output.close()


class RemoteAlarm:
    """The alarm of the lock process, whose pin it is; whoever ends this program does not end the alarm."""

    def __init__(self, lock: RemoteLock) -> None:
        self._lock = lock

    def sound(self) -> None:
        """Ask for it; on a busy board a signal may come too late, and is sent anew."""
        for _ in range(TRIES):
            try:
                self._lock.signal(ALARM)
                return
            except LockRefused:
                continue

    def close(self) -> None:
        """Leave the alarm to the lock process."""
