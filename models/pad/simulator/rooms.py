"""Made-up rooms: what may stand behind a person, natural enough that no wall, door or poster is taken for a border.

No photograph to learn from has surroundings, so they are drawn: walls, doors, windows, posters, monitors, writing, of
plain colors and of pieces of real pictures. A live person and an attack are set before the same rooms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.pad.simulator.camera import Image, Rng

SIDE_PX = 260  # of a canvas
CANVAS = (SIDE_PX, SIDE_PX)
UNIT_PX = 72.0  # a face width on it
MIDDLE = (SIDE_PX - 1) / 2
LETTERS = "ABCDEFGHIJKLMNOPRSTUVWXYZ0123456789 "

Color = npt.NDArray[np.floating]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """What scenes are made of.

    `faces` (N, 112, 112, 3) uint8 RGB aligned, `masks` (N, 112, 112) uint8, 255 where the person is, and `pictures`,
    (H, W, 3) uint8 RGB, of anything but people.
    """

    faces: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    pictures: Sequence[Image]

    def person(self, rng: Rng) -> tuple[Image, npt.NDArray[np.uint8]]:
        """Draw a face and its mask, half of them mirrored."""
        number = int(rng.integers(len(self.faces)))
        step = -1 if rng.random() < 0.5 else 1
        return (
            np.ascontiguousarray(self.faces[number][:, ::step]),
            np.ascontiguousarray(self.masks[number][:, ::step]),
        )


def room(material: Material, rng: Rng) -> Image:
    """Draw a (SIDE_PX, SIDE_PX, 3) room: a wall, what hangs on it, lines, writing, in focus or not."""
    image = texture(material, rng) if rng.random() < 0.45 else wall(rng)
    if rng.random() < 0.2:
        image = rows_of_things(image, material, rng)
    for _ in range(rng.poisson(1.6)):
        image = hang(image, material, rng)
    for _ in range(rng.poisson(0.8)):
        image = line(image, rng)
    if rng.random() < 0.2:
        image = writing(image, rng)
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), math.exp(rng.uniform(math.log(0.5), math.log(6))))
    return np.asarray(image, np.uint8)


def texture(material: Material, rng: Rng) -> Image:
    """Cut a piece out of something real, at any scale, in another light."""
    if rng.random() < 0.6 and len(material.pictures):
        source = material.pictures[int(rng.integers(len(material.pictures)))]
        scale = math.exp(rng.uniform(math.log(0.5), math.log(2.5)))
    else:
        source, scale = material.person(rng)[0], math.exp(rng.uniform(math.log(2), math.log(10)))
    size = np.array(source.shape[1::-1])
    turn_deg = rng.normal(0, 4) if rng.random() < 0.5 else rng.uniform(0, 360)
    matrix = cv2.getRotationMatrix2D((size * rng.random(2)).tolist(), turn_deg, scale)
    matrix[:, 2] += SIDE_PX / 2 - matrix @ [*(size / 2), 1] + rng.normal(0, 0.25 * scale, 2) * size[0]
    piece = cv2.warpAffine(
        np.ascontiguousarray(source), matrix, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REFLECT_101
    )
    share = (np.arange(256) / 255)[:, None] ** rng.uniform(0.6, 1.7) * np.exp(rng.normal(-0.05, 0.15, 3))
    piece = cv2.LUT(piece, np.clip(255 * share, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.35:
        gray = piece.mean(axis=2, keepdims=True)
        piece = np.clip(gray + (piece - gray) * rng.uniform(0, 0.8), 0, 255)
    return np.asarray(piece, np.uint8)


def wall(rng: Rng) -> Image:
    """Draw a wall whose color changes slowly."""
    first, second, ramp = color(rng), color(rng), np.linspace(0, 1, SIDE_PX)
    share = ramp[None] * rng.normal() + ramp[:, None] * rng.normal()
    share = (share - share.min()) / (np.ptp(share) + 1e-6) * rng.uniform(0, 0.6)
    spots = rng.standard_normal((SIDE_PX // 8, SIDE_PX // 8), np.float32)
    spots = cv2.resize(spots, (SIDE_PX, SIDE_PX)) * rng.uniform(0, 8)
    plain = first + (second - first) * share[..., None] + spots[..., None]
    return np.clip(plain, 0, 255).astype(np.uint8)


def color(rng: Rng) -> Color:
    """Draw a color (3,), most of them dull."""
    hue = rng.normal(0, 0.2 if rng.random() < 0.7 else 0.6, 3)
    return np.clip(rng.uniform(10, 245) * np.exp(hue), 0, 255)


def hang(image: Image, material: Material, rng: Rng) -> Image:
    """Hang a door, a window, a poster or a monitor on the wall, at times with somebody else's face on it."""
    width, height = UNIT_PX * np.exp(rng.normal(-0.1, 0.7, 2))
    if rng.random() < 0.4:
        width, height = (width, 4 * height) if rng.random() < 0.7 else (5 * width, 0.6 * height)
    center, turn_deg = rng.uniform(0, SIDE_PX, 2), rng.normal(0, 3)
    if rng.random() < 0.6:
        rim = 2 * rng.uniform(0.02, 0.15) * min(width, height)
        image = fill(image, box(center, (width + rim, height + rim), turn_deg), color(rng), rng)
    corners = box(center, (width, height), turn_deg) + rng.normal(0, 0.02, (4, 2)) * min(width, height)
    kind = rng.random()
    if kind < 0.5:
        return fill(image, corners, color(rng), rng)
    if kind < 0.85:
        return fill(image, corners, texture(material, rng), rng)
    scale = width / rng.uniform(60, 112)
    matrix = np.array([[scale, 0, center[0] - 56 * scale], [0, scale, center[1] - 60 * scale]])
    face = cv2.warpAffine(
        material.person(rng)[0], matrix, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REPLICATE
    )
    return fill(image, corners, face, rng)


def rows_of_things(image: Image, material: Material, rng: Rng) -> Image:
    """Cover the wall with rows: books, blinds, bricks, flags, or the logos of a sponsor."""
    step = np.maximum(UNIT_PX * np.exp(rng.normal((-1.2, -0.3), 0.6)), (12, 16))
    width, height = step * (1 - rng.uniform(0, 0.5, 2))
    first, one, same = -rng.uniform(0, 40, 2), color(rng), rng.random() < 0.4
    paint = texture(material, rng) if same and rng.random() < 0.5 else one
    for y in np.arange(first[1], SIDE_PX, step[1]):
        for x in np.arange(first[0], SIDE_PX, step[0]):
            own = paint if same else np.clip(one * rng.uniform(0.4, 1.4), 0, 255)
            image = fill(image, box((x, y), (width, height), 0.0), own, rng, 0.6)
    return image


def line(image: Image, rng: Rng) -> Image:
    """Draw a bar from edge to edge, most of them upright or level."""
    angle = math.radians(float(rng.choice([0, 90])) + rng.normal(0, 6 if rng.random() < 0.7 else 40))
    along = 400 * np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]]) / 400 * rng.uniform(0.5, 9)
    middle = rng.uniform(0, SIDE_PX, 2)
    corners = [middle - along - across, middle + along - across, middle + along + across]
    return fill(image, np.array([*corners, middle - along + across]), color(rng), rng)


def writing(image: Image, rng: Rng) -> Image:
    """Write some letters on the wall."""
    text = "".join(rng.choice(list(LETTERS), int(rng.integers(3, 12))))
    for row in range(int(rng.integers(1, 4))):
        place = (int(rng.uniform(-40, SIDE_PX - 60)), int(rng.uniform(20, SIDE_PX)))
        font, scale = int(rng.integers(0, 8)), float(rng.uniform(0.4, 2.2))
        pen = color(rng).tolist(), int(rng.integers(1, 5))
        image = np.asarray(cv2.putText(image.copy(), text[row:], place, font, scale, *pen, cv2.LINE_AA))
    return image


def box(center: npt.ArrayLike, size: tuple[float, float], turn_deg: float) -> Points:
    """Return the corners (4, 2) of a turned rectangle."""
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array(size) / 2
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    return np.asarray(half @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(center), np.float64)


def fill(
    image: Image, corners: npt.ArrayLike, paint: Color | Image, rng: Rng, soft_px: float | None = None
) -> Image:
    """Return the picture with a polygon (N, 2) painted in a color (3,) or with a picture of its size, softly."""
    soft_px, places = soft_px or rng.uniform(0.4, 1.2), np.asarray(corners, np.float64)
    reach, size = int(3 * soft_px) + 2, np.array(image.shape[1::-1])
    left, top = np.clip(np.floor(places.min(axis=0)).astype(int) - reach, 0, size)
    right, bottom = np.clip(np.ceil(places.max(axis=0)).astype(int) + reach, 0, size)
    if left >= right or top >= bottom:
        return image
    cover = np.zeros((bottom - top, right - left), np.uint8)
    sixteenths = np.round((places - (left, top)) * 16).astype(np.int32)
    cv2.fillPoly(cover, [sixteenths], 255, cv2.LINE_AA, shift=4)
    share = cv2.GaussianBlur(cover, (0, 0), soft_px).astype(np.float32)[..., None] / 255
    part = image[top:bottom, left:right].astype(np.float32)
    paint = np.asarray(paint, np.float32)
    paint = paint[top:bottom, left:right] if paint.ndim == 3 else paint
    painted = image.copy()
    painted[top:bottom, left:right] = np.clip(part + share * (paint - part), 0, 255)
    return painted
