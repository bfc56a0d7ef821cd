"""Labeled photographs of two people, as LFW lays them out."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

from device.vision.assets import FACE_DETECTOR, FACE_MESH
from tests.support.photos import model_file, photo, rotated


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
