"""Which squares around a detected face the liveness network sees: the same at the door and in training.

Near: NEAR_SIDES of the box's longer side, for texture; black where the frame ends. Wide: WIDE_SIDES of the box, for
what stands around; shrunk to what fits and moved inside the frame (the crop of Silent-Face-Anti-Spoofing).
"""

from __future__ import annotations

import math
from typing import NamedTuple

NEAR_SIDES, NEAR_PX = 1.5, 128
WIDE_SIDES, WIDE_PX = 2.7, 80

Box = tuple[float, float, float, float]  # x, y, width, height, px


class Square(NamedTuple):
    """A part of a frame, rows `top` to `bottom` and columns `left` to `right`, and how wide its rim of black is, px."""

    top: int
    bottom: int
    left: int
    right: int
    rim: tuple[int, int, int, int] = (0, 0, 0, 0)  # above, below, before, after


def near_square(box: Box, height: int, width: int, sides: float = NEAR_SIDES) -> Square:
    """Return the square of `sides` of the box's longer side around its center, in a frame of `height` x `width` px.

    Raises:
        ValueError: the box has no area, is no number, or lies outside the frame.
    """
    x, y, longer = middle_of(box)
    side = max(1, round(sides * longer))
    left, top = round(x - side / 2), round(y - side / 2)
    inside = Square(max(0, top), min(height, top + side), max(0, left), min(width, left + side))
    if not (inside.top < inside.bottom and inside.left < inside.right):
        raise ValueError(f"a box inside a frame of {width}x{height} px is expected, received {box}")
    rim = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    return inside._replace(rim=rim)


def wide_square(box: Box, height: int, width: int, sides: float = WIDE_SIDES) -> Square:
    """Return the part of `sides` of the box around its center, shrunk to what fits and moved inside the frame.

    Raises:
        ValueError: the box has no area or is no number.
    """
    x, y, _ = middle_of(box)
    scale = min(sides, (height - 1) / box[3], (width - 1) / box[2])
    half_x, half_y = scale * box[2] / 2, scale * box[3] / 2
    x = min(max(x, half_x), width - 1 - half_x)
    y = min(max(y, half_y), height - 1 - half_y)
    top, left = max(int(y - half_y), 0), max(int(x - half_x), 0)
    return Square(top, max(int(y + half_y) + 1, top + 1), left, max(int(x + half_x) + 1, left + 1))


def middle_of(box: Box) -> tuple[float, float, float]:
    """Return x and y of a box's center, and its longer side."""
    x, y, width, height = box
    if not (all(map(math.isfinite, box)) and 1 <= width < 1e6 and 1 <= height < 1e6):
        raise ValueError(f"a box of at least one pixel is expected, received {box}")
    return x + width / 2, y + height / 2, max(width, height)
