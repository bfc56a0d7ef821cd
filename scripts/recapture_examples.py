"""Draw a labeled grid of simulated presentation attacks: docs/recapture.png.

python scripts/recapture_examples.py --out docs/recapture.png [--photo tests/data/astronaut.jpg]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from device.align import MeshAligner
from device.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.detect import LiteRTDetector
from models.camera_chain import Camera, Image, capture
from models.recapture import SPECIES, Stance, live, recapture
from models.recapture_layer import FacePlace

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, TILE_PX, LABEL_PX = 6, 112, 74
LEVELS = 0xF8  # of the bits of a color: noise does not compress, and the eye misses nothing
FACE_PX = 150.0  # width of the face before the camera


def picture(photo: Image, face: FacePlace, seed: int) -> Image:
    """Return a grid: a row for live and for each species; below each row what the network sees."""
    rows = [row(photo, face, species, seed) for species in ("live", *SPECIES)]
    return np.vstack(rows)


def row(photo: Image, face: FacePlace, species: str, seed: int) -> Image:
    """Return COLUMNS pictures of one species, wide and as the network's crop."""
    pairs = [tiles(photo, face, species, np.random.default_rng((seed, n))) for n in range(COLUMNS)]
    label = np.full((2 * TILE_PX, LABEL_PX, 3), 255, np.uint8)
    cv2.putText(label, species, (6, TILE_PX), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.hstack([label, *(np.vstack(pair) for pair in pairs)])


def tiles(photo: Image, face: FacePlace, species: str, rng: np.random.Generator) -> tuple[Image, Image]:
    """Return one capture, three face widths wide, and the aligned crop in it, both TILE_PX wide."""
    around = cv2.GaussianBlur(np.ascontiguousarray(photo[::-1]), (0, 0), 3)
    scene = live(photo) if species == "live" else recapture(photo, face, species, around, rng)
    side = int(3 * FACE_PX)
    stance = Stance(FACE_PX, float(rng.normal(0, 3)))
    shot = capture(scene, stance.to_sensor(face, (side, side)), (side, side), Camera.draw(rng), rng)
    crop = int(1.4 * FACE_PX)
    corner = (side - crop) // 2
    near = shot[corner - int(0.1 * FACE_PX) :][:crop, corner : corner + crop]
    return tuple(cv2.resize(part, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA) for part in (shot, near))


def find_face(photo: Image) -> FacePlace:
    """Return the place of the photograph's face, by the product's own detector and aligner."""
    detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=0.5, threads=1)
    face = MeshAligner(model=find_asset(FACE_MESH), threads=1).align(photo, detector.detect(photo)[0])
    return place_of(face.landmarks)


def place_of(landmarks: np.ndarray) -> FacePlace:
    """Return where a face with these five landmarks stands; the eyes are 0.44 face widths apart."""
    width = float(np.linalg.norm(landmarks[1] - landmarks[0])) / 0.44
    x, y = landmarks[:3].mean(axis=0)
    return FacePlace((float(x), float(y)), width)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw a labeled grid of simulated presentation attacks.")
    parser.add_argument("--photo", type=Path, default=ROOT / "tests" / "data" / "astronaut.jpg")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args(argv)
    photo = cv2.cvtColor(cv2.imread(str(args.photo)), cv2.COLOR_BGR2RGB)
    grid = picture(photo, find_face(photo), args.seed)
    cv2.imwrite(
        str(args.out), cv2.cvtColor(grid & LEVELS, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
