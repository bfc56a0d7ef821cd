"""Count failures in a row, and make the door wait after too many of them, longer each time.

Pure: times are handed in. What has to survive a restart is a `Count`; device/decide/backoff_file.py keeps it. Refused
approaches (refusals.py) and wrong PINs (device/access/lockout.py) both wait by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
FREE_REFUSALS = 5


@dataclass(frozen=True, slots=True)
class Count:
    """Failures since the last success, and until when to wait (seconds of the door's clock).

    `wait_s` is the length of that wait, 0 for none: a clock that started anew makes it wait so long again.
    """

    wrong: int = 0
    wait_s: float = 0.0
    until_s: float = 0.0


class Backoff:
    """Count, and say how long to wait.

    Args:
        wait_after: how long to wait after so many in a row, s.
        longest_s: no wait is longer, whatever an earlier run left under another rule.
        count: what an earlier run left.
        save: is handed each new count; it never raises.
    """

    def __init__(
        self,
        wait_after: Callable[[int], float],
        longest_s: float,
        count: Count,
        save: Callable[[Count], None],
    ) -> None:
        self._wait_after, self._save = wait_after, save
        self._count = replace(count, wait_s=min(count.wait_s, longest_s))

    @property
    def count(self) -> Count:
        return self._count

    def left_s(self, now_s: float) -> float:
        """Return how long there is still to wait; a clock that was set back or makes no sense: the whole wait."""
        wait_s, left_s = self._count.wait_s, self._count.until_s - now_s
        if wait_s and not left_s <= wait_s:
            self._count = replace(self._count, until_s=now_s + wait_s)
            return wait_s
        return max(left_s, 0.0) if wait_s else 0.0

    def add(self, now_s: float) -> None:
        """Count one more."""
        wrong = self._count.wrong + 1
        wait_s = self._wait_after(wrong)
        self._set(Count(wrong, wait_s, now_s + wait_s if wait_s else 0.0))

    def forgive(self) -> None:
        """Clear the count after a success."""
        if self._count != Count():
            self._set(Count())

    def _set(self, count: Count) -> None:
        self._count = count
        self._save(count)


def wait_after_refusals(refusals: int) -> float:
    """Return how long the door waits after so many refused approaches in a row: 30 s after the fifth, doubling, s."""
    if refusals < FREE_REFUSALS:
        return 0.0
    doublings = min(refusals - FREE_REFUSALS, 16)  # 2.0 ** 5,000 would overflow
    return float(min(FIRST_WAIT_S * 2**doublings, LONGEST_WAIT_S))


def is_refusals(count: Count) -> bool:
    """Say whether a count of refused approaches is consistent."""
    numbers = math.isfinite(count.wait_s) and math.isfinite(count.until_s)
    return numbers and count.wrong >= 0 and count.wait_s == wait_after_refusals(count.wrong)
