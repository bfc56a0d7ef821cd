"""What the page shows now: the newest picture and what is said of it, in memory only, one at a time.

The camera's loop hands pictures in and never waits; a browser takes the newest one, so a slow one sees fewer.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from device.types import Image

WIDTH_PX, JPEG_QUALITY = 480, 70
EVERY_S = 1 / 6  # between two pictures
BOX_COLORS = ((255, 255, 255), (0, 150, 80))  # a wide line under a narrow one: seen on any ground

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class View:
    """What is shown: its number, and what the browser is told."""

    number: int
    told: Mapping[str, Any]
    is_last: bool = False


class Mirror:
    """The slot between the camera's loop and the browser.

    Args:
        now: a clock that nobody sets, s.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._view = View(0, {})
        self._shown_s = -EVERY_S
        self._asked_s = now()
        self._last_was_taken = False

    @property
    def unasked_s(self) -> float:
        """How long no browser has asked for a view."""
        return self._now() - self._asked_s

    def is_due(self) -> bool:
        """Say whether it is time for another picture; the camera may be far quicker."""
        return self._now() - self._shown_s >= EVERY_S

    def show(self, image: Image, box: Box | None, **told: Any) -> None:
        """Show an (H, W, 3) uint8 RGB image and what is said of it, in place of what was."""
        self._put({"picture": as_data_address(drawn(image, box)), **told})

    def end(self, **told: Any) -> None:
        """Show the last view: whoever waits is told, and nothing follows."""
        self._put(told, is_last=True)

    def note_asked(self) -> None:
        """Count from now how long no browser has asked."""
        self._asked_s = self._now()

    def next_view(self, after: int, wait_s: float) -> View:
        """Return the newest view; wait for one with another number than `after`."""
        self.note_asked()
        with self._changed:
            self._changed.wait_for(lambda: self._view.number != after or self._view.is_last, wait_s)
            self.note_asked()
            return self._view

    def taken(self) -> None:
        """Note that a browser has the last view."""
        with self._changed:
            self._last_was_taken = True
            self._changed.notify_all()

    def wait_until_taken(self, wait_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._last_was_taken, wait_s)

    def _put(self, told: Mapping[str, Any], *, is_last: bool = False) -> None:
        with self._changed:
            if self._view.is_last:
                return
            self._view = View(self._view.number + 1, told, is_last)
            self._shown_s = self._now()
            self._changed.notify_all()


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
