"""Count refused approaches, and make the door wait after too many of them: 30 s, then twice as long each time.

Pure: times are handed in. What has to survive a restart is a `RefusalState`; device/decide/backoff_file.py keeps it.

An approach is one stay at the door: faces without a gap of more than `GAP_S`, for at most `APPROACH_S`; then the next
one begins. It is refused once, whatever the number of its frames, by `FRAMES` frames that were suspected to be an
attack or not sure to be none, or by `FRAMES` good frames of somebody near and facing who is not known. A challenge that
failed, or was left after a move was asked for, ends its approach refused: each try counts. A grant forgets all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from device.types import Reason

FREE_REFUSALS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
GAP_S, APPROACH_S = 2.0, 10.0
FRAMES = 8  # of one approach; so many in a row are no passer-by
NOBODY = (Reason.NO_FACE, Reason.STALE_FRAME, Reason.SAME_FRAME, Reason.CAMERA_COVERED)
COUNTED = (Reason.SPOOF_SUSPECTED, Reason.LIVENESS_UNSURE, Reason.BELOW_THRESHOLD)


@dataclass(frozen=True, slots=True)
class RefusalState:
    """How many approaches were refused since the last grant, and until when the door waits (seconds of its clock).

    `wait_s` is the length of that wait, 0 for none: a clock that started anew makes it wait so long again.
    """

    refusals: int = 0
    wait_s: float = 0.0
    until_s: float = 0.0


def wait_after(refusals: int) -> float:
    """Return how long the door waits after so many refused approaches in a row, s."""
    if refusals < FREE_REFUSALS:
        return 0.0
    doublings = min(refusals - FREE_REFUSALS, 16)  # 2.0 ** 5,000 would overflow
    return float(min(FIRST_WAIT_S * 2**doublings, LONGEST_WAIT_S))


class Refusals:
    """Follow approaches, count the refused ones, and say whether the door waits.

    Args:
        state: what an earlier run left.
        save: is handed each new state; it never raises.
    """

    def __init__(self, state: RefusalState, save: Callable[[RefusalState], None]) -> None:
        self._state, self._save = state, save
        self._began_s: float | None = None
        self._seen_s = 0.0
        self._counted = False
        self._frames: dict[Reason, int] = {}

    @property
    def state(self) -> RefusalState:
        return self._state

    def left_s(self, now_s: float) -> float:
        """Return how long the door still waits; a clock that was set back or makes no sense: the whole wait."""
        left_s = self._state.until_s - now_s
        if self._state.wait_s and not left_s <= self._state.wait_s:
            self._state = replace(self._state, until_s=now_s + self._state.wait_s)
            return self._state.wait_s
        return max(left_s, 0.0) if self._state.wait_s else 0.0

    def see(self, reason: Reason, now_s: float) -> None:
        """Take what a frame came to; call it for every frame while the door does not wait."""
        if reason is Reason.GRANTED:
            self._forgive()
            return
        if reason not in NOBODY:
            self._follow(now_s)
        if reason is Reason.CHALLENGE_FAILED:
            self.refuse(now_s)
        elif reason in COUNTED:
            self._frames[reason] = self._frames.get(reason, 0) + 1
            if self._frames[reason] >= FRAMES and not self._counted:
                self._count(now_s)

    def refuse(self, now_s: float) -> None:
        """Count this approach as refused, and end it."""
        self._count(now_s)
        self._begin(None)

    def _follow(self, now_s: float) -> None:
        began_s = self._began_s
        in_time = began_s is not None and now_s - began_s <= APPROACH_S and now_s - self._seen_s <= GAP_S
        if not in_time:
            self._begin(now_s)
        self._seen_s = now_s

    def _begin(self, now_s: float | None) -> None:
        self._began_s, self._counted, self._frames = now_s, False, {}

    def _count(self, now_s: float) -> None:
        self._counted = True
        refusals = self._state.refusals + 1
        wait_s = wait_after(refusals)
        self._set(RefusalState(refusals, wait_s, now_s + wait_s if wait_s else 0.0))

    def _forgive(self) -> None:
        self._begin(None)
        if self._state != RefusalState():
            self._set(RefusalState())

    def _set(self, state: RefusalState) -> None:
        self._state = state
        self._save(state)


def is_sound(state: RefusalState) -> bool:
    """Say whether a state is one that `Refusals` can have written."""
    numbers = math.isfinite(state.wait_s) and math.isfinite(state.until_s)
    return numbers and state.refusals >= 0 and state.wait_s == wait_after(state.refusals)
