"""Aligned training faces: reading, holding out, augmenting.

A data folder holds `index.csv` (`zip, name, source, identity, ...`; identity -1 is unknown) and `train/*.zip` with
112x112 RGB pictures. `scripts/train/prepare_faces.py` makes one from an owner's own photographs.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SIZE_PX = 112
HELD_OUT_ONE_IN = 40  # share of identities (of pictures, where the identity is unknown) kept for development
PIXEL_MEAN, PIXEL_STD = 127.5, 128.0
NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class FaceCrops:
    """Faces in memory: `images` (N, 112, 112, 3) uint8 RGB, `identities` (N,) int64, -1 where unknown."""

    images: npt.NDArray[np.uint8]
    identities: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)


def load_crops(folder: Path, limit: int | None = None) -> FaceCrops:
    """Decode the faces of `folder` (all, or the first `limit`); about 38 KB of memory each."""
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:limit]
    images = np.empty((len(rows), SIZE_PX, SIZE_PX, 3), np.uint8)
    archives = {name: zipfile.ZipFile(folder / "train" / name) for name in {row["zip"] for row in rows}}

    def decode(item: tuple[int, bytes]) -> None:
        images[item[0]] = cv2.imdecode(np.frombuffer(item[1], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(decode, ((i, archives[row["zip"]].read(row["name"])) for i, row in enumerate(rows))))
    identities = np.array([int(row["identity"]) for row in rows], np.int64)
    keys = np.where(identities >= 0, identities, np.arange(len(rows)))
    return FaceCrops(images, identities, keys % HELD_OUT_ONE_IN == 0)


def load_targets(folder: Path, faces: int) -> npt.NDArray[np.float32] | None:
    """Return the stored target of each of the first `faces` crops (N, D), L2-normalized; None where none are stored.

    `joint_targets.npz` holds `q` (N, D) int8: several teachers' joint embedding, its columns ordered by variance.

    Raises:
        ValueError: the file has fewer rows than the folder has faces.
    """
    path = folder / "joint_targets.npz"
    if not path.exists():
        return None
    with np.load(path) as file:
        targets = file["q"][:faces].astype(np.float32)
    if len(targets) < faces:
        raise ValueError(
            f"{path} has {len(targets)} targets, index.csv has {faces} faces: they are not of one set; remove the file,"
            " and the teacher's embeddings are computed"
        )
    return targets / np.linalg.norm(targets, axis=1, keepdims=True)


def resized(images: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Bring (N, h, w, 3) faces to (N, *size, 3), bilinear."""
    if images.shape[1:3] == size:
        return images
    return np.stack([cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) for image in images])


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Turn (N, 112, 112, 3) uint8 RGB into (N, 3, 112, 112) float32, (pixel - 127.5) / 128, channels last in memory."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return (pixels - PIXEL_MEAN) / PIXEL_STD


def to_images(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """Undo `to_tensor`, for any number of channels."""
    return (tensor * PIXEL_STD + PIXEL_MEAN).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


@dataclass(frozen=True)
class Augment:
    """How far a training view may be from its crop; every `p_` is a probability."""

    p_flip: float = 0.5
    p_jitter: float = 0.7
    p_plain: float = 0.3  # nothing but these two
    rotate_deg: float = 7.0
    scale: float = 0.07
    shift_px: float = 3.0
    p_low_resolution: float = 0.2
    min_resolution_px: int = 24
    p_blur: float = 0.15
    p_jpeg: float = 0.2
    p_light: float = 0.75
    p_color: float = 0.3
    p_gray: float = 0.03
    p_noise: float = 0.3
    p_gain: float = 0.5  # of the noisy and dim: brightened again, as a camera's gain does, noise and all
    p_occlude: float = 0.1

    def __call__(self, image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return a changed copy of a (112, 112, 3) uint8 RGB face."""
        if rng.random() < self.p_flip:
            image = image[:, ::-1]
        if rng.random() < self.p_jitter:
            image = self.jitter(image, rng)
        if rng.random() < self.p_plain:
            return np.ascontiguousarray(image)
        if rng.random() < self.p_light:
            image = relight(image, rng)
        if rng.random() < self.p_color:
            image = tint(image, rng)
        if rng.random() < self.p_gray:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        if rng.random() < self.p_occlude:
            image = occlude(image, rng)
        if rng.random() < self.p_low_resolution:
            image = low_resolution(image, int(rng.integers(self.min_resolution_px, 80)))
        if rng.random() < self.p_blur:
            image = blur(image, rng)
        if rng.random() < self.p_noise:
            image = grain(image, rng)
            if rng.random() < self.p_gain:
                image = gain(image, rng)
        if rng.random() < self.p_jpeg:
            image = jpeg(image, int(rng.integers(25, 90)))
        return np.ascontiguousarray(image)

    def jitter(self, image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Turn, scale and shift as a loose landmark would."""
        center = (SIZE_PX - 1) / 2
        angle = rng.uniform(-self.rotate_deg, self.rotate_deg)
        matrix = cv2.getRotationMatrix2D((center, center), angle, 1 + rng.uniform(-self.scale, self.scale))
        matrix[:, 2] += rng.uniform(-self.shift_px, self.shift_px, 2)
        border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        return cv2.warpAffine(np.ascontiguousarray(image), matrix, (SIZE_PX, SIZE_PX), borderMode=border)


def clip(image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.clip(image, 0, 255).astype(np.uint8)


def relight(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Change exposure, contrast and gamma through one table; half of the views are dim, as at a door at night."""
    light = np.exp(rng.uniform(np.log(0.12), np.log(0.8))) if rng.random() < 0.5 else rng.uniform(0.7, 1.25)
    levels = np.arange(256, dtype=np.float32) / 255
    levels = (levels ** rng.uniform(0.7, 1.4) - 0.5) * rng.uniform(0.7, 1.25) + 0.5
    return cv2.LUT(np.ascontiguousarray(image), clip(levels * light * 255))


def grain(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Add a sensor's noise: Gaussian, of up to 14 steps, mostly less."""
    spread = np.exp(rng.uniform(np.log(1.5), np.log(14)))
    return clip(image + rng.normal(0, spread, image.shape).astype(np.float32))


def gain(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Brighten a dim picture toward a mean level of 60 to 120, up to six times, as an automatic exposure does."""
    factor = min(6.0, rng.uniform(60, 120) / max(1.0, float(image.mean())))
    return clip(image.astype(np.float32) * factor) if factor > 1 else image


def tint(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Move the white balance by up to 15 % a channel."""
    return clip(image * rng.uniform(0.85, 1.15, 3).astype(np.float32))


def occlude(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Cover a rectangle of up to a third of each side with one color."""
    height, width = rng.integers(12, SIZE_PX // 3, 2)
    top, left = rng.integers(0, SIZE_PX - height), rng.integers(0, SIZE_PX - width)
    image = image.copy()
    image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return image


def low_resolution(image: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.uint8]:
    """Shrink to `size_px` and enlarge again: a face seen from afar."""
    small = cv2.resize(np.ascontiguousarray(image), (size_px, size_px), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_LINEAR)


def blur(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Defocus or a straight motion of up to 9 px."""
    image = np.ascontiguousarray(image)
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0))
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6))


def jpeg(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """Compress and decompress."""
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


@dataclass(frozen=True)
class Batch:
    """Augmented `faces` (B, 3, 112, 112) and where they stand in the crops, `rows` (B,)."""

    faces: Tensor
    rows: npt.NDArray[np.int64]


def batches(
    crops: FaceCrops,
    augment: Augment,
    size: int,
    seed: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    *,
    faces_per_identity: int = 0,
    again: npt.NDArray[np.int64] = NO_ROWS,
) -> Iterator[Batch]:
    """Yield training batches without end: every epoch a new order, the same again for the same seed and start.

    `start` counts batches already seen, so that a resumed run goes on where it was; process `rank` of `world` takes
    its own part of each epoch. With `faces_per_identity` (K), a batch is P identities of K faces each; without, an
    epoch has the rows `again` once more (twice more where they are listed twice).
    """
    chooser = (
        IdentityRows(crops, faces_per_identity, seed) if faces_per_identity else EpochRows(crops, seed, again)
    )

    def make(number: int) -> Batch:
        rows = chooser.choose(number, size, rank, world)
        rng = np.random.default_rng((seed, number, rank))
        return Batch(to_tensor(np.stack([augment(crops.images[i], rng) for i in rows])), rows)

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(make, start)
        while True:
            batch, start = pending.result(), start + 1
            pending = pool.submit(make, start)
            yield batch


class EpochRows:
    """Choose all training faces once an epoch, each epoch in a new order."""

    def __init__(self, crops: FaceCrops, seed: int, again: npt.NDArray[np.int64] = NO_ROWS) -> None:
        rows = np.concatenate([np.arange(len(crops)), again])
        self.rows, self.seed = rows[~crops.held_out[rows]], seed

    def choose(self, number: int, size: int, rank: int, world: int) -> npt.NDArray[np.int64]:
        """Return the rows of batch `number` of the run: a pure function of its arguments."""
        per_epoch = len(self.rows) // (size * world)
        if per_epoch == 0:
            raise ValueError(
                f"{len(self.rows)} training faces are fewer than one batch of {size} x {world} processes"
            )
        epoch, place = divmod(number, per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows)
        first = (place * world + rank) * size
        return order[first : first + size]


class IdentityRows:
    """Choose P identities at random and K faces of each, for triplets (FaceNet, arXiv 1503.03832, section 3.2)."""

    def __init__(self, crops: FaceCrops, faces: int, seed: int) -> None:
        known = np.flatnonzero(~crops.held_out & (crops.identities >= 0))
        known = known[crops.identities[known].argsort(kind="stable")]
        _, starts = np.unique(crops.identities[known], return_index=True)
        self.groups = [group for group in np.split(known, starts[1:]) if len(group) >= faces]
        self.faces, self.seed = faces, seed

    def choose(self, number: int, size: int, rank: int, world: int) -> npt.NDArray[np.int64]:
        """Return the rows of batch `number` of the run: a pure function of its arguments."""
        identities = size // self.faces
        if len(self.groups) < identities or size % self.faces:
            raise ValueError(
                f"a batch of {size} needs {size / self.faces:g} identities of {self.faces} faces, there are"
                f" {len(self.groups)}"
            )
        rng = np.random.default_rng((self.seed, number, rank, self.faces))
        chosen = rng.choice(len(self.groups), identities, replace=False)
        return np.concatenate([rng.choice(self.groups[i], self.faces, replace=False) for i in chosen])
