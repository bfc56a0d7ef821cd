"""Tell when a frame was taken, from the time that its source gives; pure, times are arguments.

A stream's own time has no beginning that this board knows. So the frame that came with the least delay relates the two
clocks, and each other frame is as old as it came later than that one. What that cannot see is a delay that
all frames have had since the stream was opened: docs/how/degraded.md.
"""

from __future__ import annotations

import math

MAX_DRIFT = 5e-4  # a camera's clock may be so much slower than this board's; beyond that a delay grows
JITTER_S = 1.0  # some cameras number a frame a little before the last one
JUMP_S = 10.0  # a stream's time that leaps ahead by more than this says nothing any more
TIMELESS = 3  # so many frames in a row with one time: the stream has none
FIRST_AGE_S = 2.0  # a device's first frame is no older, by a clock of this board


class TimeJumped(Exception):
    """The stream's own time jumped, so that the age of its frames cannot be known: open it anew."""


class StreamClock:
    """Turn a stream's own times into monotonic seconds; each opening of the stream gets a clock of its own."""

    def __init__(self) -> None:
        self._delay_s = math.inf  # own time + this = the second of this board, for the least delayed frame
        self._own_s = self._arrived_s = -math.inf
        self._standing = 0  # frames in a row whose own time is the one before
        self._was_awaited = False

    def taken_s(self, own_s: float, arrived_s: float) -> float:
        """Return when a frame was taken, at `arrived_s` at the latest; TimeJumped where nobody can say.

        Args:
            own_s: the frame's time as the stream has it.
            arrived_s: when it came here.
        """
        if self._own_s == -math.inf:  # the first one
            self._own_s, self._arrived_s, self._delay_s = own_s, arrived_s, arrived_s - own_s
            return arrived_s
        stepped_s, passed_s = own_s - self._own_s, arrived_s - self._arrived_s
        if stepped_s < -JITTER_S or stepped_s > passed_s + JUMP_S:
            raise TimeJumped(f"by {stepped_s:+.1f} s in {passed_s:.1f} s")
        self._standing = self._standing + 1 if stepped_s == 0 else 0
        self._was_awaited |= stepped_s > 0 and passed_s >= stepped_s / 2
        self._delay_s = min(arrived_s - own_s, self._delay_s + MAX_DRIFT * passed_s)
        self._own_s, self._arrived_s = own_s, arrived_s
        return arrived_s if self._standing >= TIMELESS else own_s + self._delay_s

    @property
    def is_catching_up(self) -> bool:
        """Say whether all frames so far came faster than they were taken: they lay in a buffer."""
        return not self._was_awaited and self._standing < TIMELESS


class DeviceClock:
    """Take a driver's time of a frame where it is of this board's monotonic clock, else the frame's arrival.

    The first frame tells: nothing lies in the buffers of a device that was just opened, so an old one is of another
    clock.
    """

    def __init__(self) -> None:
        self._is_ours: bool | None = None

    def taken_s(self, own_s: float, arrived_s: float) -> float:
        """Return when a frame was taken, at `arrived_s` at the latest."""
        if self._is_ours is None:
            self._is_ours = own_s > 0 and 0 <= arrived_s - own_s <= FIRST_AGE_S
        return own_s if self._is_ours and 0 < own_s <= arrived_s else arrived_s
