"""The adapter for a camera source, picked by what is written in `camera.source`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from device.address import is_address
from device.paths import expand
from device.vision.camera.clip import ClipCamera
from device.vision.camera.live import LiveCamera
from device.vision.camera.opencv import OpenCVCamera
from device.vision.camera.picamera2 import Picamera2Camera


def open_camera(
    source: int | str,
    *,
    width: int,
    height: int,
    stall_timeout_s: float,
    controls: dict[str, Any],
    paced: bool,
) -> LiveCamera | ClipCamera:
    """Pick the adapter for a source: `auto`, `picamera2`, `picamera2:1`, an index, a device, a file or an
    address.

    Live cameras open their device at the first frame, not here. `controls` are for picamera2, `paced` for
    files.
    """
    text = str(source)
    if text == "auto":
        text = "picamera2" if importlib.util.find_spec("picamera2") else "0"
    if match := re.fullmatch(r"picamera2(?::(\d+))?", text):
        return Picamera2Camera(
            index=int(match[1] or 0),
            width=width,
            height=height,
            stall_timeout_s=stall_timeout_s,
            controls=controls,
        )
    is_device = text.startswith("/dev/") and not Path(text).is_file()  # /dev/shm may hold clips
    if text.isdecimal() or is_device or is_address(text):
        device = int(text) if text.isdecimal() else text
        return OpenCVCamera(source=device, width=width, height=height, stall_timeout_s=stall_timeout_s)
    return ClipCamera(path=expand(text), paced=paced)
