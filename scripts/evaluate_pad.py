"""Measure a liveness network on material it never saw, as ISO/IEC 30107-3 asks: APCER per species, BPCER.

    python scripts/evaluate_pad.py [pad.json] --lfw FOLDER --recorded runs/pad/recorded.npz --json FILE

Recorded: real live and real printed faces of the people kept for the test (scripts/prepare_pad.py). Simulated: LFW
photographs of FOLDER (`lfw.zip`), one a person, as they are, through the simulated camera, and recaptured as each
species with a seed of its own; all through the product's own detector, alignment and quality check. A face that the
quality check refuses gets no score and is counted apart. Intervals are Clopper and Pearson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from tqdm import tqdm

from device.align import MeshAligner
from device.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.build import quality_limits
from device.config import Config
from device.detect import LiteRTDetector
from device.embed import load_manifest
from device.errors import FaceUnlockError, UsageError
from device.intervals import clopper_pearson
from device.liveness import PadScorer
from device.quality import assess
from device.runtime import load_interpreter
from device.types import AlignedFace, FaceDetection, HeadPose, Image
from models.camera_chain import Camera, capture
from models.metrics import Interval
from models.pad_people import TEST_PEOPLE
from models.recapture import SPECIES, Stance, live, recapture
from models.recapture_layer import FacePlace
from scripts.evaluate import nearest_center
from scripts.recapture_examples import place_of

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"
SEED = 30107  # of no other script
PEOPLE = 140
AS_IT_IS, THROUGH_CAMERA = "live, photograph", "live, simulated camera"
RECORDED_LIVE, RECORDED_PRINT = "live, recorded", "print, recorded"
FRAME_WIDTHS = 2.4  # side of a simulated frame, in face widths; the photographs end there
RUNS = 300  # of the speed comparison


class Door:
    """The product's stages up to liveness."""

    def __init__(self, manifest: Path) -> None:
        self.detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=0.5, threads=1)
        self.aligner = MeshAligner(model=find_asset(FACE_MESH), threads=1)
        self.limits = quality_limits(Config().quality)
        self.scorer = PadScorer(manifest=manifest, threads=1)

    def find(self, frame: Image) -> tuple[FaceDetection, AlignedFace] | None:
        """Return the face nearest the middle, aligned."""
        detections = self.detector.detect(frame)
        if not detections:
            return None
        detection = nearest_center(detections, frame)
        return detection, self.aligner.align(frame, detection)

    def score(self, frame: Image) -> float | None:
        """Return the score of a frame; None where there is no face, or quality refuses it."""
        found = self.find(frame)
        if found is None or assess(found[1], found[0], self.limits).reason is not None:
            return None
        return self.scorer.score(frame, found[1])


def simulated(door: Door, folder: Path, people: int) -> dict[str, list[float | None]]:
    """Return the scores of photographs of `people` and of their recaptures, by group."""
    scores: dict[str, list[float | None]] = {name: [] for name in (AS_IT_IS, THROUGH_CAMERA, *SPECIES)}
    photographs = one_a_person(folder / "lfw.zip", people)
    around = next(photographs)  # of a person who is not measured: stands behind the next one's attacks
    for number, photograph in enumerate(tqdm(photographs, total=people, unit="person", mininterval=10)):
        found = door.find(photograph)
        if found is None:
            continue
        scores[AS_IT_IS].append(door.score(photograph))
        face = place_of(found[1].landmarks)
        for kind, species in enumerate(("live", *SPECIES)):
            rng = np.random.default_rng((SEED, number, kind))
            group = THROUGH_CAMERA if species == "live" else species
            scores[group].append(door.score(frame_of(photograph, face, species, around, rng)))
        around = photograph
    return scores


def one_a_person(archive: Path, people: int) -> Iterator[Image]:
    """Yield the first photograph of `people` + 1 people, drawn at random."""
    with zipfile.ZipFile(archive) as photographs:
        first = {name.split("/")[0]: name for name in sorted(photographs.namelist(), reverse=True)}
        names = np.random.default_rng(SEED).permutation(sorted(first.values()))[: people + 1]
        for name in names:
            pixels = cv2.imdecode(np.frombuffer(photographs.read(str(name)), np.uint8), cv2.IMREAD_COLOR)
            yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def enlarged(photograph: Image) -> Image:
    return cv2.resize(photograph, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


def frame_of(
    photograph: Image, face: FacePlace, species: str, around: Image, rng: np.random.Generator
) -> Image:
    """Return what the door's camera sees of the person of a photograph, or of the photograph as an attack."""
    large, behind = map(enlarged, (photograph, around))
    place = face.scaled(2)
    scene = live(large) if species == "live" else recapture(large, place, species, behind, rng)
    stance = Stance.draw(rng)
    side = int(FRAME_WIDTHS * stance.face_px)
    return capture(scene, stance.to_sensor(place, (side, side)), (side, side), Camera.draw(rng), rng)


def recorded(scorer: PadScorer, file: Path) -> dict[str, list[float | None]]:
    """Return the scores of the test people's recorded pictures, which are aligned already."""
    with np.load(file) as pictures:
        test = np.isin(pictures["person"], TEST_PEOPLE)
        images, is_live = pictures["images"][test], pictures["live"][test]
    scores: dict[str, list[float | None]] = {RECORDED_LIVE: [], RECORDED_PRINT: []}
    for image, alive in zip(images, is_live, strict=True):
        scores[RECORDED_LIVE if alive else RECORDED_PRINT].append(scorer.score(image, aligned(image)))
    return scores


def aligned(crop: Image) -> AlignedFace:
    """Return an aligned face of which only the crop is known."""
    nothing = np.zeros((0, 3), np.float32)
    return AlignedFace(crop, crop, nothing[:, :2], nothing, 1.0, HeadPose(0, 0, 0), (0.3, 0.3))


def rates(scores: list[float | None], scorer: PadScorer, balanced: float, is_live: bool) -> dict[str, Any]:
    """Return errors of one group at the manifest's thresholds, shares with intervals.

    For live pictures the error is BPCER, for attacks APCER: on the wrong side of `unsure`, or of the threshold that
    made the worst of both equal on development data.
    """
    given = np.array([score for score in scores if score is not None])

    def share(wrong: np.ndarray) -> dict[str, float]:
        count, total = int(wrong.sum()), len(given)
        return asdict(Interval(count / total, *clopper_pearson(count, total)))

    unsure, middle = ((given < at) if is_live else (given >= at) for at in (scorer.unsure, balanced))
    return {
        "pictures": len(scores),
        "scored": len(given),
        "error": share(unsure),
        "refused_outright": share(given < scorer.attack),
        "error_balanced": share(middle),
    }


def speed(scorer: PadScorer) -> dict[str, float]:
    """Return medians on one thread, run in turns: ms of this network, and its share of the default embedder's."""
    embedder = load_manifest(WEIGHTS / "mobilefacenet.json")
    runs: dict[str, Callable[[], Any]] = {
        name: load_interpreter(file, 1).invoke
        for name, file in (("pad", scorer.manifest.file), ("mobilefacenet", embedder.file))
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, run in runs.items():
            start_s = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start_s)
    pad, whole = float(np.median(taken["pad"])), float(np.median(taken["mobilefacenet"]))
    return {
        "pad_ms": round(1e3 * pad, 2),
        "mobilefacenet_ms": round(1e3 * whole, 2),
        "share": round(pad / whole, 3),
    }


def measure(manifest: Path, folder: Path, recorded_file: Path, people: int) -> dict[str, Any]:
    door = Door(manifest)
    times = speed(door.scorer)
    scores = recorded(door.scorer, recorded_file) | simulated(door, folder, people)
    balanced = json.loads(manifest.read_text())["development"]["balanced"]
    groups = {
        name: rates(found, door.scorer, balanced, name.startswith("live")) for name, found in scores.items()
    }
    return {
        "model_id": door.scorer.model_id,
        "unsure": door.scorer.unsure,
        "attack": door.scorer.attack,
        "balanced": balanced,
        "groups": groups,
        "time": times,
    }


def table(found: dict[str, Any]) -> str:
    """Return the groups as lines of a Markdown table, in percent."""
    lines = [
        "| group | scored of shown | error at `unsure` | below `attack` | error at balance |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["groups"].items():
        cells = " | ".join(text(row[key]) for key in ("error", "refused_outright", "error_balanced"))
        lines.append(f"| {name} | {row['scored']} of {row['pictures']} | {cells} |")
    return "\n".join(lines)


def text(interval: dict[str, float]) -> str:
    """Return "4.2 [2.1, 7.4]", percent with its interval."""
    value, low, high = (100 * interval[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure a liveness network on material it never saw.")
    parser.add_argument("manifest", type=Path, nargs="?", default=WEIGHTS / "pad.json")
    parser.add_argument("--lfw", type=Path, required=True, help="folder with lfw.zip")
    parser.add_argument(
        "--recorded", type=Path, required=True, help="aligned recorded pictures (prepare_pad.py)"
    )
    parser.add_argument("--people", type=int, default=PEOPLE, help="LFW people to simulate with")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    try:
        found = measure(args.manifest, args.lfw, args.recorded, args.people)
    except (OSError, KeyError) as error:
        fault = UsageError(f"{error}: name a folder with lfw.zip, and a file of scripts/prepare_pad.py")
        print(f"evaluate_pad.py: {fault}", file=sys.stderr)
        return fault.exit_code
    except FaceUnlockError as error:
        print(f"evaluate_pad.py: {error}", file=sys.stderr)
        return error.exit_code
    print(table(found))
    print(json.dumps(found["time"]))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
