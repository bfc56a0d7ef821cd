"""Gather keys into PINs.

Digits, then `#` (or Enter) ends a PIN, `*` (or Escape) starts over. A PIN that takes longer than `ENTRY_S` is dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from device.access.pin import LONGEST

ENTRY_S = 10.0  # from the first key to the last


class PinEntry:
    """Gather keys into PINs; keys come from any thread, `take` is the door's."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._guard = threading.Lock()
        self._digits, self._since_s = "", 0.0
        self._ended: tuple[str, float] | None = None

    def press(self, key: str) -> None:
        """Take one key; ignore anything else."""
        with self._guard:
            if self._now_s() - self._since_s > ENTRY_S:
                self._digits = ""
            if key in "#\r\n":
                self._ended = (self._digits, self._now_s()) if self._digits else self._ended
                self._digits = ""
            elif key in "*\x1b":
                self._digits = ""
            elif key.isascii() and key.isdigit():
                self._since_s = self._since_s if self._digits else self._now_s()
                self._digits = (self._digits + key)[: LONGEST + 1]  # one too many is wrong, whatever follows

    def take(self) -> str | None:
        """Return the PIN that was ended last, once."""
        with self._guard:
            ended, self._ended = self._ended, None
            return ended[0] if ended and self._now_s() - ended[1] <= ENTRY_S else None

    def clear(self) -> None:
        """Forget what was pressed so far: it belonged to somebody else."""
        with self._guard:
            self._digits, self._ended = "", None
