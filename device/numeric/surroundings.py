"""How much what stands around a face changed from one frame to the next: a film that is chosen changes all of it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

GRID = (24, 32)  # rows and columns that are compared
FACE = 1.6  # so much larger than its box a face is left out, for hair and shoulders move with it
Box = tuple[float, float, float, float]


class Surroundings:
    """Compare each frame with the one before."""

    def __init__(self) -> None:
        self._before: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]] | None = None

    def see(self, image: npt.NDArray[np.uint8], box: Box) -> float:
        """Return the mean change around the face, in gray levels; NaN where there is nothing to compare.

        Light that changes for all of the picture is no change.

        Args:
            image: (H, W, 3) uint8.
            box: of the face: x, y, width, height in px.
        """
        now = (small(image), around(image.shape[:2], box))
        before, self._before = self._before, now
        if before is None:
            return math.nan
        seen = before[1] & now[1]
        if not seen.any():
            return math.nan
        change = (now[0] - before[0])[seen]
        return float(np.abs(change - np.median(change)).mean())


def small(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the picture in gray on the grid, each cell the mean of a few of its pixels."""
    rows, columns = (
        np.linspace(0, size - 1, 4 * count).astype(int)
        for size, count in zip(image.shape[:2], GRID, strict=True)
    )
    picked = image[np.ix_(rows, columns)].mean(axis=2, dtype=np.float32)
    return picked.reshape(GRID[0], 4, GRID[1], 4).mean(axis=(1, 3))


def around(size: tuple[int, int], box: Box) -> npt.NDArray[np.bool_]:
    """Return which cells of the grid do not belong to the face."""
    x, y, width, height = box
    rows, columns = ((np.arange(count) + 0.5) * px / count for count, px in zip(GRID, size, strict=True))
    near_x = np.abs(columns - (x + width / 2)) <= FACE * width / 2
    near_y = np.abs(rows - (y + height / 2)) <= FACE * height / 2
    return ~(near_y[:, None] & near_x[None, :])
