"""Measure the liveness network on looks of people that nothing was learned from or chosen on.

    python scripts/train/make_pad_looks.py --data FACES --out runs/pad/looks --part report --looks 8192
    python scripts/measure/evaluate_pad.py [pad.json] --looks runs/pad/looks --json FILE

Recorded: real live and real printed faces of the test people. Simulated: LFW's other half, through the simulated
camera, and shown again on paper and screens with and without an edge in view; figures of simulated attacks compare
networks and promise nothing about real ones. APCER per species and BPCER as in ISO/IEC 30107-3, with 95 %
intervals of Clopper and Pearson, and how far the network agrees with the joint teacher on each kind of material.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from device.errors import UsageError
from device.numeric.intervals import clopper_pearson
from device.programs import Parser, run
from device.vision.embed import load_manifest
from device.vision.liveness import PadScorer
from device.vision.runtime import load_interpreter
from models.pad.agreement import auc, rank_correlation
from models.pad.distill import Looks
from models.pad.photographs import REPORT
from models.training.metrics import Interval

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"
RUNS = 300  # of the speed comparison
LIVE_UNSURE = 0.05  # BPCER at which APCER is compared
Scores = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


def groups_of(looks: Looks) -> npt.NDArray[np.str_]:
    """Return the group of each look: "recorded live", "print, no edge", ..."""
    names = []
    for kind, source, fills in zip(*(looks.all(name) for name in ("kind", "source", "fills")), strict=True):
        if source == "recorded":
            names.append("live, recorded" if kind == "live" else "print, recorded")
        elif kind == "live":
            names.append("live, simulated camera")
        else:
            names.append(f"{kind}, simulated, {'no edge in view' if fills else 'edge in view'}")
    return np.array(names)


def measured(scores: Scores, looks: Looks, scorer: PadScorer) -> dict[str, Any]:
    """Return the figures of every group of looks, and of all recorded and all simulated ones."""
    groups, live, joint = groups_of(looks), looks.all("live"), looks.target()
    recorded = looks.all("source") == "recorded"
    found = {}
    for name in np.unique(groups):
        rows = groups == name
        lives = live & (recorded if "recorded" in name else ~recorded)
        found[str(name)] = group(scores, rows, lives, scorer) | {
            "rank_to_teacher": round(rank_correlation(scores[rows], joint[rows]), 3),
            "auc_of_teacher": separation(joint, rows, lives),
        }
    return found


def group(scores: Scores, rows: Flags, lives: Flags, scorer: PadScorer) -> dict[str, Any]:
    """Return the error of a group at `unsure` (BPCER of live looks, APCER of attacks), and below `attack`.

    For attacks also the AUC against live looks of the same origin, and APCER where BPCER of those is 5 %.
    """
    is_live, own = bool((rows & lives).any()), scores[rows]
    found: dict[str, Any] = {
        "looks": int(rows.sum()),
        "error_at_unsure": share(own < scorer.unsure if is_live else own >= scorer.unsure),
        "below_attack": share(own < scorer.attack),
    }
    if not is_live:
        found["auc"] = separation(scores, rows, lives)
        found["apcer_at_bpcer_5"] = share(own >= np.quantile(scores[lives], LIVE_UNSURE))
    return found


def separation(scores: Scores, rows: Flags, lives: Flags) -> float | None:
    """Return the AUC of some attacks against live looks, None for live looks themselves."""
    if (rows & lives).any():
        return None
    both = rows | lives
    return round(auc(scores[both], lives[both]), 4)


def share(wrong: Flags) -> dict[str, float]:
    count, total = int(wrong.sum()), len(wrong)
    return asdict(Interval(count / total, *clopper_pearson(count, total)))


def speed(scorer: PadScorer) -> dict[str, float]:
    """Return medians on one thread, run in turns: ms of both networks together, and their share of the embedder's."""
    embedder = load_manifest(WEIGHTS / "mobilefacenet.json")
    runs: dict[str, Callable[[], Any]] = {
        name: load_interpreter(file, 1).invoke
        for name, file in (
            ("near", scorer.manifest.near.file),
            ("wide", scorer.manifest.wide.file),
            ("mobilefacenet", embedder.file),
        )
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, step in runs.items():
            start_s = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - start_s)
    medians = {name: float(np.median(times)) for name, times in taken.items()}
    pad = medians["near"] + medians["wide"]
    return {
        "pad_ms": round(1e3 * pad, 2),
        "mobilefacenet_ms": round(1e3 * medians["mobilefacenet"], 2),
        "share": round(pad / medians["mobilefacenet"], 3),
    }


def measure(manifest: Path, folder: Path) -> dict[str, Any]:
    scorer = PadScorer(manifest=manifest, threads=1)
    looks = Looks.open(folder, REPORT)
    if not len(looks):
        raise UsageError(f"{folder} has no looks for the report: run make_pad_looks.py --part {REPORT} first")
    times = speed(scorer)
    pairs = zip(looks.all("near"), looks.all("wide"), strict=True)
    scores = np.array([scorer.score_of(*pair) for pair in tqdm(pairs, total=len(looks), unit="look")])
    return {
        "model_id": scorer.model_id,
        "unsure": scorer.unsure,
        "attack": scorer.attack,
        "groups": measured(scores, looks, scorer),
        "time": times,
    }


def table(found: dict[str, Any]) -> str:
    """Return the groups as lines of a Markdown table, in percent."""
    lines = [
        "| group | looks | error at `unsure` | below `attack` | AUC | APCER at BPCER 5 % | AUC of the teacher |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in found["groups"].items():
        cells = [text(row["error_at_unsure"]), text(row["below_attack"]), number(row.get("auc"))]
        cells += [text(row.get("apcer_at_bpcer_5")), number(row["auc_of_teacher"])]
        lines.append(f"| {name} | {row['looks']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def text(interval: dict[str, float] | None) -> str:
    """Return "4.2 [2.1, 7.4]", percent with its interval."""
    if interval is None:
        return ""
    value, low, high = (100 * interval[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Measure a liveness network on looks nothing was chosen on.")
    parser.add_argument("manifest", type=Path, nargs="?", default=WEIGHTS / "pad.json")
    parser.add_argument("--looks", type=Path, required=True, help="folder of make_pad_looks.py")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return run("evaluate_pad.py", lambda: act(parser.parse_args(argv)))


def act(args: argparse.Namespace) -> int:
    found = measure(args.manifest, args.looks)
    print(table(found))
    print(json.dumps(found["time"]))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
