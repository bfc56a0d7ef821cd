"""Count each person's wrong PINs, and after too many accept none of theirs for a while.

`lockout_s` first, then twice as long each time. Each person has a count and a pause of their own at each door: one
person's mistakes keep nobody else out, and nobody's right PIN forgives another's wrong ones. Pure: times are handed in;
device/decide/backoff_file.py keeps the counts. A try is counted before it is looked at and forgiven when it was right,
so cutting the power at the right moment gains no extra try.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from device.decide.backoff import Backoff, Count
from device.decide.backoff_file import EVERYBODY

DOUBLINGS = 10  # the longest lockout is 1,024 times the first


@dataclass(frozen=True, slots=True)
class LockoutRule:
    """After each `wrong_pins` wrong PINs none is looked at, first for `lockout_s`."""

    wrong_pins: int
    lockout_s: float

    def wait_after(self, wrong: int) -> float:
        """Return how long none is looked at after so many wrong PINs since the last right one, s."""
        rounds, rest = divmod(wrong, self.wrong_pins)
        return self.lockout_s * 2 ** min(rounds - 1, DOUBLINGS) if rounds and not rest else 0.0

    @property
    def longest_s(self) -> float:
        return float(self.lockout_s * 2**DOUBLINGS)


class PinLockout:
    """Follow the PINs of a door, by the alias of whose they are.

    Args:
        counts: what an earlier run left, by alias; that of EVERYBODY is where a person without one begins.
        save: is handed all counts after each change; it never raises.
    """

    def __init__(
        self, rule: LockoutRule, counts: Mapping[str, Count], save: Callable[[dict[str, Count]], None]
    ) -> None:
        self._rule, self._save = rule, save
        self._counts = dict(counts)
        self._people: dict[str, Backoff] = {}

    def left_s(self, alias: str, now_s: float) -> float:
        """Return how long none of a person's PINs is looked at; after a start of the machine the whole pause."""
        return self._of(alias).left_s(now_s)

    def tried(self, alias: str, now_s: float) -> None:
        """Count a PIN as wrong, before it is looked at."""
        self._of(alias).add(now_s)

    def right(self, alias: str) -> None:
        """Forget a person's wrong PINs: this one was right."""
        self._of(alias).forgive()

    def _of(self, alias: str) -> Backoff:
        if alias not in self._people:
            count = self._counts.get(alias, self._counts.get(EVERYBODY, Count()))

            def save(count: Count) -> None:
                self._counts[alias] = count
                self._save(self._counts)

            self._people[alias] = Backoff(self._rule.wait_after, self._rule.longest_s, count, save)
        return self._people[alias]


def is_wrong_pins(count: Count) -> bool:
    """Say whether a count of wrong PINs is consistent under some rule."""
    return count.wrong >= 0 and math.isfinite(count.until_s) and 0 <= count.wait_s < math.inf
