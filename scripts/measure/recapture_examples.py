"""Draw a labeled grid of simulated presentation attacks: docs/how/recapture.png.

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
from device.vision.liveness import face_place, wide_look
from device.vision.picture import read_picture
from models.pad.simulator.scene import SPECIES
from scripts.measure.pad_frames import NO_EDGE, THROUGH_CAMERA, Eyes, Photograph, scene_of, shot_of

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, TILE_PX, LABEL_PX = 6, 112, 74
LEVELS = 0xF8  # of the bits of a color: noise does not compress, and the eye misses nothing
LABELS = {THROUGH_CAMERA: "live", NO_EDGE: "no edge"}


def picture(photo: Photograph, behind: Photograph, eyes: Eyes, seed: int) -> Image:
    """Return a grid: a row for live and for each species, of wide looks with the near look below each."""
    groups = (THROUGH_CAMERA, *SPECIES, NO_EDGE)
    return np.vstack([row(group, photo, behind, eyes, (seed, n)) for n, group in enumerate(groups)])


def row(group: str, photo: Photograph, behind: Photograph, eyes: Eyes, seed: tuple[int, int]) -> Image:
    """Return COLUMNS pictures of one group in which the door finds the face that is shown."""
    pairs: list[Image] = []
    number = 0
    while len(pairs) < COLUMNS:
        rng, number = np.random.default_rng((*seed, number)), number + 1
        frame, place = shot_of(scene_of(group, photo, behind, rng), rng)
        face = eyes.accepted(frame, place)
        if face is not None:
            pairs.append(np.vstack([wide_look(frame, face.landmarks), face.measured]))
    label = np.full((2 * TILE_PX, LABEL_PX, 3), 255, np.uint8)
    text, font = LABELS.get(group, group), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(label, text, (6, TILE_PX), font, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.hstack([label, *pairs])


def read(path: Path, eyes: Eyes) -> Photograph:
    """Read a photograph and find its face."""
    image = read_picture(path)
    face = eyes.aligner.align(image, eyes.detector.detect(image)[0])
    return Photograph(image, *face_place(face.landmarks))


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Draw a labeled grid of simulated presentation attacks.")
    parser.add_argument("--photo", type=Path, default=ROOT / "tests" / "data" / "astronaut.jpg")
    parser.add_argument("--behind", type=Path, default=ROOT / "tests" / "data" / "astronaut.jpg")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args(argv)
    eyes = Eyes()
    grid = picture(read(args.photo, eyes), read(args.behind, eyes), eyes, args.seed)
    cv2.imwrite(
        str(args.out), cv2.cvtColor(grid & LEVELS, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
