"""Photographs and model files for tests; what is missing skips a test and says how to get it.

Both photographs are portraits in the public domain: Grace Hopper (James S. Davis, US Navy, 1984) comes with
matplotlib, Eileen Collins (NASA, 1993) lies in tests/data.
"""

from __future__ import annotations

import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import ModelError
from device.types import Image
from device.vision.assets import FACE_DETECTOR, FACE_MESH, Asset, find_asset

DATA = Path(__file__).parents[1] / "data"


def photo_path(name: str) -> Path:
    """Return the file of "hopper" or "astronaut", found without importing matplotlib."""
    if name == "astronaut":
        return DATA / "astronaut.jpg"
    found = find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs matplotlib for a photograph: pip install -r requirements/test.txt")
    return Path(found.submodule_search_locations[0]) / "mpl-data/sample_data/grace_hopper.jpg"


@cache
def _load(path: Path) -> Image:
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    image.flags.writeable = False
    return image


def photo(name: str) -> Image:
    """Return a photograph, (H, W, 3) uint8 RGB: "hopper" is 600 x 512, "astronaut" 512 x 512."""
    return _load(photo_path(name))


def model_file(asset: Asset) -> Path:
    """Return a model file of the cache, or skip."""
    try:
        return find_asset(asset)
    except ModelError as fault:
        pytest.skip(str(fault))


def rotated(image: Image, clockwise_deg: float) -> Image:
    """Return the image turned about its center, same size."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -clockwise_deg, 1)
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)


def on_canvas(image: Image, width: int, height: int, left: int, top: int, scale: float) -> Image:
    """Return a gray (height, width, 3) image with a scaled copy of `image` at a place; what hangs over is cut."""
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 96, np.uint8)
    part = small[max(0, -top) : height - top, max(0, -left) : width - left]
    y, x = max(0, top), max(0, left)
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    return canvas


def write_labeled_faces(folder: Path) -> Path:
    """Write two subjects of six views each as lfw.zip, with two folds of four pairs."""
    model_file(FACE_DETECTOR), model_file(FACE_MESH)
    with zipfile.ZipFile(folder / "lfw.zip", "w") as archive:
        for name in ("astronaut", "hopper"):
            for i in range(6):
                view = cv2.resize(
                    rotated(photo(name), 4 * i - 10), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA
                )
                data = cv2.imencode(".png", view[..., ::-1])[1].tobytes()
                archive.writestr(f"{name}/{name}_{i + 1:04d}.png", data)
        empty = cv2.imencode(".png", np.full((200, 200, 3), 90, np.uint8))[1].tobytes()
        archive.writestr("nobody/nobody_0001.png", empty)
    lines = ["2\t3"]
    for fold in (0, 1):
        lines += [f"{name}\t{1 + fold}\t{5 + fold}" for name in ("astronaut", "hopper", "astronaut")]
        lines += [f"astronaut\t{2 + fold}\thopper\t{3 + fold}", f"hopper\t{4}\tastronaut\t{1 + fold}"]
        lines += [f"astronaut\t{3}\tnobody\t1"]
    (folder / "lfw_pairs.txt").write_text("\n".join(lines) + "\n")
    return folder
