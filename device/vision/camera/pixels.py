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


# libcamera names the bits of a little-endian word: `BGR888` is R, G, B in memory. Bytes of a pixel, and their order.
PACKED = {"BGR888": (3, "RGB"), "RGB888": (3, "BGR"), "XBGR8888": (4, "RGB"), "XRGB8888": (4, "BGR")}
PLANAR = (
    "YUV420",
    "NV12",
)  # a plane of light, then color at half the resolution: two planes, or one of pairs
FORMATS = (*PACKED, *PLANAR)


def rgb_of_buffer(buffer: npt.NDArray[np.uint8], kind: str, size: tuple[int, int], stride: int) -> Image:
    """Return the (H, W, 3) uint8 RGB image of a camera's buffer.

    Args:
        buffer: its bytes, (N,); what lies behind the picture is left out.
        kind: one of FORMATS.
        size: width and height of the picture, px; both even for PLANAR.
        stride: bytes from one row to the next, of the plane of light for PLANAR; a row may end in padding.

    Raises:
        CameraError: another format, or a buffer that does not hold such a picture.
    """
    width, height = size
    if kind in PACKED:
        deep, order = PACKED[kind]
        rows = _rows(buffer, height, stride, deep * width)
        return to_rgb(rows.reshape(height, width, deep), order)
    if kind not in PLANAR or width % 2 or height % 2:
        raise CameraError(
            f"camera gives {width}x{height} {kind}, expected an even size and one of {', '.join(FORMATS)}: "
            "change its mode"
        )
    light = _rows(buffer, height, stride, width)
    rest = buffer[height * stride :]
    if kind == "NV12":
        color, code = _rows(rest, height // 2, stride, width), cv2.COLOR_YUV2RGB_NV12
    else:  # two planes of half the width, one after the other, so as many rows of half the stride
        color, code = _rows(rest, height, stride // 2, width // 2), cv2.COLOR_YUV2RGB_I420
    whole = np.concatenate([light.reshape(-1), color.reshape(-1)]).reshape(height * 3 // 2, width)
    return cv2.cvtColor(whole, code)  # type: ignore[return-value]


def _rows(buffer: npt.NDArray[np.uint8], count: int, stride: int, used: int) -> npt.NDArray[np.uint8]:
    """Return the first `used` bytes of each row; the last row may come without its padding."""
    needed = (count - 1) * stride + used
    if stride < used or len(buffer) < needed:
        raise CameraError(
            f"camera gives {len(buffer)} bytes, {stride} a row, expected {needed}, {used} a row: change its mode"
        )
    whole = buffer[: count * stride]
    if len(whole) < count * stride:
        whole = np.pad(whole, (0, count * stride - len(whole)))
    return np.ascontiguousarray(whole.reshape(count, stride)[:, :used])


def silence_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr: what matters is an error of our own, in one line."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; FFmpeg would print whole addresses
    with contextlib.suppress(AttributeError):  # builds without the logging module
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
