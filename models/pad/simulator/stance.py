"""How a scene stands before the camera: turned in the picture, tilted out of it, near or far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.pad.simulator.camera import Floats, Rng
from models.pad.simulator.layers import FacePlace


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
