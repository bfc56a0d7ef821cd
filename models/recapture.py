"""Presentation attacks as physics: a photograph printed, cut out, or shown on a phone or tablet, and held to a camera.

An attack is a flat `Layer` before a background, made by `print_attack` or `screen_attack`; `camera_chain` takes its
picture. All is seeded: the same generator gives the same attack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.camera_chain import Floats, Image, Rng, Scene, to_light
from models.print_attack import Print, print_sheet
from models.recapture_layer import FacePlace, over
from models.screen_attack import Screen, show_on_screen

SPECIES = ("print", "cutout", "phone", "tablet")


def recapture(photo: Image, face: FacePlace, species: str, around: Image, rng: Rng) -> Scene:
    """Return the scene of an attack: `photo` (H, W, 3) presented as `species` before the picture `around`.

    Args:
        face: where the face stands in the photograph; all sizes follow from its width.
        around: (H, W, 3) uint8, what the camera sees beside the attack.
    """
    if species in ("print", "cutout"):
        parameters = Print.draw(rng, cutout=species == "cutout")
        return over(print_sheet(photo, face, parameters, rng), to_light(around))
    if species in ("phone", "tablet"):
        screen = Screen.draw(rng, small=species == "phone")
        return over(show_on_screen(photo, face, screen, rng), to_light(around))
    raise ValueError(f"species is one of {', '.join(SPECIES)}, received {species!r}")


def live(photo: Image) -> Scene:
    """Return the scene of the person of a photograph."""
    return Scene(to_light(photo))


@dataclass(frozen=True)
class Stance:
    """How the scene stands before the camera: turned in the picture, tilted out of it, near or far."""

    face_px: float  # width of the face on the sensor
    turn_deg: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)  # how much nearer one side is, share over one face width

    @classmethod
    def draw(cls, rng: Rng) -> Stance:
        """Draw a stance; up to what fills a quarter of a 640 px frame."""
        return cls(
            face_px=math.exp(rng.uniform(math.log(60), math.log(150))),
            turn_deg=float(rng.normal(0, 5)),
            tilt=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03))),
        )

    def to_sensor(self, face: FacePlace, size: tuple[int, int]) -> Floats:
        """Return the (3, 3) homography that brings the face's center to the middle of a sensor of `size` (w, h)."""
        scale = self.face_px / face.width_px
        cos, sin = math.cos(math.radians(self.turn_deg)), math.sin(math.radians(self.turn_deg))
        center = np.array([[1, 0, -face.center[0]], [0, 1, -face.center[1]], [0, 0, 1.0]])
        tilt = np.eye(3)
        tilt[2, :2] = np.array(self.tilt) / face.width_px
        turn = np.array([[scale * cos, -scale * sin, 0], [scale * sin, scale * cos, 0], [0, 0, 1.0]])
        middle = np.array([[1, 0, (size[0] - 1) / 2], [0, 1, (size[1] - 1) / 2], [0, 0, 1.0]])
        return middle @ turn @ tilt @ center
