"""Count refused approaches, and make the door wait after too many of them.

Pure: times are handed in. A look is a frame whose face was compared and not let in. An approach is one stay before the
door: faces without a gap of more than `GAP_S`, for at most `APPROACH_S`; a challenge that has asked for a move is not
cut by that. It counts as refused in three cases:

    `LOOKS` looks were turned away: an attack, an unsure face, a stranger, somebody whose rules say no
    it ended after `LOOKS` looks of any kind: this counts a face that always leaves before it is decided about
    a challenge failed, or the person left after a move was asked for: each such challenge counts

Fewer looks than that are carried over to the next approach. One look a minute is forgotten, because a passer-by is no
attack. Only an opened door clears the count.
"""

from __future__ import annotations

from collections.abc import Callable

from device.decide.backoff import LONGEST_WAIT_S, Backoff, Count, wait_after_refusals
from device.decide.backoff_file import EVERYBODY, BackoffFile
from device.types import Is, Reason

GAP_S, APPROACH_S = 2.0, 10.0
LOOKS = 8  # of one approach or several
FORGOTTEN_S = 60.0  # one look is forgotten after each such time


class Refusals:
    """Follow approaches, count the refused ones, and return how long the door waits.

    Args:
        count: what an earlier run left.
        save: is handed each new count; it never raises.
    """

    def __init__(self, count: Count, save: Callable[[Count], None]) -> None:
        self._backoff = Backoff(wait_after_refusals, LONGEST_WAIT_S, count, save)
        self.total = 0  # of this run, the forgiven ones included
        self._began_s: float | None = None
        self._seen_s = 0.0
        self._refused = False  # this approach
        self._turned_away = self._open = 0  # looks of this approach
        self._owed = 0.0  # looks of earlier ones
        self._owed_at_s = 0.0

    @classmethod
    def kept_in(cls, file: BackoffFile) -> Refusals:
        """Go on where a file says that an earlier run stopped, and keep the count there."""
        return cls(file.load()[EVERYBODY], lambda count: file.save({EVERYBODY: count}))

    @property
    def count(self) -> Count:
        return self._backoff.count

    def left_s(self, now_s: float) -> float:
        """Return how long the door still waits."""
        return self._backoff.left_s(now_s)

    def see(self, reason: Reason, now_s: float, *, in_progress: bool = False) -> None:
        """Update with the outcome of a frame; call it for every frame.

        Args:
            in_progress: a challenge has asked for a move and is not over: it ends this approach, not the time.
        """
        if self._is_over(now_s, in_progress):
            self._end(now_s)
        if reason.has(Is.NOBODY):
            return
        if self._began_s is None:
            self._began_s = now_s
        self._seen_s = now_s
        self._open += reason.has(Is.OPEN)
        self._turned_away += reason.has(Is.LOOK)
        if reason is Reason.CHALLENGE_FAILED:
            self.refuse(now_s)
        elif reason.has(Is.LOOK) and not self._refused and self._turned_away + self._owing(now_s) >= LOOKS:
            self._add(now_s)

    def refuse(self, now_s: float) -> None:
        """Count this approach as refused, and end it."""
        self._add(now_s)
        self._end(now_s)

    def opened(self) -> None:
        """Forget all: the door was opened."""
        self._owed = 0.0
        self._begin_anew()
        self._backoff.forgive()

    def _is_over(self, now_s: float, in_progress: bool) -> bool:
        if self._began_s is None:
            return False
        # A frame that was decided quickly after a slow one may be a moment earlier: that ends nothing.
        in_time = in_progress or -GAP_S <= now_s - self._began_s <= APPROACH_S
        return not (in_time and abs(now_s - self._seen_s) <= GAP_S)

    def _end(self, now_s: float) -> None:
        if not self._refused:
            self._owed, self._owed_at_s = self._owing(now_s) + self._turned_away + self._open, now_s
            if self._owed >= LOOKS:
                self._add(now_s)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._began_s, self._refused, self._turned_away, self._open = None, False, 0, 0

    def _owing(self, now_s: float) -> float:
        """Return how many looks of earlier approaches are not forgotten yet; a clock set back forgets none."""
        return max(0.0, self._owed - max(0.0, now_s - self._owed_at_s) / FORGOTTEN_S)

    def _add(self, now_s: float) -> None:
        self._refused, self._owed = True, 0.0
        self.total += 1
        self._backoff.add(now_s)
