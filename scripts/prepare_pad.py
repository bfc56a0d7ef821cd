"""Bring recorded live and attack pictures to the aligned crop that the liveness network sees.

    python scripts/prepare_pad.py --data FACES --out runs/pad/recorded.npz

FACES holds `nuaa.zip`: `client/PPPP/...` live and `imposter/PPPP/...` printed photographs, PPPP the person. Each
picture goes through the product's own detector and alignment; where no face is found it is left out and counted.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from tqdm import tqdm

from device.align import MeshAligner
from device.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.detect import LiteRTDetector
from device.geometry import REFERENCE_POINTS, apply_transform, similarity_transform
from device.types import Image

FOLDERS = {"client": True, "imposter": False}
MARGIN = 0.3  # the pictures end at the chin; the detector wants to see more


def align_all(archive: Path) -> dict[str, np.ndarray]:
    """Return `images` (N, 112, 112, 3), `live`, `person` (N,) and `inside` (N, 4) of all pictures with a face."""
    detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=0.5, threads=1)
    aligner = MeshAligner(model=find_asset(FACE_MESH), threads=1)
    images, live, person, inside = [], [], [], []
    with zipfile.ZipFile(archive) as pictures:
        names = [name for name in sorted(pictures.namelist()) if name.split("/")[1].isdecimal()]
        for name in tqdm(names, unit="picture", mininterval=5):
            kind, number, _ = Path(name).parts
            picture, rim = with_rim(decode(pictures.read(name)))
            found = detector.detect(picture)
            if found:
                face = aligner.align(picture, found[0])
                images.append(face.measured)
                inside.append(recorded_box(face.landmarks, picture.shape, rim))
                live.append(FOLDERS[kind])
                person.append(int(number))
    print(f"{len(images)} of {len(names)} pictures have a face that was found")
    return {
        "images": np.stack(images),
        "live": np.array(live),
        "person": np.array(person),
        "inside": np.array(inside, np.float32),
    }


def decode(data: bytes) -> Image:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def with_rim(picture: Image) -> tuple[Image, int]:
    """Return a picture with a rim of its own edge pixels about it, and the rim's width."""
    rim = int(MARGIN * max(picture.shape[:2]))
    return np.asarray(cv2.copyMakeBorder(picture, *[rim] * 4, cv2.BORDER_REPLICATE), np.uint8), rim


def recorded_box(
    landmarks: np.ndarray, shape: tuple[int, ...], rim: int
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what was recorded, in px of the aligned crop; beyond is made up."""
    to_crop = similarity_transform(landmarks, REFERENCE_POINTS)
    height, width = shape[:2]
    corners = np.array([(x, y) for x in (rim, width - 1 - rim) for y in (rim, height - 1 - rim)])
    x, y = apply_transform(to_crop, corners).T
    middle_x, middle_y = np.sort(x), np.sort(y)
    return middle_x[1], middle_y[1], middle_x[2], middle_y[2]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Align recorded live and attack pictures.")
    parser.add_argument("--data", type=Path, required=True, help="folder with nuaa.zip")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.out, **align_all(args.data / "nuaa.zip"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
