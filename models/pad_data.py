"""Training views of the liveness network: live faces and attacks, both through the same camera.

Two kinds of material. Recorded: real live and real printed faces of a few people, apart by person. Simulated: natural
photographs, once as they are and once recaptured by `models.recapture`. The base photographs of both classes are drawn
from the same pool, so what a photograph shows says nothing about its class.
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.camera_chain import Camera, Image, Rng, Scene, capture, gentle, to_light
from models.data import HELD_OUT_ONE_IN, SIZE_PX, to_tensor
from models.recapture import SPECIES, Stance, live, recapture
from models.recapture_layer import FacePlace, Layer, Outline, hold, over

CROP_FACE = FacePlace((55.5, 62.0), 80.0)  # where the face stands in an aligned crop of 112 px
CANVAS_SCALE = 2  # of simulated scenes: sheets and screens have finer edges than the crop has pixels
STORE_SEED = 1014
AHEAD = 2  # batches in the making
LARGEST_RIM, SMALLEST_FACE_PX = 0.05, 60
RECORDED = "recorded print"  # the species of recorded attacks


@dataclass(frozen=True)
class Recorded:
    """Aligned real pictures: `images` (N, 112, 112, 3) uint8 RGB, `live` (N,) and `person` (N,).

    `inside` (N, 4) is left, top, right and bottom of what was recorded, in px of the crop; beyond is made up.
    """

    images: npt.NDArray[np.uint8]
    live: npt.NDArray[np.bool_]
    person: npt.NDArray[np.int64]
    inside: npt.NDArray[np.float32]

    def of(self, people: tuple[int, ...]) -> Recorded:
        """Return the pictures of some people."""
        rows = np.isin(self.person, people)
        return Recorded(self.images[rows], self.live[rows], self.person[rows], self.inside[rows])

    def draw(self, is_live: bool, rng: Rng) -> Image:
        """Draw a person, then one of their pictures: nobody counts more for having sat longer."""
        groups = self.groups[is_live]
        rows = groups[rng.integers(len(groups))]
        row = rows[rng.integers(len(rows))]
        return reframed(self.images[row], self.inside[row], rng)

    @cached_property
    def groups(self) -> dict[bool, list[npt.NDArray[np.int64]]]:
        """Return the rows of each person's pictures, live and not."""
        found: dict[bool, list[npt.NDArray[np.int64]]] = {True: [], False: []}
        for is_live, person in sorted(set(zip(self.live.tolist(), self.person.tolist(), strict=True))):
            found[is_live].append(np.flatnonzero((self.live == is_live) & (self.person == person)))
        return found


def reframed(crop: Image, inside: npt.NDArray[np.float32], rng: Rng) -> Image:
    """Return a crop whose recorded part ends at edges drawn anew, edge pixels beyond.

    Recorded pictures were cut near the face, printed ones 2 px nearer in the mean: that must tell nobody the class.
    """
    low, high = np.maximum(inside[:2], rng.uniform((4, 24), (22, 38))), rng.uniform((90, 103), (107, 130))
    left, top = np.ceil(low).astype(int)
    right, bottom = np.clip(np.floor(np.minimum(inside[2:], high)).astype(int) + 1, 1, SIZE_PX)
    part = crop[top:bottom, left:right]
    return np.asarray(
        cv2.copyMakeBorder(part, top, SIZE_PX - bottom, left, SIZE_PX - right, cv2.BORDER_REPLICATE), np.uint8
    )


def load_recorded(path: Path) -> Recorded:
    """Read a file of scripts/prepare_pad.py."""
    with np.load(path) as file:
        return Recorded(file["images"], file["live"], file["person"], file["inside"])


def load_faces(folder: Path, count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return up to `count` natural aligned faces (N, 112, 112, 3) of a data folder, and which are held out (N,).

    Crops with a black rim or enlarged from few pixels are left out: they would pass for cut edges and for defocus.
    """
    with (folder / "index.csv").open(newline="") as file:
        rows = list(enumerate(csv.DictReader(file)))
    good = [(number, row) for number, row in rows if is_natural(row)]
    chosen = np.random.default_rng(seed).permutation(len(good))[:count]
    archives = {name: zipfile.ZipFile(folder / "train" / name) for name in {row["zip"] for _, row in good}}
    images = np.empty((len(chosen), SIZE_PX, SIZE_PX, 3), np.uint8)
    keys = np.empty(len(chosen), np.int64)
    for place, pick in enumerate(chosen):
        number, row = good[pick]
        data = np.frombuffer(archives[row["zip"]].read(row["name"]), np.uint8)
        images[place] = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
        keys[place] = int(row["identity"]) if int(row["identity"]) >= 0 else number
    return images, keys % HELD_OUT_ONE_IN == 0


def is_natural(row: dict[str, str]) -> bool:
    """Say whether a row of index.csv is a whole face, not enlarged."""
    return (
        float(row.get("rim_black") or 0) <= LARGEST_RIM
        and float(row.get("face_width_px") or SMALLEST_FACE_PX) >= SMALLEST_FACE_PX
    )


@dataclass(frozen=True)
class Mix:
    """What a batch is made of; every `p_` is a probability."""

    stored: int = 14_000  # simulated views, each used again in another light
    p_recorded: float = 0.35
    p_recorded_base: float = 0.15  # a live recorded picture, where a simulation needs a photograph
    p_gentle: float = 0.4  # recorded pictures that pass no second lens and sensor
    p_gentle_simulated: float = 0.15  # the same for simulated ones, live or not
    p_gray: float = 0.04
    p_hand: float = 0.08  # live faces with somebody's fingers before them
    turn_deg: float = 2.0  # of the alignment, standard deviation
    scale: float = 0.04
    shift_px: float = 1.5


@dataclass(frozen=True)
class Views:
    """Batches of pictures (B, 3, 112, 112) and labels (B,), 1 for live; a number repeats its batch."""

    faces: npt.NDArray[np.uint8]
    recorded: Recorded
    mix: Mix = Mix()
    kept: dict[int, Image] = field(default_factory=dict)

    def stream(self, size: int, seed: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches without end from batch `start` on, made ahead."""
        with ThreadPoolExecutor(AHEAD) as pool:
            pending = [pool.submit(self.batch, size, seed, start + ahead) for ahead in range(AHEAD)]
            while True:
                ready, start = pending.pop(0).result(), start + 1
                pending.append(pool.submit(self.batch, size, seed, start + AHEAD - 1))
                yield ready

    def batch(self, size: int, seed: int, number: int) -> tuple[Tensor, Tensor]:
        """Make batch `number`, half of it live: a pure function of its arguments."""
        rng = np.random.default_rng((seed, number))
        labels = np.arange(size) % 2
        pictures = [self.one(bool(label), rng) for label in labels]
        return to_tensor(np.stack(pictures)), torch.from_numpy(labels.astype(np.float32))

    def one(self, is_live: bool, rng: Rng) -> Image:
        """Return one (112, 112, 3) uint8 RGB view."""
        if rng.random() < self.mix.p_recorded:
            view = self.replayed(self.recorded.draw(is_live, rng), rng)
        else:
            view = varied(self.stored(2 * int(rng.integers(self.mix.stored // 2)) + is_live), rng)
        if rng.random() < 0.5:
            view = view[:, ::-1]
        if rng.random() < self.mix.p_gray:
            gray = cv2.cvtColor(np.ascontiguousarray(view), cv2.COLOR_RGB2GRAY)
            view = np.repeat(gray[..., None], 3, axis=2)
        return np.ascontiguousarray(view)

    def stored(self, number: int) -> Image:
        """Return simulated view `number`, odd ones live; made once: the network learns faster than that."""
        if number not in self.kept:
            species = "live" if number % 2 else SPECIES[number // 2 % len(SPECIES)]
            self.kept[number] = self.simulated(species, np.random.default_rng((STORE_SEED, number)))
        return self.kept[number]

    def replayed(self, picture: Image, rng: Rng) -> Image:
        """Return a recorded picture in another light, often through another camera."""
        camera, stance = Camera.draw(rng), Stance.draw(rng)
        if rng.random() < self.mix.p_gentle:
            camera = gentle(camera)
            stance = Stance(CROP_FACE.width_px)
        return self.aligned(Scene(to_light(picture)), CROP_FACE, camera, stance, rng)

    def simulated(self, species: str, rng: Rng) -> Image:
        """Return a view of a photograph, "live" or recaptured as one of the species."""
        photo, around = enlarged(self.base(rng)), surroundings(self.base(rng), rng)
        face = CROP_FACE.scaled(CANVAS_SCALE)
        if species != "live":
            scene = recapture(photo, face, species, around, rng)
        else:
            scene = with_hand(photo, face, rng) if rng.random() < self.mix.p_hand else live(photo)
        camera = Camera.draw(rng)
        if rng.random() < self.mix.p_gentle_simulated:
            camera = gentle(camera)
        return self.aligned(scene, face, camera, Stance.draw(rng), rng)

    def base(self, rng: Rng) -> Image:
        """Draw a photograph: the same pool whatever is made of it."""
        if rng.random() < self.mix.p_recorded_base:
            return self.recorded.draw(True, rng)
        return self.faces[rng.integers(len(self.faces))]

    def aligned(self, scene: Scene, face: FacePlace, camera: Camera, stance: Stance, rng: Rng) -> Image:
        """Take the picture and cut the crop out of it, as loosely as landmarks do."""
        side = math.ceil(1.6 * stance.face_px) + 4
        shot = capture(scene, stance.to_sensor(face, (side, side)), (side, side), camera, rng)
        turn_deg = stance.turn_deg + rng.normal(0, self.mix.turn_deg)
        scale = CROP_FACE.width_px / stance.face_px * math.exp(rng.normal(0, self.mix.scale))
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), turn_deg, scale)
        matrix[:, 2] += np.array(CROP_FACE.center) - (side - 1) / 2 + rng.normal(0, self.mix.shift_px, 2)
        # Bilinear as at the door, where nothing is smoothed before a large face is shrunk
        return np.asarray(cv2.warpAffine(shot, matrix, (SIZE_PX, SIZE_PX), flags=cv2.INTER_LINEAR), np.uint8)


def varied(view: Image, rng: Rng) -> Image:
    """Return a view moved a little, in another light and color."""
    matrix = cv2.getRotationMatrix2D(
        ((SIZE_PX - 1) / 2, (SIZE_PX - 1) / 2), rng.normal(0, 2), math.exp(rng.normal(0, 0.04))
    )
    matrix[:, 2] += rng.normal(0, 1.5, 2)
    view = cv2.warpAffine(view, matrix, (SIZE_PX, SIZE_PX), borderMode=cv2.BORDER_REFLECT_101)
    levels = (np.arange(256)[:, None] / 255) ** rng.uniform(0.75, 1.3) * rng.uniform(0.75, 1.25)
    levels = 255 * levels * np.exp(rng.normal(0, 0.05, 3))
    return np.asarray(cv2.LUT(view, np.clip(levels, 0, 255).astype(np.uint8)[None]), np.uint8)


def enlarged(photo: Image) -> Image:
    """Return a photograph on the canvas of simulated scenes."""
    size = (photo.shape[1] * CANVAS_SCALE, photo.shape[0] * CANVAS_SCALE)
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def surroundings(other: Image, rng: Rng) -> Image:
    """Return what stands behind an attack: a turned and blurred piece of another photograph."""
    side = SIZE_PX * CANVAS_SCALE
    middle = (float(rng.uniform(20, 90)), float(rng.uniform(20, 90)))
    matrix = cv2.getRotationMatrix2D(middle, rng.uniform(0, 360), rng.uniform(1, 6))
    matrix[:, 2] += side / 2 - np.array(middle)
    piece = cv2.warpAffine(other, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.GaussianBlur(piece, (0, 0), rng.uniform(0.5, 4)), np.uint8)


def with_hand(photo: Image, face: FacePlace, rng: Rng) -> Scene:
    """Return a live face with fingers before its rim: a hand alone is no attack."""
    left, right, up, down = rng.uniform(0.5, 0.9, 4).tolist()
    light = to_light(photo)
    layer = Layer(light, np.ones((*photo.shape[:2], 1), np.float32))
    return over(hold(layer, Outline(left, right, up, down), face, int(rng.integers(1, 4)), rng), light)
