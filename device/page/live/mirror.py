"""What the page shows now: the newest picture and what is said of it, in memory only, one at a time.

The program hands pictures in and never waits; a browser takes the newest one, so a slow one sees fewer.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class View:
    """What is shown: its number, and what the browser is told."""

    number: int
    told: Mapping[str, Any]
    is_last: bool = False


class Mirror:
    """The slot between the program and the browser."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._view = View(0, {})

    def show(self, told: Mapping[str, Any]) -> None:
        """Show a view in place of what was; `told` is what the page's script takes."""
        self._put(told, is_last=False)

    def end(self, told: Mapping[str, Any]) -> None:
        """Show the last view: whoever waits is told, and nothing follows."""
        self._put(told, is_last=True)

    def next_view(self, after: int, wait_s: float) -> View:
        """Return the newest view; wait for one with another number than `after`."""
        with self._changed:
            self._changed.wait_for(lambda: self._view.number != after or self._view.is_last, wait_s)
            return self._view

    def _put(self, told: Mapping[str, Any], *, is_last: bool) -> None:
        with self._changed:
            if not self._view.is_last:
                self._view = View(self._view.number + 1, told, is_last)
                self._changed.notify_all()
