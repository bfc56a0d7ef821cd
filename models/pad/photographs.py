"""Photographs that liveness looks are made of: people with their surroundings, LFW's development half, recordings.

Every source is parted by person or picture: what is held out is never learned from (`HELD_OUT_ONE_IN`), and LFW's other
half and the test people of the recordings are for the report alone.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.types import FaceDetection
from models.pad.looks import Box
from models.pad.people import DEVELOPMENT_PEOPLE, TEST_PEOPLE, TRAINING_PEOPLE
from models.pad.simulator.camera import Image
from models.pad.simulator.recapture import Photograph

Detect = Callable[[Image], list[FaceDetection]]  # the product's detector: device.vision.detect
LEARN, CHOOSE, REPORT = "learn", "choose", "report"
HELD_OUT_ONE_IN = 12
MARGIN = 0.3  # the recorded pictures end at the chin; the detector wants to see more
RECORDED = {"client": True, "imposter": False}
PEOPLE = {LEARN: TRAINING_PEOPLE, CHOOSE: DEVELOPMENT_PEOPLE, REPORT: TEST_PEOPLE}


@dataclass(frozen=True)
class Recording:
    """A recorded picture and its truth."""

    photo: Photograph
    live: bool
    person: int


def wide(folder: Path, part: str) -> list[Photograph]:
    """Read photographs of wide.zip to learn from or to choose on; none is for the report."""
    with (folder / "wide.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if is_of(row["name"], part)]
    with zipfile.ZipFile(folder / "wide.zip") as archive:
        return [
            Photograph(
                decode(archive.read(row["name"])),
                Box(*(float(row[f"face_{key}_px"]) for key in ("x", "y", "width", "height"))),
            )
            for row in rows
        ]


def is_of(name: str, part: str) -> bool:
    """Say whether something of this name is to be learned from or chosen on."""
    return part == (CHOOSE if zlib.crc32(name.encode()) % HELD_OUT_ONE_IN == 0 else LEARN)


def lfw(folder: Path, part: str, detect: Detect) -> list[Photograph]:
    """Read photographs of LFW's people of a part: all to learn from, one a person otherwise."""
    found, people = [], set()
    with zipfile.ZipFile(folder / "lfw.zip") as archive:
        for name in sorted(archive.namelist()):
            person = name.split("/")[0]
            if "." not in name or person in people or part_of(person) != part:
                continue
            if part != LEARN:
                people.add(person)
            photo = boxed(decode(archive.read(name)), detect)
            if photo is not None:
                found.append(photo)
    return found


def part_of(person: str) -> str:
    """Return the part of one of LFW's people: half of them, by the hash of the name, are for the report."""
    if zlib.crc32(person.encode()) & 1:
        return REPORT
    return CHOOSE if is_of(person, CHOOSE) else LEARN


def recordings(folder: Path, part: str, detect: Detect) -> list[Recording]:
    """Read the recordings of nuaa.zip of the people of a part."""
    found = []
    with zipfile.ZipFile(folder / "nuaa.zip") as archive:
        for name in sorted(archive.namelist()):
            kind, person, *_ = name.split("/")
            if not person.isdecimal() or int(person) not in PEOPLE[part]:
                continue
            photo = boxed(decode(archive.read(name)), detect, MARGIN)
            if photo is not None:
                found.append(Recording(photo, RECORDED[kind], int(person)))
    return found


def boxed(image: Image, detect: Detect, margin: float = 0.0) -> Photograph | None:
    """Return a picture with the box nearest its middle; `margin` of its sides is added for the detector only."""
    height, width = image.shape[:2]
    rim = int(margin * max(height, width))
    seen = cv2.copyMakeBorder(image, *[rim] * 4, cv2.BORDER_REPLICATE) if rim else image
    boxes = [face.box for face in detect(np.asarray(seen, np.uint8))]
    if not boxes:
        return None

    def off(box: tuple[float, float, float, float]) -> float:
        x, y = box[0] + box[2] / 2 - rim - width / 2, box[1] + box[3] / 2 - rim - height / 2
        return x * x + y * y

    x, y, w, h = min(boxes, key=off)
    return Photograph(image, Box(x - rim, y - rim, w, h))


def decode(data: bytes) -> Image:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
