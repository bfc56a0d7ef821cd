"""Files that the liveness network learns from: recorded pictures, people to make scenes of, simulated wide looks.

`scripts/train/prepare_pad.py` and `scripts/train/simulate_pad.py` write them into one folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from models.pad.simulator.camera import Image
from models.pad.simulator.rooms import Material

RECORDED, PEOPLE, LOOKS, MAPS, COUNT = "recorded.npz", "people.npz", "looks.npy", "maps.npy", "looks.txt"
PICTURE_PX, PLAIN = 400, 12.0  # pictures are made this large; less contrast than this is no picture
PICTURE_NAMES = (".jpg", ".jpeg", ".png", ".webp")


def load_material(folder: Path, *, held_out: bool) -> Material:
    """Read what scenes are made of: the people to learn from, or those held out."""
    with np.load(folder / PEOPLE) as file:
        rows = file["held_out"] == held_out
        sizes, pixels = file["sizes"], np.split(file["pixels"], np.cumsum(file["areas"]))[:-1]
        pictures = [part.reshape(*size, 3) for part, size in zip(pixels, sizes, strict=True)]
        return Material(file["faces"][rows], file["masks"][rows], pictures)


def load_pictures(folder: Path) -> list[Image]:
    """Read the photographs and patterns below a folder, PICTURE_PX long, without the plain ones."""
    pictures = []
    for path in sorted(folder.rglob("*")):
        pixels = cv2.imread(str(path)) if path.suffix.lower() in PICTURE_NAMES else None
        if pixels is None or min(pixels.shape[:2]) < PICTURE_PX:
            continue
        scale = PICTURE_PX / max(pixels.shape[:2])
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if small.std() >= PLAIN:
            pictures.append(np.ascontiguousarray(small[..., ::-1]))
    return pictures


def save_people(
    path: Path,
    faces: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    held_out: npt.NDArray[np.bool_],
    pictures: list[Image],
) -> None:
    """Write what scenes are made of."""
    sizes = np.array([picture.shape[:2] for picture in pictures], np.int64).reshape(-1, 2)
    pixels = np.concatenate([picture.ravel() for picture in pictures]) if pictures else np.zeros(0, np.uint8)
    np.savez(
        path,
        faces=faces,
        masks=masks,
        held_out=held_out,
        sizes=sizes,
        areas=3 * sizes.prod(axis=1),
        pixels=pixels,
    )


@dataclass(frozen=True)
class Looks:
    """Simulated wide looks on disk: `images` (N, 112, 112, 3), `maps` (N, 14, 14), both uint8; odd numbers are live.

    The first `made()` of them are there; another process may still be making the rest.
    """

    images: npt.NDArray[np.uint8]
    maps: npt.NDArray[np.uint8]
    count: Path

    def made(self) -> int:
        return int(self.count.read_text())

    def add(self, start: int, portion: list[tuple[Image, npt.NDArray[np.uint8]]]) -> int:
        """Put made looks and their maps at their place, and return how many are there now."""
        end = start + len(portion)
        self.images[start:end], self.maps[start:end] = map(np.stack, zip(*portion, strict=True))
        partial = self.count.with_suffix(
            ".partial"
        )  # whoever learns meanwhile reads the old number or the new one
        partial.write_text(str(end))
        partial.replace(self.count)
        return end


def open_looks(folder: Path) -> Looks:
    """Open the simulated looks of a folder."""
    images, maps = (np.load(folder / name, mmap_mode="r") for name in (LOOKS, MAPS))
    return Looks(images, maps, folder / COUNT)


def make_looks(folder: Path, views: int) -> Looks:
    """Make files for `views` looks, none of them made; files that are there already are kept."""
    if not (folder / COUNT).exists():
        open_memmap(folder / LOOKS, "w+", np.uint8, (views, 112, 112, 3)).flush()
        open_memmap(folder / MAPS, "w+", np.uint8, (views, 14, 14)).flush()
        (folder / COUNT).write_text("0")
    images, maps = (np.load(folder / name, mmap_mode="r+") for name in (LOOKS, MAPS))
    return Looks(images, maps, folder / COUNT)
