"""Ignore a face that was refused and has not moved since: a poster, a television, a picture left before the door.

Such a face counts as one approach, however long it stays. The door no longer compares it, so it makes nobody wait, and
one lucky frame in a thousand cannot open. A face that moves a few centimetres is compared again. Pure; times are handed
in.
"""

from __future__ import annotations

import numpy as np

from device.types import Points

MOVED = (
    0.5  # distances between the eyes; a picture's points flicker by less than a tenth, a person sways by more
)
STILL_S = 10.0
GAP_S = 2.0  # away for longer: it may have been somewhere else
REMEMBERED_S = 60.0  # so long it may be hidden by somebody who stands before it


class Stillness:
    """Follow where the face before the door is."""

    def __init__(self) -> None:
        self._place: Points | None = None  # where the face has stayed
        self._since_s, self._refusals = 0.0, 0
        self._left_alone: Points | None = None  # where a refused face has not moved
        self._seen_s = self._left_alone_s = 0.0  # when a face was seen there last

    def see(self, landmarks: Points, at_s: float, refusals: int) -> bool:
        """Say whether this is a face that was refused and has not moved since.

        Args:
            landmarks: five points (5, 2), px of the frame.
            refusals: how many the door has counted so far; it only grows.
        """
        if self._left_alone is not None and not 0 <= at_s - self._left_alone_s <= REMEMBERED_S:
            self._left_alone = None
        if self._left_alone is not None and has_stayed(self._left_alone, landmarks):
            self._place, self._left_alone_s = None, at_s
            return True
        followed = 0 <= at_s - self._seen_s <= GAP_S
        if self._place is None or not (followed and has_stayed(self._place, landmarks)):
            self._place, self._since_s, self._refusals = landmarks, at_s, refusals
        self._seen_s = at_s
        if at_s - self._since_s < STILL_S or refusals <= self._refusals:
            return False
        self._left_alone, self._left_alone_s = self._place, at_s
        return True


def has_stayed(before: Points, after: Points) -> bool:
    """Say whether none of five points has moved by `MOVED` distances between the eyes; False for a NaN."""
    eyes_px = float(np.linalg.norm(before[1] - before[0]))
    moved_px = float(np.linalg.norm(after - before, axis=1).max())
    return eyes_px > 0 and moved_px <= MOVED * eyes_px
