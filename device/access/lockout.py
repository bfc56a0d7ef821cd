"""Count wrong PINs, and look at none for a while after too many: `lockout_s`, then twice as long each time.

Pure: times are handed in. What has to survive a restart is a `RefusalState`, as for refused approaches, kept by the
same kind of file (device/decide/backoff_file.py): no wall clock, so none that jumps. A try is counted before it is
looked at and forgiven when it was right, so whoever cuts the power at the right moment wins no try.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from device.decide.backoff import RefusalState

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


class PinLockout:
    """Follow the PINs of a door.

    Args:
        state: what an earlier run left; under another rule its wait is the new rule's.
        save: is handed each new state; it never raises.
    """

    def __init__(self, rule: LockoutRule, state: RefusalState, save: Callable[[RefusalState], None]) -> None:
        self._rule, self._save = rule, save
        self._state = state
        if state.wait_s:
            self._state = replace(state, wait_s=min(state.wait_s, rule.lockout_s * 2**DOUBLINGS))

    def left_s(self, now_s: float) -> float:
        """Return how long none is looked at; after a start of the machine the whole wait begins with the first call."""
        wait_s, left_s = self._state.wait_s, self._state.until_s - now_s
        if wait_s and not left_s <= wait_s:
            self._state = replace(self._state, until_s=now_s + wait_s)
            return wait_s
        return max(left_s, 0.0) if wait_s else 0.0

    def tried(self, now_s: float) -> None:
        """Count a PIN as wrong, before it is looked at."""
        wrong = self._state.refusals + 1
        wait_s = self._rule.wait_after(wrong)
        self._set(RefusalState(wrong, wait_s, now_s + wait_s if wait_s else 0.0))

    def right(self) -> None:
        """Forget all: the PIN was right."""
        self._set(RefusalState())

    def _set(self, state: RefusalState) -> None:
        self._state = state
        self._save(state)


def is_count(state: RefusalState) -> bool:
    """Say whether a `PinLockout`, under whichever rule, can have written a state."""
    return state.refusals >= 0 and math.isfinite(state.until_s) and 0 <= state.wait_s < math.inf
