"""A photograph on a screen: second compression, gamma, blue cast, sub-pixels and their moire, glare, bezel, banding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from models.pad.simulator.camera import Image, Light, Rng, SensorGrid, compress, to_light
from models.pad.simulator.layers import FacePlace, Layer, Outline, face_axes, hold, soft_edge


@dataclass(frozen=True)
class Screen:
    """One screen; lengths in face widths, light linear."""

    outline: Outline  # of what is lit
    bezel: float = 0.1
    bezel_color: float = 0.01
    pixels: float = 500.0  # of the screen, in a face width
    pitch_ratio: float = 1.0  # height of a pixel, of its width
    grid_deg: float = 0.0
    sharp: float = 0.6  # how much of a pixel's gaps the lens lets through
    fill: float = 0.9  # share of a sensor pixel that gathers light
    phases: tuple[float, float, float] = (0.0, 1 / 3, 2 / 3)  # of red, green and blue in a pixel
    gamma: float = 1.0
    white: tuple[float, float, float] = (0.92, 1.0, 1.15)
    black: float = 0.01  # backlight that leaks
    contrast: float = 1.0
    quality: int = 80
    softness: float = 0.003
    glare: float = 0.0
    lamp: float = 0.0
    fade_deg: float = 0.0  # direction in which the screen grows darker, seen from the side
    fade: float = 0.1
    banding: float = 0.0
    band_px: float = 60.0  # of the sensor
    fingers: int = 0

    @classmethod
    def draw(cls, rng: Rng, *, small: bool) -> Screen:
        """Draw a phone (small) or a tablet."""
        low, high = (0.45, 1.0) if small else (0.65, 2.5)
        left, right = rng.uniform(low, high, 2).tolist()
        up, down = rng.uniform(0.7, 1.8, 2).tolist()
        blue = rng.normal(0.1, 0.08)
        return cls(
            outline=Outline(left, right, up, down, float(rng.normal(0, 4)), float(rng.uniform(0, 0.12))),
            bezel=float(rng.uniform(0.02, 0.12) if small else rng.uniform(0.06, 0.3)),
            bezel_color=float(rng.choice([rng.uniform(0.002, 0.03), rng.uniform(0.3, 0.8)], p=[0.8, 0.2])),
            pixels=math.exp(rng.uniform(*np.log((300, 900) if small else (100, 600)))),
            pitch_ratio=float(rng.uniform(0.95, 1.05)),
            grid_deg=float(rng.normal(0, 6)),
            sharp=float(rng.uniform(0.15, 1.2)),
            fill=float(rng.uniform(0.55, 0.95)),
            phases=(0.0, 1 / 3, 2 / 3) if rng.random() < 0.7 else tuple(rng.uniform(0, 1, 3).tolist()),
            gamma=float(rng.uniform(0.8, 1.35)),
            white=(math.exp(-blue), float(rng.uniform(0.95, 1.05)), math.exp(blue)),
            black=float(rng.uniform(0.001, 0.02)),
            contrast=float(rng.uniform(0.85, 1.25)),
            quality=int(rng.integers(35, 96)),
            softness=float(rng.uniform(0.001, 0.01)),
            glare=math.exp(rng.uniform(math.log(0.01), math.log(0.2))) if rng.random() < 0.6 else 0.0,
            lamp=float(rng.uniform(0.3, 1.5)) if rng.random() < 0.25 else 0.0,
            fade_deg=float(rng.uniform(0, 360)),
            fade=float(abs(rng.normal(0, 0.15))),
            banding=float(rng.uniform(0.02, 0.2)) if rng.random() < 0.3 else 0.0,
            band_px=float(rng.uniform(25, 160)),
            fingers=int(rng.integers(1, 5)) if rng.random() < 0.3 else 0,
        )


def show_on_screen(photo: Image, face: FacePlace, screen: Screen, rng: Rng) -> Layer:
    """Return the photograph on the screen, bezel and all, as a layer of the photograph's size."""
    shape = photo.shape[:2]
    depth = screen.outline.depth(shape, face)
    light = emitted(compress(photo, ".jpg", screen.quality), face, screen)
    light = light + soft_edge(-depth) * (np.float32(screen.bezel_color) - light)
    light = light + reflections(shape, face, screen, rng)
    rim = soft_edge(depth + screen.bezel * face.width_px)
    layer = Layer(light, rim, lambda seen, grid: gridded(seen, grid, face, screen), shadow=0.2)
    return hold(layer, screen.outline, face, screen.fingers, rng) if screen.fingers else layer


def emitted(photo: Image, face: FacePlace, screen: Screen) -> Light:
    """Return the light of the lit part: the display's gamma, contrast, white point, leak and fading to one side."""
    light = np.clip(to_light(photo), 1e-4, 1)
    light = cv2.GaussianBlur(light, (0, 0), max(0.2, screen.softness * face.width_px))
    light = np.clip(0.2 * (light / 0.2) ** np.float32(screen.gamma * screen.contrast), 0, 1)
    x, _ = face_axes(light.shape[:2], face, screen.fade_deg)
    fade = np.clip(1 - screen.fade * x / face.width_px, 0.3, 1.5)[..., None]
    return (light * np.array(screen.white, np.float32) * fade + np.float32(screen.black)).astype(np.float32)


def reflections(shape: tuple[int, int], face: FacePlace, screen: Screen, rng: Rng) -> Light:
    """Return what the glass mirrors, (H, W, 3): a soft bright room, and perhaps a lamp."""
    x, y = face_axes(shape, face, rng.uniform(0, 360))
    from_edge = (x / face.width_px - rng.normal(0, 0.5)) * rng.uniform(1.5, 25)
    edge = (1 + np.tanh(from_edge / 2)) / 2
    glass = np.float32(screen.glare) * edge
    if screen.lamp > 0:
        place, size = rng.normal(0, 0.45, 2).tolist(), rng.uniform(0.04, 0.2)
        apart = (x / face.width_px - place[0]) ** 2 + (y / face.width_px - place[1]) ** 2
        glass = glass + np.float32(screen.lamp) * np.exp(-apart / np.float32(size**2))
    color = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    return glass.astype(np.float32)[..., None] * color


def gridded(light: Light, grid: SensorGrid, face: FacePlace, screen: Screen) -> Light:
    """Let the screen's pixels meet those of the sensor: what it cannot resolve comes back as moire.

    Red, green and blue stripes are a cosine a pixel wide, a third of it apart; the gaps between rows one in all colors.
    """
    cos, sin = math.cos(math.radians(screen.grid_deg)), math.sin(math.radians(screen.grid_deg))
    turn = 2 * math.pi * screen.pixels / face.width_px
    across = turn * (cos * grid.u + sin * grid.v)
    down = (turn / screen.pitch_ratio) * (cos * grid.v - sin * grid.u)
    stripes = np.stack([np.cos(across + 2 * math.pi * phase) for phase in screen.phases], axis=-1)
    strength = seen_contrast(screen, face, grid)
    factor = 1 + np.float32(strength) * stripes + np.float32(0.5 * strength) * np.cos(down)[..., None]
    if screen.banding > 0:
        factor = factor * (1 + screen.banding * np.sin(2 * math.pi * grid.y / screen.band_px))[..., None]
    return light * factor.astype(np.float32)


def seen_contrast(screen: Screen, face: FacePlace, grid: SensorGrid) -> float:
    """Return the contrast of the stripes that is left after each sensor pixel gathered light over its area."""
    step = math.hypot(float(grid.u[0, 1] - grid.u[0, 0]), float(grid.v[0, 1] - grid.v[0, 0]))
    gathered = screen.fill * step * screen.pixels / face.width_px  # screen pixels across a sensor pixel
    return min(0.6, 1.65 * screen.sharp * abs(float(np.sinc(gathered))))
