"""A flat thing before a background: its outline, what holds it, and how it is put into a scene."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from models.pad.simulator.camera import Light, Rng, Scene, SensorGrid

# Linear reflectance of skin, from dark to light
_SKIN = (np.array([0.09, 0.05, 0.035], np.float32), np.array([0.70, 0.46, 0.36], np.float32))


@dataclass(frozen=True)
class FacePlace:
    """Where a face stands in a picture: its center and width in px."""

    center: tuple[float, float]
    width_px: float

    def scaled(self, factor: float) -> FacePlace:
        """Return the place in the picture enlarged by `factor`; pixel centers are whole numbers."""
        x, y = ((value + 0.5) * factor - 0.5 for value in self.center)
        return FacePlace((x, y), self.width_px * factor)


@dataclass(frozen=True)
class Layer:
    """A sheet or a device: `light` (H, W, 3), and `cover` (H, W, 1) in [0, 1], where it hides what is behind."""

    light: Light
    cover: Light
    structure: Callable[[Light, SensorGrid], Light] | None = None
    shadow: float = 0.0  # how dark its shadow on the background is


@dataclass(frozen=True)
class Outline:
    """A rectangle about the face: distances of its edges from the face's center in face widths, and its turn."""

    left: float
    right: float
    up: float
    down: float
    turn_deg: float = 0.0
    corner: float = 0.0  # radius

    def depth(self, shape: tuple[int, int], face: FacePlace) -> Light:
        """Return for each pixel how far inside the outline it is, in px; negative outside. (H, W) float32."""
        x, y = face_axes(shape, face, self.turn_deg)
        unit, radius = face.width_px, self.corner * face.width_px
        half_x, half_y = (self.left + self.right) / 2 * unit, (self.up + self.down) / 2 * unit
        over_x = np.abs(x - (self.right - self.left) / 2 * unit) - half_x + radius
        over_y = np.abs(y - (self.down - self.up) / 2 * unit) - half_y + radius
        outside = np.sqrt(np.maximum(over_x, 0) ** 2 + np.maximum(over_y, 0) ** 2)
        return radius - outside - np.minimum(np.maximum(over_x, over_y), 0)


def face_axes(shape: tuple[int, int], face: FacePlace, turn_deg: float = 0.0) -> tuple[Light, Light]:
    """Return x and y of each pixel of a picture of `shape`, px from the face's center, turned clockwise."""
    x = np.arange(shape[1], dtype=np.float32)[None] - np.float32(face.center[0])
    y = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(face.center[1])
    cos, sin = np.float32(math.cos(math.radians(turn_deg))), np.float32(math.sin(math.radians(turn_deg)))
    return cos * x + sin * y, cos * y - sin * x


def soft_edge(depth: Light, width_px: float = 1.0) -> Light:
    """Turn depths (H, W) into cover (H, W, 1): 0 outside, 1 inside."""
    return np.clip(depth / width_px + 0.5, 0, 1)[..., None]


def over(layer: Layer, background: Light) -> Scene:
    """Put a layer before a background of its size; its structure stays on the layer."""
    if layer.shadow > 0:
        reach = 0.03 * background.shape[1]
        background = background * (1 - layer.shadow * cv2.GaussianBlur(layer.cover, (0, 0), reach)[..., None])
    light = background + layer.cover * (layer.light - background)
    if layer.structure is None:
        return Scene(light)
    structure, cover = layer.structure, layer.cover[..., 0]

    def on_layer(seen: Light, grid: SensorGrid) -> Light:
        place = cv2.remap(cover, grid.u, grid.v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return seen + place[..., None] * (structure(seen, grid) - seen)

    return Scene(light, on_layer)


def hold(layer: Layer, outline: Outline, face: FacePlace, fingers: int, rng: Rng) -> Layer:
    """Let a hand hold the layer: fingers reach over one side, a thumb over the opposite."""
    shape = layer.light.shape[:2]
    color = _SKIN[0] + np.float32(rng.random()) * (_SKIN[1] - _SKIN[0])
    side = rng.choice([-1, 1])
    reach = outline.right if side > 0 else outline.left
    first = rng.uniform(-0.7 * outline.up, 0.8 * outline.down)
    light, cover = layer.light, layer.cover
    for number in range(fingers):
        thumb = number > 0 and number == fingers - 1 and rng.random() < 0.5
        along = -side if thumb else side
        edge = (outline.left if side > 0 else outline.right) if thumb else reach
        width = rng.uniform(0.15, 0.22)
        tip = (along * (edge - rng.uniform(0.05, 0.3)), first + 0.2 * number)
        root = (along * (edge + 0.9), tip[1] + rng.uniform(-0.2, 0.3))
        light, cover = _with_finger((light, cover), shape, face, (tip, root, width), color)
    return Layer(light, cover, layer.structure, layer.shadow)


def _with_finger(
    drawn: tuple[Light, Light],
    shape: tuple[int, int],
    face: FacePlace,
    finger: tuple[tuple[float, float], tuple[float, float], float],
    color: Light,
) -> tuple[Light, Light]:
    """Draw a finger, a round rod from tip to root, shaded across."""
    x, y = face_axes(shape, face)
    tip, root, width = (np.array(value, np.float32) * face.width_px for value in finger)
    along = root - tip
    share = np.clip(((x - tip[0]) * along[0] + (y - tip[1]) * along[1]) / float(along @ along), 0, 1)
    off_x, off_y = x - tip[0] - share * along[0], y - tip[1] - share * along[1]
    apart = np.sqrt(off_x * off_x + off_y * off_y) / (width / 2)
    mask = soft_edge((1 - apart) * width / 2, 1.5)
    shaded = color * (0.45 + 0.55 * np.sqrt(np.clip(1 - apart**2, 0, 1)))[..., None]
    light, cover = drawn
    return light + mask * (shaded - light), np.maximum(cover, mask)
