"""A camera that hangs on its side or upside down, or whose driver hands out mirrored pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np

from device.protocols import Camera
from device.types import Frame, Image
from device.vision.camera.meter import Metered

ROTATIONS_DEG = (0, 90, 180, 270)


class TurnedCamera:
    """Turn each picture of a camera by `rotation_deg` clockwise, then mirror it left to right if `mirror`."""

    def __init__(self, camera: Camera, *, rotation_deg: int, mirror: bool) -> None:
        self._camera, self._rotation_deg, self._mirror = camera, rotation_deg, mirror

    @property
    def name(self) -> str:
        return self._camera.name

    @property
    def live(self) -> bool:
        return self._camera.live

    def frames(self) -> Iterator[Frame]:
        """Yield the camera's frames, turned; it ends and fails as they do."""
        with closing(self._camera.frames()) as frames:  # type: ignore[type-var]
            for frame in frames:
                yield replace(frame, image=turn(frame.image, self._rotation_deg, self._mirror))

    def close(self) -> None:
        self._camera.close()

    def expose(self, stops: float) -> None:
        """Hand the wish on, where the camera takes one."""
        if isinstance(self._camera, Metered):
            self._camera.expose(stops)


def turn(image: Image, rotation_deg: int, mirror: bool = False) -> Image:
    """Return a picture turned clockwise by a multiple of 90 degrees, then mirrored left to right if `mirror`."""
    turned = np.rot90(image, -rotation_deg // 90)
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)
