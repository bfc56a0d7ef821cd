"""Make looks for the liveness network to learn from, with what six public teachers say of each.

    python scripts/train/make_pad_looks.py --data FACES --out runs/pad/looks --looks 60000 --seed 1

FACES holds wide.zip, wide.csv, lfw.zip, nuaa.zip and the six pad_teacher_*.onnx. Half of the looks come from wide
photographs, three tenths from LFW's development half, two tenths from recordings. Looks are written in parts, so that
learning can start at once and a cut run goes on where it stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch
from tqdm import tqdm

from device.programs import Parser
from device.vision.assets import FACE_DETECTOR, find_asset
from device.vision.detect import LiteRTDetector
from models.pad import photographs as source
from models.pad.looks import LOOKS
from models.pad.photographs import Recording
from models.pad.simulator.recapture import LIVE, SHARES, SPECIES, Frame, Rng, recorded, take
from models.pad.teachers import Panel

PART, BATCH = 1_024, 32
ATTACKS = 0.65  # share of photographs that are shown again
P_WIDE, P_LFW = 0.5, 0.3


class Maker:
    """Makes frames of all sources."""

    def __init__(self, folder: Path, part: str) -> None:
        detect = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=0.5, threads=1).detect
        self.wide, self.lfw = source.wide(folder, part), source.lfw(folder, part, detect)
        self.recordings = groups(source.recordings(folder, part, detect))

    def one(self, rng: Rng) -> tuple[Frame, str, bool, str]:
        """Return a frame, its species, whether it is live, and the name of its source."""
        draw = rng.random()
        if draw >= P_WIDE + P_LFW:
            rows = self.recordings[rng.integers(len(self.recordings))]
            shot = rows[rng.integers(len(rows))]
            return recorded(shot.photo, rng), LIVE if shot.live else "recorded print", shot.live, "recorded"
        photos = self.wide if draw < P_WIDE and self.wide else self.lfw
        kind = LIVE if rng.random() > ATTACKS else str(rng.choice(SPECIES, p=SHARES))
        photo, behind = (photos[rng.integers(len(photos))] for _ in range(2))
        return take(photo, kind, behind, rng), kind, kind == LIVE, "wide" if photos is self.wide else "lfw"


def groups(rows: list[Recording]) -> list[list[Recording]]:
    """Return recordings by person and truth: nobody counts more for having sat longer."""
    found: dict[tuple[int, bool], list[Recording]] = {}
    for row in rows:
        found.setdefault((row.person, row.live), []).append(row)
    return list(found.values())


def make_part(maker: Maker, panel: Panel, count: int, rng: Rng) -> dict[str, np.ndarray]:
    """Return `count` looks: near (N, 128, 128, 3), wide (N, 80, 80, 3), teachers (N, 6), live, kind, source, fills."""
    rows: dict[str, list] = {
        name: [] for name in ("near", "wide", "teachers", "live", "kind", "source", "fills")
    }
    for _ in range(count // BATCH):
        made = [maker.one(rng) for _ in range(BATCH)]
        frames = [(frame.image, frame.box) for frame, *_ in made]
        rows["teachers"].append(panel.logits(frames).astype(np.float16))
        for (frame, kind, live, name), (image, box) in zip(made, frames, strict=True):
            rows["near"].append(LOOKS["near"](image, box))
            rows["wide"].append(LOOKS["wide"](image, box))
            for key, value in (("live", live), ("kind", kind), ("source", name), ("fills", frame.fills)):
                rows[key].append(value)
    rows["teachers"] = list(np.concatenate(rows["teachers"]))
    return {name: np.array(values) for name, values in rows.items()}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs and teachers")
    parser.add_argument("--out", type=Path, required=True, help="folder for the parts")
    parser.add_argument("--looks", type=int, default=60_000, help="how many to make (default 60000)")
    parser.add_argument("--seed", type=int, default=1, help="of chance; another seed makes other looks")
    parser.add_argument("--part", default=source.LEARN, choices=(source.LEARN, source.CHOOSE, source.REPORT))
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    maker, panel = Maker(args.data, args.part), Panel(args.data)
    for number in tqdm(range(-(-args.looks // PART)), unit="part", mininterval=10):
        path = args.out / f"{args.part}-{args.seed}-{number:04}.npz"
        if path.exists():
            continue
        made = make_part(maker, panel, PART, np.random.default_rng((args.seed, number)))
        half = path.with_suffix(".tmp.npz")
        np.savez(half, **made)
        half.replace(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
