"""What liveness networks see of a frame, as pictures: ours (`near`, `wide`), and the public teachers'."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from device.numeric.looks import NEAR_PX, NEAR_SIDES, WIDE_PX, WIDE_SIDES, near_square, wide_square

Image = npt.NDArray[np.uint8]


class Box(NamedTuple):
    """The detector's box, px of the picture."""

    x: float
    y: float
    width: float
    height: float


def moved_inside(image: Image, box: Box, sides: float, side_px: int, interpolation: int) -> Image:
    """Cut `sides` of the box around its center, moved inside the picture."""
    square = wide_square(box, *image.shape[:2], sides)
    part = image[square.top : square.bottom, square.left : square.right]
    return np.asarray(cv2.resize(part, (side_px, side_px), interpolation=interpolation), np.uint8)


def squared(image: Image, box: Box, sides: float, side_px: int, border: int) -> Image:
    """Cut a square of `sides` of the box's longer side around its center; `border` goes on where the picture ends."""
    square = near_square(box, *image.shape[:2], sides)
    part, rim = image[square.top : square.bottom, square.left : square.right], square.rim
    if border == cv2.BORDER_REFLECT_101:  # a mirror shows no more than there is
        tall, broad = part.shape[0] - 1, part.shape[1] - 1
        rim = (min(rim[0], tall), min(rim[1], tall), min(rim[2], broad), min(rim[3], broad))
    if any(rim):
        part = np.asarray(cv2.copyMakeBorder(part, *rim, border), np.uint8)
    return np.asarray(cv2.resize(part, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)


def near_look(image: Image, box: Box) -> Image:
    return squared(image, box, NEAR_SIDES, NEAR_PX, cv2.BORDER_CONSTANT)


def wide_look(image: Image, box: Box) -> Image:
    return moved_inside(image, box, WIDE_SIDES, WIDE_PX, cv2.INTER_AREA)


LOOKS = {
    "near": near_look,
    "wide": wide_look,
    "wide27": lambda image, box: moved_inside(image, box, 2.7, 80, cv2.INTER_LINEAR),
    "wide40": lambda image, box: moved_inside(image, box, 4.0, 80, cv2.INTER_LINEAR),
    "near15_black": near_look,
    "near15_mirror": lambda image, box: squared(image, box, 1.5, 128, cv2.BORDER_REFLECT_101),
    "near10_black": lambda image, box: squared(image, box, 1.0, 128, cv2.BORDER_CONSTANT),
}
