"""Simulate what a liveness network learns its wide look from; goes on where it stopped.

python scripts/train/simulate_pad.py runs/pad --views 80000
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from multiprocessing import Pool
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
from tqdm import tqdm

from device.programs import Parser
from models.pad.material import load_material, make_looks
from models.pad.simulator.camera import Image
from models.pad.simulator.rooms import Material
from models.pad.simulator.scene import view

SEED = 1126
PORTION = 200  # looks between two marks on disk

_material: list[Material] = []  # of a worker process


def start_worker(folder: Path) -> None:
    cv2.setNumThreads(1)
    _material.append(load_material(folder, held_out=False))


def simulate(number: int) -> tuple[Image, Image]:
    """Return look `number` and its map: a pure function of the material."""
    return view(number % 2 == 1, _material[0], np.random.default_rng((SEED, number)))


def portions(looks: Iterator[Any]) -> Iterator[list[Any]]:
    while portion := list(islice(looks, PORTION)):
        yield portion


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Simulate wide looks; goes on where it stopped.")
    parser.add_argument("folder", type=Path, help="of scripts/train/prepare_pad.py")
    parser.add_argument("--views", type=int, default=80_000, help="how many, half of them live")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    args = parser.parse_args(argv)
    looks = make_looks(args.folder, args.views)
    done, views = looks.made(), len(looks.images)
    with Pool(args.workers, start_worker, (args.folder,)) as pool, tqdm(total=views, initial=done) as bar:
        for portion in portions(pool.imap(simulate, range(done, views), chunksize=20)):
            done = looks.add(done, portion)
            bar.update(len(portion))
    return 0


if __name__ == "__main__":
    sys.exit(main())
