"""Buffers as cameras fill them, made from a picture: packed or in planes, with padding at the end of each row."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from device.types import Image
from device.vision.camera.pixels import PACKED

Bytes = npt.NDArray[np.uint8]
JUNK = 77  # what stands in the padding


def padded(rows: Bytes, stride: int) -> Bytes:
    """Return rows of bytes, each filled up to the stride, as one row."""
    return np.pad(rows, ((0, 0), (0, stride - rows.shape[1])), constant_values=JUNK).reshape(-1)


def buffer_of(image: Image, kind: str, padding: int) -> tuple[Bytes, int]:
    """Return the bytes of an (H, W, 3) RGB picture in a format of libcamera, and their stride."""
    height, width = image.shape[:2]
    if kind in PACKED:
        deep, order = PACKED[kind]
        pixels = image if order == "RGB" else image[..., ::-1]
        if deep == 4:
            pixels = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
        rows = np.ascontiguousarray(pixels).reshape(height, deep * width)
        return padded(rows, deep * width + padding), deep * width + padding
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    light, rest = planes[: width * height].reshape(height, width), planes[width * height :]
    u, v = rest.reshape(2, height // 2, width // 2)
    stride = width + padding
    if kind == "NV12":
        color = padded(np.dstack([u, v]).reshape(height // 2, width), stride)
    else:
        color = np.concatenate([padded(u, stride // 2), padded(v, stride // 2)])
    return np.concatenate([padded(light, stride), color]), stride
