"""Pixels as cameras give them, and as the stages take them."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import CameraError
from device.types import Image


def to_rgb(image: npt.NDArray[Any], order: str = "BGR") -> Image:
    """Return an (H, W, 3) uint8 RGB image from gray, gray with one channel, BGR or BGRA (RGB, RGBA:
    `order`)."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise CameraError(
            f"camera gives {image.shape} {image.dtype}, expected (H, W, 3) uint8: change its mode"
        )
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]
    if channels not in (3, 4):
        raise CameraError(f"camera gives {channels} channels, expected 1, 3 or 4: change its mode")
    if order == "RGB":
        return np.ascontiguousarray(image[:, :, :3])
    code = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGB
    return cv2.cvtColor(image, code)  # type: ignore[return-value]


def silence_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr: what matters is an error of our own, in one line."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; FFmpeg would print whole addresses
    with contextlib.suppress(AttributeError):  # builds without the logging module
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
