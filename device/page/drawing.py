"""The picture that a page shows: small, mirrored as people expect, with the face's box; never a file."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from device.types import Image

WIDTH_PX, JPEG_QUALITY = 480, 70
BOX_COLORS = ((255, 255, 255), (0, 150, 80))  # a wide line under a narrow one: seen on any ground

Box = tuple[float, float, float, float]


def drawn(image: Image, box: Box | None) -> Image:
    """Return an (H, W, 3) uint8 RGB image `WIDTH_PX` wide at most, with the face's box, mirrored."""
    height, width = image.shape[:2]
    scale = min(1.0, WIDTH_PX / width)
    size = round(width * scale), round(height * scale)
    small: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image.copy()  # type: ignore[assignment]
    if box is not None and box[2] > 0:
        x, y, wide, high = (round(value * scale) for value in box)
        for thick_px, color in zip((5, 2), BOX_COLORS, strict=True):
            cv2.rectangle(small, (x, y), (x + wide, y + high), color, thick_px)
    return np.ascontiguousarray(small[:, ::-1])


def as_data_address(image: Image, kind: str = "jpeg") -> str:
    """Return an image as a `data:` address, which a page can show without a file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else []
    encoded = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
