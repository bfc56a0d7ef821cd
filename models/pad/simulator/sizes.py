"""Sheets and screens of real sizes: a face of life size fills a sheet of A4."""

from __future__ import annotations

import math

import numpy as np

from models.pad.simulator.camera import Rng
from models.pad.simulator.layers import Outline

SPECIES = ("print", "cutout", "phone", "tablet")
SHEETS_CM = ((21, 29.7), (14.8, 21), (10, 15), (13, 18), (20, 25))  # A4, A5, and photographs
LARGEST_FACE_CM = 17.0


def outline_of(species: str, rng: Rng) -> Outline:
    """Draw a sheet or a screen of a real size with a face of a real size on it; distances in face widths."""
    if species == "phone":
        size, face_cm, upright = rng.uniform((6.2, 12.5), (7.6, 16.5)), rng.uniform(4.3, 7.3), 0.75
    elif species == "tablet":
        size, face_cm, upright = rng.uniform((14.5, 20), (20, 28)), rng.uniform(7, 15), 0.5
    else:
        size = np.array(SHEETS_CM[int(rng.integers(len(SHEETS_CM)))])
        face_cm, upright = rng.uniform(6, LARGEST_FACE_CM), 0.65
    if rng.random() > upright:
        size = size[::-1]
    face_cm = min(face_cm, 0.85 * size[0], 0.85 * size[1] if species == "print" else math.inf)
    width, height = size / face_cm
    x = rng.normal(0, 0.12) * max(width - 1, 0.1)
    y = rng.normal(0.08, 0.12) * max(height - 1.2, 0.1)
    half, tall = width / 2, height / 2
    return Outline(
        max(half + x, 0.5),
        max(half - x, 0.5),
        max(tall - y, 0.6),
        max(tall + y, 0.55),
        float(rng.normal(0, 4)),
    )
