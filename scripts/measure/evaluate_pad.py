"""Measure the liveness network on material it never saw, as ISO/IEC 30107-3 asks: APCER per species, BPCER.

    python scripts/measure/evaluate_pad.py [pad.json] --lfw FOLDER --recorded runs/pad/recorded.npz --json FILE

Recorded: real live and real printed faces of the people kept for the test (scripts/train/prepare_pad.py). Simulated:
LFW photographs of FOLDER (`lfw.zip`), of the half of its people that nothing was chosen on (pad_frames.py), one a
person, all through the product's own detector, alignment and quality check. A face that the quality check refuses gets
no score and is counted apart. Intervals are Clopper and Pearson's, 95 %.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np

from device.errors import FaceUnlockError, UsageError
from device.numeric.intervals import clopper_pearson
from device.programs import Parser
from device.vision.embed import load_manifest
from device.vision.liveness import PadScorer
from device.vision.runtime import load_interpreter
from models.pad.people import TEST_PEOPLE, is_live
from models.training.metrics import Interval
from scripts.measure.pad_frames import TEST, Eyes, frames

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"
PEOPLE = 1_000  # of LFW
RECORDED_LIVE, RECORDED_PRINT, ALL_LIVE = "live, recorded", "print, recorded", "live, all of them"
RUNS = 300  # of the speed comparison


def simulated(scorer: PadScorer, folder: Path, people: int) -> dict[str, list[float | None]]:
    """Return the scores of photographs of `people` and of attacks made of them, by group."""
    scores: dict[str, list[float | None]] = {}
    eyes = Eyes()
    for group, frame, place in frames(folder / "lfw.zip", TEST, people, eyes):
        face = eyes.accepted(frame, place)
        scores.setdefault(group, []).append(None if face is None else scorer.score(frame, face))
    return scores


def recorded(scorer: PadScorer, file: Path) -> dict[str, list[float | None]]:
    """Return the scores of the test people's recorded pictures, both looks of which were taken already."""
    with np.load(file) as pictures:
        test = np.isin(pictures["person"], TEST_PEOPLE)
        near, wide, is_live = (pictures[name][test] for name in ("near", "wide", "live"))
    scores: dict[str, list[float | None]] = {RECORDED_LIVE: [], RECORDED_PRINT: []}
    for *looks, alive in zip(near, wide, is_live, strict=True):
        scores[RECORDED_LIVE if alive else RECORDED_PRINT].append(scorer.score_of(*looks))
    return scores


def rates(scores: list[float | None], scorer: PadScorer, balanced: float, is_live: bool) -> dict[str, Any]:
    """Return errors of one group at the manifest's thresholds, shares with intervals.

    For live pictures the error is BPCER, for attacks APCER: on the wrong side of `unsure`, or of the threshold that
    made the worst of both equal on development data.
    """
    given = np.array([score for score in scores if score is not None])

    def share(wrong: np.ndarray) -> dict[str, float] | None:
        count, total = int(wrong.sum()), len(given)
        if not total:
            return None
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
    scorer = PadScorer(manifest=manifest, threads=1)
    times = speed(scorer)
    scores = recorded(scorer, recorded_file) | simulated(scorer, folder, people)
    scores[ALL_LIVE] = [score for name, found in scores.items() if is_live(name) for score in found]
    balanced = json.loads(manifest.read_text())["development"]["balanced"]
    groups = {name: rates(found, scorer, balanced, is_live(name)) for name, found in scores.items()}
    return {
        "model_id": scorer.model_id,
        "unsure": scorer.unsure,
        "attack": scorer.attack,
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


def text(interval: dict[str, float] | None) -> str:
    """Return "4.2 [2.1, 7.4]", percent with its interval."""
    if interval is None:
        return "none scored"
    value, low, high = (100 * interval[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Measure a liveness network on material it never saw.")
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
        fault = UsageError(f"{error}: name a folder with lfw.zip, and a file of scripts/train/prepare_pad.py")
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
