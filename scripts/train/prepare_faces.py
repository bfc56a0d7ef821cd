"""Turn a folder of photographs into aligned training faces, with the board's own detector and alignment.

    python scripts/train/prepare_faces.py PHOTOS --out FOLDER

Each subfolder of PHOTOS is one identity; photographs directly in PHOTOS are of unknown identity. A photograph gives a
face only if exactly one is found and the mesh confirms it. FOLDER is then what `scripts/train/train.py --data` expects.
"""

from __future__ import annotations

import argparse
import csv
import sys
import zipfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
from tqdm import tqdm

from device.errors import UsageError
from device.programs import Parser, run
from device.vision.align import MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.vision.detect import LiteRTDetector

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MIN_SCORE = 0.6
FACES_PER_ZIP = 10_000
COLUMNS = ("zip", "name", "source", "identity", "face_width_px", "mesh_presence")


class Preparer:
    """Find, align and write faces, counting what was left out and why."""

    def __init__(self, photos: Path, out: Path) -> None:
        self.photos, self.out = photos, out
        self.detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=MIN_SCORE, threads=1)
        self.aligner = MeshAligner(model=find_asset(FACE_MESH), threads=1)
        self.left_out: Counter[str] = Counter()
        self.rows: list[tuple[str, str, str, int, int, float]] = []

    def run(self) -> None:
        """Write `train/NNN.zip` and `index.csv`."""
        files = sorted(path for path in self.photos.rglob("*") if path.suffix.lower() in PICTURES)
        if not files:
            raise UsageError(
                f"{self.photos} holds no photographs ({', '.join(sorted(PICTURES))}): name another folder"
            )
        names = sorted({path.parent.name for path in files if path.parent != self.photos})
        self.make_folder()
        for path in tqdm(files, unit="photo"):
            unknown = path.parent == self.photos
            self.add(path, -1 if unknown else names.index(path.parent.name))
        with (self.out / "index.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(self.rows)

    def make_folder(self) -> None:
        try:
            (self.out / "train").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.out}: {error.strerror}: name another folder with --out") from None

    def add(self, path: Path, identity: int) -> None:
        """Add the face of one photograph, or count why not."""
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
        if pixels is None:
            self.left_out["not a picture"] += 1
            return
        image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        detections = self.detector.detect(image)
        if len(detections) != 1:
            self.left_out["no face" if not detections else "several faces"] += 1
            return
        face = self.aligner.align(image, detections[0])
        if face.presence < 0:
            self.left_out["no face"] += 1
            return
        archive, name = f"{len(self.rows) // FACES_PER_ZIP:03d}.zip", f"{len(self.rows):06d}.png"
        mode = "w" if len(self.rows) % FACES_PER_ZIP == 0 else "a"
        with zipfile.ZipFile(self.out / "train" / archive, mode) as file:
            file.writestr(name, cv2.imencode(".png", face.image[..., ::-1])[1].tobytes())
        width = round(detections[0].box[2])
        self.rows.append((archive, name, "own", identity, width, round(face.presence, 1)))


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Turn a folder of photographs into aligned training faces.")
    parser.add_argument("photos", type=Path, help="folder of photographs, one subfolder an identity")
    parser.add_argument("--out", type=Path, required=True, help="folder for index.csv and train/*.zip")
    return run("prepare_faces.py", lambda: act(parser.parse_args(argv)))


def act(args: argparse.Namespace) -> int:
    preparer = Preparer(args.photos, args.out)
    preparer.run()
    print(f"{len(preparer.rows)} faces in {args.out}; left out: {dict(preparer.left_out) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
