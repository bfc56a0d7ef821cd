"""Made-up people: a real face on a drawn body, in clothes, hats and scarves, before a made-up room.

Where a photograph's own surroundings are known, an aligned crop's narrow rim, they are carried on; else the person is
cut out. Canvases and units are those of `models.pad.simulator.rooms`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.numeric.geometry import FACE_CENTER, FACE_WIDTH_PX
from models.pad.simulator.camera import Image, Light, Rng
from models.pad.simulator.rooms import (
    CANVAS,
    MIDDLE,
    SIDE_PX,
    UNIT_PX,
    Color,
    Material,
    box,
    color,
    fill,
    room,
    texture,
)


@dataclass(frozen=True)
class Pose:
    """Where a person stands on the canvas: center and width of the face in px, turn in the picture."""

    x: float = MIDDLE
    y: float = MIDDLE
    unit_px: float = UNIT_PX
    turn_deg: float = 0.0

    def from_crop(self) -> npt.NDArray[np.float64]:
        """Return the (2, 3) transform from an aligned crop to the canvas."""
        matrix = cv2.getRotationMatrix2D(FACE_CENTER, self.turn_deg, self.unit_px / FACE_WIDTH_PX)
        matrix[:, 2] += (self.x - FACE_CENTER[0], self.y - FACE_CENTER[1])
        return np.asarray(matrix, np.float64)

    def at(self, *places: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Return px of places (N, 2) given in face widths from the face's center."""
        return np.array(places, np.float64) * self.unit_px + (self.x, self.y)


def people(material: Material, rng: Rng) -> Image:
    """Draw a frame of a living person in the middle, perhaps with others beside, and things before them."""
    image = room(material, rng)
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            x = MIDDLE + float(rng.choice([-1, 1])) * UNIT_PX * rng.uniform(0.8, 1.9)
            y, unit_px = MIDDLE + UNIT_PX * rng.normal(0, 0.5), UNIT_PX * rng.uniform(0.3, 1.1)
            image = person(image, Pose(x, y, unit_px, rng.normal(0, 10)), material, rng)
    image = person(image, Pose(), material, rng)
    if rng.random() < 0.15:
        image = microphone(image, rng)
    for _ in range(rng.poisson(0.35)):  # an arm, a neighbor's shoulder
        angle, apart = rng.uniform(0, 2 * math.pi), UNIT_PX * rng.uniform(0.85, 1.6)
        center = (MIDDLE + apart * math.cos(angle), MIDDLE + apart * math.sin(angle))
        size = UNIT_PX * np.exp(rng.normal((-1.2, -0.2), 0.5))
        corners = box(center, tuple(size), rng.uniform(0, 180)) + rng.normal(0, 0.08, (4, 2)) * size.min()
        paint = color(rng) if rng.random() < 0.6 else texture(material, rng)
        image = fill(image, corners, paint, rng, rng.uniform(0.5, 4))
    return image


def microphone(image: Image, rng: Rng) -> Image:
    """Hold a microphone before somebody's chest or chin."""
    head = Pose().at((rng.normal(0, 0.5), rng.uniform(0.65, 1.3)))[0]
    foot = head + UNIT_PX * np.array([rng.normal(0, 0.6), 2.0])
    across, dark = UNIT_PX * np.array([rng.uniform(0.03, 0.06), 0]), color(rng) * rng.uniform(0.1, 0.6)
    stick = [head - across, head + across, foot + across, foot - across]
    image = fill(image, np.array(stick), dark, rng)
    return fill(image, oval(head, UNIT_PX * rng.uniform((0.07, 0.08), (0.14, 0.2))), dark, rng)


def person(image: Image, pose: Pose, material: Material, rng: Rng) -> Image:
    """Put a dressed person into a picture."""
    face, mask = material.person(rng)
    image = body(image, face, mask, pose, material, rng)
    if rng.random() < 0.15:
        image = headgear(image, pose, material, rng)
    if rng.random() < 0.12:
        image = raised_hand(image, face, pose, rng)
    return image


def body(
    image: Image,
    face: Image,
    mask: npt.NDArray[np.uint8],
    pose: Pose,
    material: Material,
    rng: Rng,
) -> Image:
    """Put a face on a body: with what the photograph had around it carried on, or cut out of it."""
    if rng.random() < 0.55:
        image = carried_on(image, face, pose, rng)
        if rng.random() < 0.25:
            return image
        cover = cv2.warpAffine(mask, pose.from_crop(), CANVAS).astype(np.float32) / 255
        whole = np.full(mask.shape, 255, np.uint8)
        inside = cv2.warpAffine(whole, pose.from_crop(), CANVAS).astype(np.float32) / 255
        cover = np.minimum(cover, cv2.GaussianBlur(inside, (0, 0), 1))
        return blend(torso(image, face, pose, material, rng), placed(face, pose), cover)
    image = torso(image, face, pose, material, rng)
    cover = cv2.warpAffine(mask.astype(np.float32) / 255 * faded(rng), pose.from_crop(), CANVAS)
    if rng.random() < 0.5:
        cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.3:
        image = long_hair(image, face, pose, rng)
    return blend(image, placed(face, pose), cover)


def placed(face: Image, pose: Pose, border: int = cv2.BORDER_REPLICATE) -> Image:
    return np.asarray(cv2.warpAffine(face, pose.from_crop(), CANVAS, borderMode=border), np.uint8)


def blend(image: Image, paint: Image, cover: Light) -> Image:
    """Return `paint` over the picture where `cover` (H, W) is 1."""
    under = image.astype(np.float32)
    return np.clip(under + cover[..., None] * (paint - under), 0, 255).astype(np.uint8)


def carried_on(behind: Image, face: Image, pose: Pose, rng: Rng) -> Image:
    """Carry a crop on beyond its edges: mirrored and blurred, or with its edge pixels; farther out stands `behind`."""
    x, y = np.arange(SIDE_PX) - pose.x, np.arange(SIDE_PX)[:, None] - pose.y
    if rng.random() < 0.75:
        image = placed(face, pose, cv2.BORDER_REFLECT_101)
        soft = cv2.GaussianBlur(image, (0, 0), pose.unit_px * rng.uniform(0.02, 0.25))
        apart = np.hypot(x, y) / pose.unit_px
        image = blend(image, soft, np.clip((apart - 0.75) / rng.uniform(0.05, 0.6), 0, 1))
    else:
        image = placed(face, pose)
    if rng.random() < 0.5:
        beside = np.clip((np.abs(x) / pose.unit_px - rng.uniform(0.75, 1.0)) / rng.uniform(0.02, 0.4), 0, 1)
        image = blend(image, behind, np.broadcast_to(beside, image.shape[:2]))
    return image


def faded(rng: Rng) -> Light:
    """Return (112, 112) weights that let hair end softly where the crop does."""
    ramp = np.clip(np.arange(112, dtype=np.float32) / rng.uniform(6, 18), 0, 1)
    bottom = np.clip(np.arange(112, dtype=np.float32) / rng.uniform(2, 8), 0, 1)[::-1]
    return np.asarray((ramp * bottom)[:, None] * (ramp * ramp[::-1])[None], np.float32)


def torso(image: Image, face: Image, pose: Pose, material: Material, rng: Rng) -> Image:
    """Draw neck, shoulders and clothes below a face."""
    skin = np.median(face[50:80, 40:70].reshape(-1, 3), axis=0)
    neck, shoulder = rng.uniform(0.28, 0.42), rng.uniform(0.72, 1.0)
    top, low = rng.uniform(0.45, 0.6), shoulder + 0.35
    sides = pose.at((-neck, top), (neck, top), (1.2 * neck, low), (-1.2 * neck, low))
    image = fill(image, sides, skin * rng.uniform(0.6, 0.95), rng)
    image = fill(image, pose.at(*shoulders(shoulder, rng)), cloth(material, rng), rng)
    if rng.random() < 0.4:
        return jacket(image, pose, neck, shoulder, rng)
    if rng.random() < 0.5:  # an opening, at times with a tie
        wide, deep = neck * rng.uniform(0.5, 1.1), rng.uniform(0.2, 0.7)
        opening = pose.at((-wide, shoulder - 0.02), (wide, shoulder - 0.02), (0, shoulder + deep))
        image = fill(image, opening, 0.85 * skin if rng.random() < 0.5 else color(rng), rng)
        if rng.random() < 0.5:
            image = tie(image, pose, shoulder + 0.1, rng)
    if rng.random() < 0.4:  # a collar
        for side in (-1, 1):
            flap = (side * 0.7 * neck, shoulder - 0.12), (side * (neck + 0.25), shoulder + 0.05)
            tip = (side * 0.2, shoulder + rng.uniform(0.2, 0.5))
            image = fill(image, pose.at(*flap, tip), color(rng), rng)
    return image


def shoulders(level: float, rng: Rng) -> list[tuple[float, float]]:
    """Return the outline of a trunk, in face widths: one shoulder at times higher or nearer than the other."""
    halves, falls = rng.uniform(0.85, 1.5) * np.exp(rng.normal(0, 0.15, 2)), rng.uniform(0.15, 0.45, 2)
    slope, outline = rng.normal(0, 0.12), []
    for x in np.linspace(-1, 1, 25):
        side = int(x > 0)
        y = level + 1.5 * falls[side] * max(0.0, abs(x) - 0.25) ** 1.5 + slope * x * abs(x)
        outline.append((float(x * halves[side]), float(y)))
    return [*outline, (1.1 * float(halves[1]), 9.0), (-1.1 * float(halves[0]), 9.0)]


def cloth(material: Material, rng: Rng) -> Color | Image:
    """Draw a cloth: plain, dark or patterned."""
    kind = rng.random()
    if kind < 0.4:
        return texture(material, rng)
    return color(rng) if kind < 0.75 else rng.uniform(8, 60) * np.exp(rng.normal(0, 0.1, 3))


def jacket(image: Image, pose: Pose, neck: float, shoulder: float, rng: Rng) -> Image:
    """Open a jacket on a shirt, mostly a light one, with lapels and mostly a tie."""
    shirt = rng.uniform(150, 255) * np.exp(rng.normal(0, 0.05, 3)) if rng.random() < 0.7 else color(rng)
    wide, deep, at = 1.05 * neck, rng.uniform(0.6, 1.4), rng.normal(0, 0.08)
    front = pose.at((-wide, shoulder - 0.1), (wide, shoulder - 0.1), (at, shoulder + deep))
    image = fill(image, front, np.clip(shirt, 0, 255), rng)
    if rng.random() < 0.75:
        image = tie(image, pose, shoulder + rng.uniform(-0.05, 0.1), rng)
    lapel = color(rng) * rng.uniform(0.1, 0.6)
    for side in (-1, 1):
        inner, out = (side * wide, shoulder - 0.1), wide + rng.uniform(0.15, 0.35)
        corner = (side * out, shoulder + deep * rng.uniform(0.2, 0.4))
        image = fill(image, pose.at(inner, corner, (at, shoulder + deep)), lapel, rng)
    return image


def tie(image: Image, pose: Pose, top: float, rng: Rng) -> Image:
    half, low = rng.uniform(0.05, 0.1), top + 1.4
    ends = pose.at((-half, top), (half, top), (1.5 * half, low), (-1.5 * half, low))
    return fill(image, ends, color(rng), rng)


def headgear(image: Image, pose: Pose, material: Material, rng: Rng) -> Image:
    """Put on a hat or a cap, or lay a scarf around head and neck."""
    paint = cloth(material, rng)
    if rng.random() < 0.6:
        brim, crown = -rng.uniform(0.42, 0.6), -rng.uniform(0.85, 1.1)
        sides = (
            (-0.55, brim),
            (-0.5, crown + 0.1),
            (-0.25, crown),
            (0.25, crown),
            (0.5, crown + 0.1),
            (0.55, brim),
        )
        image = fill(image, pose.at(*sides), paint, rng)
        wide, thick = rng.uniform(0.5, 1.0, 2), rng.uniform(0.04, 0.12)
        edge = (
            (-wide[0], brim - thick),
            (wide[1], brim - thick),
            (wide[1], brim + thick),
            (-wide[0], brim + thick),
        )
        return fill(image, pose.at(*edge), paint if rng.random() < 0.7 else color(rng), rng)
    size, hole = (
        np.array([0.75, 0.95]) * rng.uniform(0.9, 1.15),
        np.array([0.48, 0.66]) * rng.uniform(0.9, 1.1),
    )
    center, lower = pose.at((0, 0), (0, 0.04))
    ring = [oval(center, size * pose.unit_px), oval(lower, hole * pose.unit_px)[::-1]]
    return fill(image, np.concatenate(ring), paint, rng)


def oval(center: npt.NDArray[np.float64], half: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return places (33, 2) around an ellipse, the first again at the end."""
    angle = np.linspace(0, 2 * math.pi, 33)
    return center + np.stack([np.cos(angle), np.sin(angle)], axis=1) * half


def raised_hand(image: Image, face: Image, pose: Pose, rng: Rng) -> Image:
    """Raise a hand beside or below a face."""
    skin = np.median(face[50:80, 40:70].reshape(-1, 3), axis=0) * rng.uniform(0.7, 1.1)
    palm = pose.at((rng.normal(0, 0.8), rng.uniform(0.6, 1.2)))[0]
    image = fill(image, oval(palm, pose.unit_px * rng.uniform((0.12, 0.15), (0.25, 0.3))), skin, rng)
    for finger in range(int(rng.integers(2, 6))):
        middle = palm + pose.unit_px * np.array([0.1 * (finger - 2), -rng.uniform(0.2, 0.4)])
        size = (0.08 * pose.unit_px, pose.unit_px * rng.uniform(0.25, 0.5))
        image = fill(image, box(middle, size, 12.0 * (finger - 2) + rng.normal(0, 8)), skin, rng)
    return image


def long_hair(image: Image, face: Image, pose: Pose, rng: Rng) -> Image:
    """Let hair fall on both sides, in the color of what is above the forehead."""
    hair = face[8:30, 30:80].reshape(-1, 3).mean(axis=0)
    for side in (-1, 1):
        end = (side * rng.uniform(0.5, 0.8), rng.uniform(0.5, 1.3))
        corners = ((side * 0.35, -0.2), (side * 0.62, -0.1), end, (side * 0.3, 0.6))
        image = fill(image, pose.at(*corners), hair, rng)
    return image
