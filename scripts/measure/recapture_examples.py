"""Draw a labeled grid of simulated camera frames, live and shown again: docs/how/recapture.png.

    python scripts/measure/recapture_examples.py --out docs/how/recapture.png \\
        [--photo tests/data/astronaut.jpg --behind FILE]
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if find_spec("torch") is None:
    sys.exit(
        "recapture_examples.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import cv2
import numpy as np

from device.programs import Parser
from device.types import Image
from device.vision.assets import FACE_DETECTOR, find_asset
from device.vision.detect import LiteRTDetector
from models.pad.looks import LOOKS
from models.pad.photographs import boxed, decode
from models.pad.simulator.recapture import LIVE, SPECIES, Photograph, take

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, TILE_PX, LABEL_PX = 8, 112, 74
LEVELS = 0xF8  # of the bits of a color: noise does not compress, and the eye misses nothing


def picture(photo: Photograph, behind: Photograph, seed: int) -> Image:
    """Return a grid: a row for live and for each species, of wide looks with the near look below each."""
    return np.vstack([row(kind, photo, behind, (seed, n)) for n, kind in enumerate((LIVE, *SPECIES))])


def row(kind: str, photo: Photograph, behind: Photograph, seed: tuple[int, int]) -> Image:
    """Return COLUMNS frames of one kind."""
    pairs: list[Image] = []
    for number in range(COLUMNS):
        frame = take(photo, kind, behind, np.random.default_rng((*seed, number)))
        looks = [LOOKS[look](frame.image, frame.box) for look in ("wide", "near")]
        pairs.append(np.vstack([cv2.resize(look, (TILE_PX, TILE_PX)) for look in looks]))
    label = np.full((2 * TILE_PX, LABEL_PX, 3), 255, np.uint8)
    cv2.putText(label, kind, (6, TILE_PX), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.hstack([label, *pairs])


def read(path: Path) -> Photograph:
    """Read a photograph and find its face."""
    detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=0.5, threads=1)
    photo = boxed(decode(path.read_bytes()), detector.detect)
    if photo is None:
        raise SystemExit(f"{path}: a photograph with a face is expected, none was found: name another")
    return photo


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Draw a labeled grid of simulated camera frames.")
    parser.add_argument("--photo", type=Path, default=ROOT / "tests" / "data" / "astronaut.jpg")
    parser.add_argument("--behind", type=Path, default=ROOT / "tests" / "data" / "astronaut.jpg")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args(argv)
    grid = picture(read(args.photo), read(args.behind), args.seed)
    cv2.imwrite(
        str(args.out), cv2.cvtColor(grid & LEVELS, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
