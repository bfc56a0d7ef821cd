"""Training views of the landmark network: aligned crops put back into a loose square, as a detector would cut it.

The square has 1.5 sides of the detector's box (`device.numeric.geometry.MESH_REGION_SCALE`). A 112x112 crop does not
fill it, so what lies around the crop is made up, in a new way for every view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from device.numeric.geometry import apply_transform
from models.landmarks.points import mirrored
from models.training.data import SIZE_PX, blur, clip, jpeg, relight, tint, to_tensor

# Where the detector's square lies in a crop: medians over the training faces, set in borders of their edge pixels
REGION_CENTER_PX, REGION_SIDE_PX = (56.8, 72.1), 129.3
BORDERS = (cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101, cv2.BORDER_CONSTANT, cv2.BORDER_TRANSPARENT)

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def region_transform(
    side_px: int, shift: tuple[float, float] = (0.0, 0.0), turn_deg: float = 0.0, scale: float = 1.0
) -> Floats:
    """Return the (2, 3) transform from a crop to the detector's square of `side_px`.

    `shift` is in shares of the square's side; `scale` above 1 shows the face larger.
    """
    factor = scale * side_px / REGION_SIDE_PX
    cos, sin = factor * math.cos(math.radians(turn_deg)), factor * math.sin(math.radians(turn_deg))
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = side_px * (0.5 + np.array(shift))
    return np.column_stack([turn, middle - turn @ np.array(REGION_CENTER_PX)])


@dataclass(frozen=True)
class Labels:
    """What the mesh says of N crops: `points` (N, 127, 2) in crop pixels, and which are good enough, `kept` (N,)."""

    points: npt.NDArray[np.floating]
    kept: npt.NDArray[np.bool_]


def load_labels(path: Path) -> Labels:
    """Read a file of scripts/train/label_landmarks.py."""
    with np.load(path) as file:
        return Labels(file["points"], file["kept"])


@dataclass(frozen=True)
class View:
    """How far a training view may be from the detector's own square; every `p_` is a probability."""

    shift_x: float = 0.12  # of the square's side
    shift_y: float = 0.10
    turn_deg: float = 10.0  # standard deviation
    scale: float = 0.25  # largest logarithm
    p_light: float = 0.6
    p_color: float = 0.3
    p_gray: float = 0.05
    p_low_resolution: float = 0.2
    p_blur: float = 0.15
    p_noise: float = 0.15
    p_jpeg: float = 0.2
    p_cover: float = 0.15
    p_nothing: float = 0.04  # no face: the points of a face turned inside out

    def transform(self, side_px: int, rng: np.random.Generator) -> Floats:
        shift = (rng.uniform(-self.shift_x, self.shift_x), rng.uniform(-self.shift_y, self.shift_y))
        turn_deg = float(np.clip(rng.normal(0, self.turn_deg), -40, 40))
        return region_transform(side_px, shift, turn_deg, math.exp(rng.uniform(-self.scale, self.scale)))

    def wear(self, image: Image, rng: np.random.Generator) -> Image:
        """Return a changed copy of a square uint8 RGB picture: light, color, sharpness, noise, compression."""
        if rng.random() < self.p_light:
            image = relight(image, rng)
        if rng.random() < self.p_color:
            image = tint(image, rng)
        if rng.random() < self.p_gray:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        if rng.random() < self.p_cover:
            image = cover(image, rng)
        if rng.random() < self.p_low_resolution:
            image = low_resolution(image, int(rng.integers(24, 80)))
        if rng.random() < self.p_blur:
            image = blur(image, rng)
        if rng.random() < self.p_noise:
            image = clip(image + rng.normal(0, rng.uniform(2, 12), image.shape).astype(np.float32))
        if rng.random() < self.p_jpeg:
            image = jpeg(image, int(rng.integers(25, 90)))
        return image


def place(crop: Image, matrix: Floats, side_px: int, border: int, around: Image) -> Image:
    """Put a crop into the square: beyond its edges comes `border`; BORDER_TRANSPARENT shows the square `around`."""
    size = (side_px, side_px)
    if border == cv2.BORDER_TRANSPARENT:
        return cv2.warpAffine(
            crop, matrix, size, dst=around.copy(), flags=cv2.INTER_LINEAR, borderMode=border
        )
    color = tuple(float(value) for value in around[0, 0])
    return cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=color)


def surroundings(other: Image, side_px: int, rng: np.random.Generator) -> Image:
    """Return something to stand around a face: black, one color, or a turned and blurred piece of another picture."""
    kind = rng.random()
    if kind < 0.25:
        return np.zeros((side_px, side_px, 3), np.uint8)
    if kind < 0.4:
        return np.full((side_px, side_px, 3), rng.integers(0, 256, 3), np.uint8)
    matrix = cv2.getRotationMatrix2D(
        tuple(rng.uniform(0, SIZE_PX, 2)), rng.uniform(0, 360), rng.uniform(0.6, 5)
    )
    piece = cv2.warpAffine(other, matrix, (side_px, side_px), borderMode=cv2.BORDER_REFLECT_101)
    return cv2.GaussianBlur(piece, (0, 0), rng.uniform(0.5, 4)) if rng.random() < 0.5 else piece


def cover(image: Image, rng: np.random.Generator) -> Image:
    """Cover a rectangle of up to a third of each side with one color."""
    side = len(image)
    height, width = rng.integers(side // 10, side // 3, 2)
    top, left = rng.integers(0, side - height), rng.integers(0, side - width)
    image = image.copy()
    image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return image


def low_resolution(image: Image, size_px: int) -> Image:
    """Shrink to `size_px` and enlarge again: a face seen from afar."""
    small = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def no_face(crops: tuple[Image, Image], side_px: int, rng: np.random.Generator) -> Image:
    """Return a picture that shows no face: tiles of a face in another order, or a piece of two pictures."""
    if rng.random() < 0.5:
        tiles = int(rng.integers(2, 6))
        size = SIZE_PX // tiles
        order = rng.permutation(tiles * tiles)
        if (order == np.arange(tiles * tiles)).mean() > 0.3:
            order = np.roll(order, 1)
        cut = [
            crops[0][y * size : (y + 1) * size, x * size : (x + 1) * size]
            for y in range(tiles)
            for x in range(tiles)
        ]
        rows = [np.hstack([cut[i] for i in order[y * tiles : (y + 1) * tiles]]) for y in range(tiles)]
        return cv2.resize(np.vstack(rows), (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    corner = rng.choice([0, SIZE_PX - 36], 2) + rng.integers(-8, 9, 2)
    left, top = np.clip(corner, 0, SIZE_PX - 32)
    size = int(rng.integers(16, 32))
    piece = crops[0][top : top + size, left : left + size]
    return cv2.resize(piece, (side_px, side_px), interpolation=cv2.INTER_LINEAR)


class Views:
    """Batches of pictures (B, 3, side, side) and points (B, 127, 2) in shares of the side; a number repeats its batch.

    `changes` are fields of `View`.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        points: npt.NDArray[np.floating],
        rows: npt.NDArray[np.int64],
        side_px: int,
        **changes: float,
    ) -> None:
        self.images, self.points, self.rows, self.side_px = images, points, rows, side_px
        self.view = replace(View(), **changes)
        some = points[rows[:: max(1, len(rows) // 2000)]].astype(np.float64)
        self.mean = region_points(some.mean(axis=0), side_px)
        self.inside_out = np.stack([side_px - 1 - self.mean[:, 0], self.mean[:, 1]], axis=1)

    def stream(self, size: int, seed: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches without end from batch `start` on, one made ahead."""
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(self.batch, size, seed, start)
            while True:
                ready, start = pending.result(), start + 1
                pending = pool.submit(self.batch, size, seed, start)
                yield ready

    def batch(self, size: int, seed: int, number: int) -> tuple[Tensor, Tensor]:
        """Make batch `number`: a pure function of its arguments."""
        pictures, points = self.pictures(size, seed, number)
        return to_tensor(pictures), torch.from_numpy(points)

    def pictures(
        self, size: int, seed: int, number: int = 0
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return batch `number` as (size, side, side, 3) uint8 RGB and (size, 127, 2) shares of the side."""
        if len(self.rows) < size:
            raise ValueError(f"{len(self.rows)} labeled faces are fewer than one batch of {size}")
        epoch, turn = divmod(number, len(self.rows) // size)
        order = np.random.default_rng((seed, epoch)).permutation(self.rows)[turn * size : (turn + 1) * size]
        rng = np.random.default_rng((seed, number))
        pictures, points = zip(*(self.one(row, rng) for row in order), strict=True)
        return np.stack(pictures), (np.stack(points) / self.side_px).astype(np.float32)

    def one(self, row: int, rng: np.random.Generator) -> tuple[Image, Floats]:
        """Return one view and its points in pixels."""
        crop, points = self.images[row], self.points[row].astype(np.float64)
        other = self.images[self.rows[rng.integers(len(self.rows))]]
        if rng.random() < self.view.p_nothing:
            return self.view.wear(no_face((crop, other), self.side_px, rng), rng), self.inside_out
        if rng.random() < 0.5:
            crop, points = np.ascontiguousarray(crop[:, ::-1]), mirrored(points, SIZE_PX)
        matrix = self.view.transform(self.side_px, rng)
        around = surroundings(other, self.side_px, rng)
        square = place(crop, matrix, self.side_px, BORDERS[rng.integers(len(BORDERS))], around)
        return self.view.wear(square, rng), apply_transform(matrix, points)


def region_points(points: Floats, side_px: int) -> Floats:
    """Return (127, 2) points of a crop as pixels of the detector's own square."""
    return apply_transform(region_transform(side_px), points)
