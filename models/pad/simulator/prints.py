"""A photograph on paper: ink and its gamut, dot gain, halftone, paper, bent sheet with shading, edges, hands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from models.pad.simulator.camera import Image, Light, Rng, SensorGrid, to_light
from models.pad.simulator.layers import FacePlace, Layer, Outline, face_axes, hold, soft_edge

HALFTONE_DEG = (15.0, 75.0, 0.0)  # screens of cyan, magenta and yellow, which take away red, green and blue


@dataclass(frozen=True)
class Print:
    """One print; lengths in face widths, reflectances linear."""

    outline: Outline
    cutout: bool = False
    margin: float = 0.0  # white rim
    paper: tuple[float, float, float] = (0.85, 0.85, 0.83)
    ink: float = 0.06  # reflectance of the darkest ink
    saturation: float = 0.85
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    dot_gain: float = 0.15
    softness: float = 0.004
    cells: float = 300.0  # halftone cells in a face width
    halftone: float = 0.1  # contrast of the cells as the sensor sees them
    grain: float = 0.015  # of the paper
    banding: float = 0.0  # of the print head
    bend: float = 0.1  # how far a bent sheet leaves its plane
    bend_deg: float = 90.0  # direction across which it is bent
    shading: float = 0.2
    gloss: float = 0.0
    fingers: int = 0
    shadow: float = 0.3

    @classmethod
    def draw(cls, rng: Rng, *, cutout: bool) -> Print:
        """Draw a print, from a photo laboratory's to an office printer's that is short of ink."""
        left, right, down = rng.uniform(0.52, 1.7, 3).tolist()
        whole = Outline(left, right, float(rng.uniform(0.75, 2.0)), down, float(rng.normal(0, 4)))
        white = rng.uniform(0.6, 0.95)
        return cls(
            outline=head_outline(rng) if cutout else whole,
            cutout=cutout,
            margin=float(rng.uniform(0, 0.14)) if rng.random() < 0.6 else 0.0,
            paper=tuple(float(white * value) for value in rng.uniform((0.94, 0.95, 0.86), 1.0)),
            ink=float(rng.uniform(0.006, 0.07)),
            saturation=float(rng.uniform(0.6, 1.15)),
            tint=tuple(float(value) for value in np.exp(rng.normal(0, 0.07, 3))),
            dot_gain=float(rng.uniform(-0.05, 0.35)),
            softness=float(rng.uniform(0.002, 0.018)),
            cells=math.exp(rng.uniform(math.log(90), math.log(700))),
            halftone=float(rng.uniform(0.02, 0.35)) if rng.random() < 0.6 else 0.0,
            grain=math.exp(rng.uniform(math.log(0.004), math.log(0.05))),
            banding=float(rng.uniform(0.005, 0.04)) if rng.random() < 0.3 else 0.0,
            bend=float(rng.normal(0, 0.12)),
            bend_deg=float(rng.choice([0, 90]) + rng.normal(0, 15)),
            shading=float(rng.normal(0, 0.25)),
            gloss=float(rng.uniform(0.05, 0.6)) if rng.random() < 0.2 else 0.0,
            fingers=int(rng.integers(1, 5)) if rng.random() < 0.45 else 0,
            shadow=float(rng.uniform(0, 0.6)),
        )


def head_outline(rng: Rng) -> Outline:
    """Draw the outline along which scissors follow a head."""
    left, right = rng.uniform(0.5, 0.72, 2).tolist()
    return Outline(left, right, float(rng.uniform(0.7, 0.95)), float(rng.uniform(0.62, 0.95)), 0.0, 0.58)


def print_sheet(photo: Image, face: FacePlace, parameters: Print, rng: Rng) -> Layer:
    """Return the printed photograph as a layer of the photograph's size."""
    shape = photo.shape[:2]
    depth = _jagged(parameters, shape, face, rng)
    light = inked(photo, face, parameters)
    light = light * paper_grain(shape, face, parameters, rng)
    if parameters.margin > 0:
        white = soft_edge(parameters.margin * face.width_px - depth)
        light = light + white * (np.array(parameters.paper, np.float32) - light)
    light = bent(light, face, parameters)
    if parameters.gloss > 0:
        light = light + gloss(shape, face, parameters, rng)
    layer = Layer(light, soft_edge(depth), lambda seen, grid: halftoned(seen, grid, face, parameters))
    layer = Layer(layer.light, layer.cover, layer.structure, parameters.shadow)
    return hold(layer, parameters.outline, face, parameters.fingers, rng) if parameters.fingers else layer


def inked(photo: Image, face: FacePlace, parameters: Print) -> Light:
    """Return the reflectance of the print: softened, darkened by dot gain, within ink and paper's gamut."""
    light = to_light(photo)
    light = cv2.GaussianBlur(light, (0, 0), max(0.2, parameters.softness * face.width_px))
    coverage = np.clip(light, 1e-4, 1) ** np.float32(1 + parameters.dot_gain)
    gray = coverage.mean(axis=2, keepdims=True)
    coverage = gray + np.float32(parameters.saturation) * (coverage - gray)
    paper, ink = np.array(parameters.paper, np.float32), np.float32(parameters.ink)
    tint = np.array(parameters.tint, np.float32)
    return ink + np.clip(coverage * tint, 0, 1) * (paper - ink)


def paper_grain(shape: tuple[int, int], face: FacePlace, parameters: Print, rng: Rng) -> Light:
    """Return the paper's fibers and the print head's bands as a factor (H, W, 1) about 1."""
    fine = rng.standard_normal(shape, np.float32)
    half = rng.standard_normal(((shape[0] + 3) // 4, (shape[1] + 3) // 4), np.float32)
    coarse = cv2.resize(half, shape[::-1], interpolation=cv2.INTER_LINEAR)
    rows = np.arange(shape[0], dtype=np.float32)[:, None] / np.float32(face.width_px)
    bands = np.sin(2 * math.pi * rng.uniform(12, 45) * rows + np.float32(rng.uniform(0, 6)))
    return (1 + parameters.grain * (0.7 * fine + coarse) + parameters.banding * bands)[..., None]


def bent(light: Light, face: FacePlace, parameters: Print) -> Light:
    """Bend the sheet about an axis: what leaves the plane is foreshortened, and catches light by its slope."""
    x, y = face_axes(light.shape[:2], face)
    angle = math.radians(parameters.bend_deg)
    across = (x * math.cos(angle) + y * math.sin(angle)) / face.width_px
    slope = 2 * parameters.bend * across
    shift = (parameters.bend * across**2 * np.sign(across) * face.width_px * 0.5).astype(np.float32)
    map_x = x + face.center[0] + shift * np.float32(math.cos(angle))
    map_y = y + face.center[1] + shift * np.float32(math.sin(angle))
    moved = cv2.remap(
        light,
        map_x.astype(np.float32),
        map_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    shade = 1 + parameters.shading * across + 1.2 * slope
    return moved * np.clip(shade, 0.25, 2.0).astype(np.float32)[..., None]


def gloss(shape: tuple[int, int], face: FacePlace, parameters: Print, rng: Rng) -> Light:
    """Return the mirror image of a lamp in the coating: a streak along the bend, (H, W, 1)."""
    angle = parameters.bend_deg + rng.normal(0, 20)
    x, y = face_axes(shape, face, angle)
    place, width = rng.normal(0, 0.5), rng.uniform(0.05, 0.3)
    length = rng.uniform(0.3, 1.5)
    streak = ((x / face.width_px - place) / width) ** 2 + ((y / face.width_px) / length) ** 2
    return (np.float32(parameters.gloss) * np.exp(-streak / 2)).astype(np.float32)[..., None]


def halftoned(light: Light, grid: SensorGrid, face: FacePlace, parameters: Print) -> Light:
    """Let the dots of three screens be seen, most where half the paper is covered."""
    if parameters.halftone <= 0:
        return light
    turn = 2 * math.pi * parameters.cells / face.width_px
    dots = np.empty_like(light)
    for channel, angle_deg in enumerate(HALFTONE_DEG):
        cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        a, b = turn * (cos * grid.u + sin * grid.v), turn * (cos * grid.v - sin * grid.u)
        dots[..., channel] = np.cos(a) + np.cos(b)
    half = 4 * np.clip(light, 0, 1) * (1 - np.clip(light, 0, 1))
    return light * (1 + np.float32(parameters.halftone / 2) * half * dots)


def _jagged(parameters: Print, shape: tuple[int, int], face: FacePlace, rng: Rng) -> Light:
    """Return the depth inside the outline; scissors leave a cutout's edge uneven."""
    depth = parameters.outline.depth(shape, face)
    if not parameters.cutout:
        return depth
    x, y = face_axes(shape, face)
    angle = np.arctan2(y, x)
    waves = sum(
        np.float32(rng.normal(0, 0.025 / k)) * np.cos(k * angle + np.float32(rng.uniform(0, 6)))
        for k in (3, 5, 9, 14)
    )
    return depth + face.width_px * waves
