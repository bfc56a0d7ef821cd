"""Frames to choose a liveness network on, and to measure it on: LFW's people live, and as attacks.

A photograph is shown as it is, through the simulated camera, and as an attack of every species before another person's
photograph. LFW's people are parted in two by their names: networks are chosen on one half and measured on the other;
nothing is ever learned from either.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from device.build import quality_limits
from device.config import Config
from device.types import AlignedFace, Image
from device.vision.align import MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.vision.detect import LiteRTDetector
from device.vision.liveness import face_place
from device.vision.quality import assess
from models.pad.simulator.camera import Camera, Rng, Scene, capture, to_light
from models.pad.simulator.layers import Outline
from models.pad.simulator.rooms import CANVAS, MIDDLE, UNIT_PX
from models.pad.simulator.scene import FACE, LARGEST_REACH, SPECIES, attack
from models.pad.simulator.stance import Stance
from scripts.evaluate import nearest_center

DEVELOPMENT, TEST = "development", "test"
SEEDS = {DEVELOPMENT: 711, TEST: 30107}
AS_IT_IS, THROUGH_CAMERA = "live, photograph", "live, simulated camera"
NO_EDGE = "no edge in view"  # a print or a screen larger than the wide look
BEYOND_WIDTHS = 2.0  # from the face to the edge of such a sheet or screen
FRAME_WIDTHS = 3.0  # side of a simulated frame, in face widths
BLACK = 12  # at most, of the wedges that LFW's alignment left at the rim
NEAR_PLACE = 0.35  # face widths between where a face was put and where it was found


class Eyes:
    """The product's detector, aligner and quality check."""

    def __init__(self) -> None:
        self.detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=0.5, threads=1)
        self.aligner = MeshAligner(model=find_asset(FACE_MESH), threads=1)
        self.limits = quality_limits(Config().quality)

    def accepted(self, frame: Image, place: npt.NDArray[np.floating]) -> AlignedFace | None:
        """Return the face at `place` px; None where there is none, or quality refuses it.

        A face found elsewhere is not the one that is shown: it stands behind the attack.
        """
        detections = self.detector.detect(frame)
        if not detections:
            return None
        detection = nearest_center(detections, frame)
        face = self.aligner.align(frame, detection)
        if assess(face, detection, self.limits).stop is not None:
            return None
        center, width_px = face_place(face.landmarks)
        return face if np.linalg.norm(center - place) < NEAR_PLACE * width_px else None


@dataclass(frozen=True)
class Photograph:
    """A photograph, and where its face is: center (2,) and width in px."""

    image: Image
    center: npt.NDArray[np.floating]
    width_px: float

    def on_canvas(self, unit_px: float, place: tuple[float, float], border: int) -> Image:
        """Return a canvas with the face at `place`, `unit_px` wide."""
        scale = unit_px / self.width_px
        matrix = np.array(
            [[scale, 0, place[0] - scale * self.center[0]], [0, scale, place[1] - scale * self.center[1]]]
        )
        flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return np.asarray(
            cv2.warpAffine(self.image, matrix, CANVAS, flags=flags, borderMode=border), np.uint8
        )

    @property
    def ends(self) -> npt.NDArray[np.float64]:
        """Return how far the photograph reaches left, right, up and down of the face, in face widths."""
        height, width = self.image.shape[:2]
        x, y = self.center
        return np.array([x, width - 1 - x, y, height - 1 - y]) / self.width_px - 0.02


def frames(
    archive: Path, half: str, people: int, eyes: Eyes
) -> Iterator[tuple[str, Image, npt.NDArray[np.floating]]]:
    """Yield group, frame and where the face was put, for `people` of a half of LFW, a photograph each."""
    before: Photograph | None = None
    shown = list(photographs(archive, half, people, eyes))
    for number, photograph in enumerate(tqdm(shown, unit="person", mininterval=10)):
        behind, before = before, photograph
        if behind is None:
            continue
        yield AS_IT_IS, photograph.image, photograph.center
        for kind, group in enumerate((THROUGH_CAMERA, *SPECIES, NO_EDGE)):
            rng = np.random.default_rng((SEEDS[half], number, kind))
            yield group, *shot_of(scene_of(group, photograph, behind, rng), rng)


def photographs(archive: Path, half: str, people: int, eyes: Eyes) -> Iterator[Photograph]:
    """Yield the first photograph of people of a half, drawn at random, in which a face is found."""
    with zipfile.ZipFile(archive) as file:
        first = {name.split("/")[0]: name for name in sorted(file.namelist(), reverse=True) if "." in name}
        names = sorted(name for person, name in first.items() if half_of(person) == half)
        for name in np.random.default_rng(SEEDS[half]).permutation(names)[:people]:
            pixels = cv2.imdecode(np.frombuffer(file.read(str(name)), np.uint8), cv2.IMREAD_COLOR)
            image = without_wedges(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8))
            detections = eyes.detector.detect(image)
            if detections:
                face = eyes.aligner.align(image, nearest_center(detections, image))
                yield Photograph(image, *face_place(face.landmarks))


def half_of(person: str) -> str:
    return TEST if zlib.crc32(person.encode()) % 2 else DEVELOPMENT


def without_wedges(image: Image) -> Image:
    """Paint over the black wedges that LFW's alignment left at the rim, which no camera makes."""
    _, labels = cv2.connectedComponents((image.max(axis=2) < BLACK).astype(np.uint8))
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    wedges = np.isin(labels, rim[rim > 0]).astype(np.uint8)
    if not wedges.any():
        return image
    return np.asarray(
        cv2.inpaint(image, cv2.dilate(wedges, np.ones((5, 5), np.uint8)), 3, cv2.INPAINT_TELEA), np.uint8
    )


def scene_of(group: str, photograph: Photograph, behind: Photograph, rng: Rng) -> Scene:
    """Return the scene of a person, live or as an attack before another person."""
    large = photograph.on_canvas(UNIT_PX, (MIDDLE, MIDDLE), cv2.BORDER_REPLICATE)
    if group == THROUGH_CAMERA:
        return Scene(to_light(large))
    x, y = (MIDDLE + UNIT_PX * rng.normal((0, -0.1), 0.5)).tolist()
    other = behind.on_canvas(UNIT_PX * rng.uniform(0.7, 1.5), (x, y), cv2.BORDER_REFLECT_101)
    if group == NO_EDGE:
        whole = np.full(4, BEYOND_WIDTHS)
        return attack(
            str(rng.choice(["print", "tablet"])), large, whole, other, rng, Outline(*whole.tolist())
        ).scene
    ends = np.minimum(np.clip(LARGEST_REACH * np.exp(rng.normal(0.1, 0.2, 4)), 0.55, 2.0), photograph.ends)
    return attack(group, large, ends, other, rng).scene


def shot_of(scene: Scene, rng: Rng) -> tuple[Image, npt.NDArray[np.float64]]:
    """Take the picture; return it and where the face was put, its middle."""
    face_px = math.exp(rng.uniform(math.log(60), math.log(150)))
    tilt = rng.normal(0, 0.03, 2).tolist()
    stance, side = Stance(face_px, float(rng.normal(0, 5)), (tilt[0], tilt[1])), int(FRAME_WIDTHS * face_px)
    shot = capture(scene, stance.to_sensor(FACE, (side, side)), (side, side), Camera.draw(rng), rng)
    return shot, np.full(2, (side - 1) / 2)
