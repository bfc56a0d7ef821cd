"""Where MediaPipe's two model files live; scripts/fetch_models.py puts them there.

They are not in the repository: they come out of a pinned mediapipe wheel, whose newer releases carry no
models.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from device.errors import ModelError
from device.paths import expand

CACHE_VARIABLE = "FACE_UNLOCK_CACHE"
SYSTEM_CACHE = Path("/var/cache/face-unlock")
MEDIAPIPE_VERSION = "0.10.18"  # the last release with models inside; only unzipped, never installed


@dataclass(frozen=True, slots=True)
class Asset:
    """A model file: its name in the cache, its place in the wheel, and what it must be."""

    name: str
    member: str
    sha256: str
    size_bytes: int


FACE_DETECTOR = Asset(
    name="face_detection_short_range.tflite",
    member="mediapipe/modules/face_detection/face_detection_short_range.tflite",
    sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    size_bytes=229_714,
)
FACE_MESH = Asset(
    name="face_landmark.tflite",
    member="mediapipe/modules/face_landmark/face_landmark.tflite",
    sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    size_bytes=1_242_398,
)
ASSETS = (FACE_DETECTOR, FACE_MESH)


def cache_dir(system: Path = SYSTEM_CACHE) -> Path:
    """Return the folder of the model files; it need not exist yet.

    FACE_UNLOCK_CACHE if set, else the service's folder when it holds the files, else the user's XDG cache.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return expand(named)
    if all((system / asset.name).is_file() for asset in ASSETS):
        return system
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand(home) / "face-unlock"


def find_asset(asset: Asset) -> Path:
    """Return the path of a model file in the cache.

    Raises ModelError when it is missing or of the wrong size: the digest was checked when it was fetched, a
    copy by hand may have been cut short since.
    """
    path = cache_dir() / asset.name
    try:
        size_bytes = path.stat().st_size
    except OSError as fault:
        raise ModelError(
            f"{path}: expected MediaPipe's {asset.name}, received {fault.strerror or fault}: "
            "run scripts/fetch_models.py"
        ) from fault
    if size_bytes != asset.size_bytes:
        raise ModelError(
            f"{path}: expected {asset.size_bytes} bytes, received {size_bytes}: "
            "run scripts/fetch_models.py --force"
        )
    return path


def digest(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
