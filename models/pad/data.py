"""Training views of the liveness network, for its near look and for its wide look.

Near: recorded pictures, real live and real printed faces of a few people, kept apart by person; and photographs, all
live. Wide: scenes of `models.pad.simulator.scene` from disk, and the same recorded pictures.
"""

from __future__ import annotations

import csv
import math
import zipfile
from abc import ABC, abstractmethod
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

from device.numeric.geometry import FACE_CENTER, FACE_WIDTH_PX, WIDE_LOOK
from models.pad.material import Looks
from models.pad.simulator.camera import Camera, Image, Rng, Scene, capture, gentle, to_light
from models.pad.simulator.layers import FacePlace
from models.pad.simulator.scene import MAP_PX, with_hand
from models.pad.simulator.stance import Stance
from models.training.data import HELD_OUT_ONE_IN, SIZE_PX, to_tensor

CROP_FACE = FacePlace(FACE_CENTER, FACE_WIDTH_PX)  # where the face stands in an aligned crop of 112 px
CANVAS_SCALE = 2  # of simulated scenes: fingers have finer edges than the crop has pixels
STORE_SEED = 1014
AHEAD = 2  # batches in the making
LARGEST_RIM, SMALLEST_FACE_PX = 0.05, 60
RECORDED_PRINT = "recorded print"  # the species of recorded attacks
WIDE_FACE_PX = SIZE_PX / WIDE_LOOK  # of the face in a wide look
WHOLE = np.float32([0, 0, SIZE_PX - 1, SIZE_PX - 1])


@dataclass(frozen=True)
class Recorded:
    """Real pictures: `near`, `wide` (N, 112, 112, 3) uint8 RGB, `live` (N,) and `person` (N,).

    `inside` (N, 4) is left, top, right and bottom of what was recorded, in px of the near look; beyond is made up.
    """

    near: npt.NDArray[np.uint8]
    wide: npt.NDArray[np.uint8]
    live: npt.NDArray[np.bool_]
    person: npt.NDArray[np.int64]
    inside: npt.NDArray[np.float32]

    def of(self, people: tuple[int, ...]) -> Recorded:
        """Return the pictures of some people."""
        rows = np.isin(self.person, people)
        return Recorded(
            *(values[rows] for values in (self.near, self.wide, self.live, self.person, self.inside))
        )

    def draw(self, is_live: bool, rng: Rng) -> int:
        """Draw a person, then one of their pictures: nobody counts more for having sat longer."""
        groups = self.groups[is_live]
        rows = groups[rng.integers(len(groups))]
        return int(rows[rng.integers(len(rows))])

    def near_look(self, is_live: bool, rng: Rng) -> Image:
        row = self.draw(is_live, rng)
        return reframed(self.near[row], self.inside[row], rng)

    def wide_look(self, is_live: bool, rng: Rng) -> Image:
        row = self.draw(is_live, rng)
        edges = reframing(self.inside[row], rng) - np.tile(CROP_FACE.center, 2)
        return ended(self.wide[row], edges * WIDE_FACE_PX / CROP_FACE.width_px + (SIZE_PX - 1) / 2)

    @cached_property
    def groups(self) -> dict[bool, list[npt.NDArray[np.int64]]]:
        """Return the rows of each person's pictures, live and not."""
        found: dict[bool, list[npt.NDArray[np.int64]]] = {True: [], False: []}
        for is_live, person in sorted(set(zip(self.live.tolist(), self.person.tolist(), strict=True))):
            found[is_live].append(np.flatnonzero((self.live == is_live) & (self.person == person)))
        return found


def reframed(crop: Image, inside: npt.NDArray[np.float32], rng: Rng) -> Image:
    """Return a crop whose recorded part ends at edges drawn anew.

    Recorded pictures were cut near the face, printed ones 2 px nearer in the mean: that must tell nobody the class.
    """
    return ended(crop, reframing(inside, rng))


def reframing(inside: npt.NDArray[np.float32], rng: Rng) -> npt.NDArray[np.float64]:
    """Draw left, top, right and bottom within what was recorded, px of the near look."""
    low, high = rng.uniform((4, 24), (22, 38)), rng.uniform((90, 103), (107, 130))
    return np.concatenate([np.maximum(inside[:2], low), np.minimum(inside[2:], high)])


def ended(picture: Image, edges: npt.NDArray[np.floating]) -> Image:
    """Return a picture that ends at left, top, right and bottom; its edge pixels go on."""
    left, top = np.clip(np.ceil(edges[:2]), 0, SIZE_PX - 2).astype(int)
    right, bottom = np.clip(np.floor(edges[2:]).astype(int) + 1, 1, SIZE_PX)
    part = picture[top:bottom, left:right]
    return np.asarray(
        cv2.copyMakeBorder(part, top, SIZE_PX - bottom, left, SIZE_PX - right, cv2.BORDER_REPLICATE), np.uint8
    )


def load_recorded(path: Path) -> Recorded:
    """Read a file of scripts/train/prepare_pad.py."""
    with np.load(path) as file:
        return Recorded(*(file[name] for name in ("near", "wide", "live", "person", "inside")))


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
class Batches(ABC):
    """Batches of views; a number repeats its batch."""

    @abstractmethod
    def batch(self, size: int, seed: int, number: int) -> tuple[Tensor, ...]:
        """Make batch `number`: pictures (B, 3, 112, 112), labels (B,), 1 for live, and what else an objective takes."""

    def stream(self, size: int, seed: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches without end from batch `start` on, made ahead."""
        with ThreadPoolExecutor(AHEAD) as pool:
            pending = [pool.submit(self.batch, size, seed, start + ahead) for ahead in range(AHEAD)]
            while True:
                ready, start = pending.pop(0).result(), start + 1
                pending.append(pool.submit(self.batch, size, seed, start + AHEAD - 1))
                yield ready


@dataclass(frozen=True)
class RecordedViews(Batches):
    """Near looks of recorded people, half of them live."""

    recorded: Recorded

    def batch(self, size: int, seed: int, number: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((seed, number))
        live = np.arange(size) % 2 == 1
        return tensors(
            [mirrored(varied(self.recorded.near_look(label, rng), rng), rng) for label in live], live
        )


@dataclass(frozen=True)
class Mix:
    """What a batch of near looks is made of; every `p_` is a probability."""

    photographs: float = 0.4  # share of a batch; the rest is recorded, half of it live
    stored: int = 6_000  # photographs through the simulated camera, each used again in another light
    p_camera: float = 0.5  # a photograph through the simulated camera, not as it is
    p_reframed: float = 0.6
    p_gentle: float = 0.15
    p_hand: float = 0.08  # with somebody's fingers before the face
    turn_deg: float = 2.0  # of the alignment, standard deviation
    scale: float = 0.04
    shift_px: float = 1.5


@dataclass(frozen=True)
class NearViews(Batches):
    """Near looks of recorded people and of photographs, which are all live; the third tensor is 1 where recorded."""

    faces: npt.NDArray[np.uint8]
    recorded: Recorded
    mix: Mix = Mix()
    kept: dict[int, Image] = field(default_factory=dict)

    def batch(self, size: int, seed: int, number: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((seed, number))
        recorded = np.arange(size) >= round(size * self.mix.photographs)
        live = (np.arange(size) % 2 == 1) | ~recorded
        looks = [
            self.recorded.near_look(label, rng) if real else self.photograph(rng)
            for real, label in zip(recorded, live, strict=True)
        ]
        return tensors([mirrored(varied(look, rng), rng) for look in looks], live, recorded)

    def photograph(self, rng: Rng) -> Image:
        """Return a photograph as it is, or as the simulated camera takes it."""
        if rng.random() < self.mix.p_camera:
            look = self.stored(int(rng.integers(self.mix.stored)))
        else:
            look = self.faces[rng.integers(len(self.faces))]
        return reframed(look, WHOLE, rng) if rng.random() < self.mix.p_reframed else look

    def stored(self, number: int) -> Image:
        """Return photograph `number` through the camera, made once: the network learns faster than that."""
        if number not in self.kept:
            self.kept[number] = self.through_camera(np.random.default_rng((STORE_SEED, number)))
        return self.kept[number]

    def through_camera(self, rng: Rng) -> Image:
        """Take the picture of a photograph's person and cut the crop out of it, as loosely as landmarks do."""
        photo, face = enlarged(self.faces[rng.integers(len(self.faces))]), CROP_FACE.scaled(CANVAS_SCALE)
        scene = with_hand(photo, face, rng) if rng.random() < self.mix.p_hand else Scene(to_light(photo))
        camera, stance = Camera.draw(rng), Stance.draw(rng)
        if rng.random() < self.mix.p_gentle:
            camera = gentle(camera)
        side = math.ceil(1.6 * stance.face_px) + 4
        shot = capture(scene, stance.to_sensor(face, (side, side)), (side, side), camera, rng)
        turn_deg = stance.turn_deg + rng.normal(0, self.mix.turn_deg)
        scale = CROP_FACE.width_px / stance.face_px * math.exp(rng.normal(0, self.mix.scale))
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), turn_deg, scale)
        matrix[:, 2] += np.array(CROP_FACE.center) - (side - 1) / 2 + rng.normal(0, self.mix.shift_px, 2)
        # Bilinear as at the door, where nothing is smoothed before a large face is shrunk
        return np.asarray(cv2.warpAffine(shot, matrix, (SIZE_PX, SIZE_PX), flags=cv2.INTER_LINEAR), np.uint8)


@dataclass(frozen=True)
class WideViews(Batches):
    """Wide looks, half of them live; the third tensor (B, 14, 14) is 1 where a sheet or a device is.

    A number repeats its batch once all looks are made: until then there is more to draw from each time.
    """

    looks: Looks
    recorded: Recorded
    p_recorded: float = 0.06

    def batch(self, size: int, seed: int, number: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((seed, number))
        live = np.arange(size) % 2 == 1
        made = self.looks.made()
        pairs = [self.one(bool(label), made, rng) for label in live]
        pictures, labels = tensors([look for look, _ in pairs], live)
        maps = np.stack([where for _, where in pairs]).astype(np.float32) / 255
        return pictures, labels, torch.from_numpy(maps)

    def one(self, is_live: bool, made: int, rng: Rng) -> tuple[Image, npt.NDArray[np.uint8]]:
        if rng.random() < self.p_recorded:
            look = self.recorded.wide_look(is_live, rng)
            where = np.full((MAP_PX, MAP_PX), 0 if is_live else 255, np.uint8)
        else:
            number = 2 * int(rng.integers(made // 2)) + is_live
            look, where = self.looks.images[number], self.looks.maps[number]
        if rng.random() < 0.5:
            look, where = look[:, ::-1], where[:, ::-1]
        look = np.ascontiguousarray(look)
        if rng.random() < 0.8:
            look = varied(look, rng)
        if rng.random() < 0.2:
            noise = rng.normal(0, rng.uniform(1, 6), look.shape)
            look = np.clip(look + noise, 0, 255).astype(np.uint8)
        if rng.random() < 0.15:
            look = np.asarray(cv2.GaussianBlur(look, (0, 0), rng.uniform(0.3, 0.9)), np.uint8)
        return look, where


def tensors(looks: list[Image], *labels: npt.NDArray[np.bool_]) -> tuple[Tensor, ...]:
    """Return pictures and labels as the training loop takes them."""
    return to_tensor(np.stack(looks)), *(torch.from_numpy(label.astype(np.float32)) for label in labels)


def mirrored(look: Image, rng: Rng) -> Image:
    """Return a look, half of them mirrored."""
    return np.ascontiguousarray(look[:, ::-1]) if rng.random() < 0.5 else look


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
