"""Debounce a condition: it begins after it has held for a while, and ends after it has been absent for one. Pure."""

from __future__ import annotations


class Lasting:
    """Turn something that flickers into a beginning and an end.

    Args:
        begin_s: it begins after it held for so long without a break.
        end_s: it ends after it did not hold for so long.
    """

    def __init__(self, begin_s: float, end_s: float) -> None:
        self._begin_s, self._end_s = begin_s, end_s
        self._changing_since_s: float | None = None
        self.on = False

    def see(self, holds: bool, now_s: float) -> bool:
        """Update with whether the condition holds now; return True if it began or ended with this."""
        if holds == self.on:
            self._changing_since_s = None
            return False
        if self._changing_since_s is None or now_s < self._changing_since_s:
            self._changing_since_s = now_s
        if now_s - self._changing_since_s < (self._end_s if self.on else self._begin_s):
            return False
        self.on, self._changing_since_s = holds, None
        return True
