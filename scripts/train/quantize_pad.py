"""Bring the trained liveness network to two int8 files, choose its thresholds on development looks, and ship it.

    python scripts/train/quantize_pad.py runs/pad/run --looks runs/pad/looks --out runs/pad/export
    python scripts/measure/evaluate_pad.py runs/pad/export/pad.json --data FACES --json runs/pad/export/test.json
    python scripts/train/quantize_pad.py runs/pad/run --looks runs/pad/looks --out runs/pad/export --ship

The first writes pad_near.tflite, pad_wide.tflite and pad.json. `--ship` copies them, with the figures of test.json, to
models/weights/.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if find_spec("torch") is None:
    sys.exit(
        "quantize_pad.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import numpy as np
import numpy.typing as npt
import torch

from device.programs import Parser
from device.vision.liveness import joined_digest
from models.int8 import export
from models.networks.pad import TwoLooks, logits, mix_answers
from models.pad.agreement import auc, rank_correlation
from models.pad.distill import Looks, to_input
from models.pad.export import OPERATORS, PIXEL_MEAN, PIXEL_STD, outputs, to_files
from models.pad.photographs import CHOOSE, LEARN
from models.training.runs import averaged
from scripts.measure.evaluate_pad import table

CALIBRATION_LOOKS, SEED = 600, 8
LARGEST_BYTES = 1_000_000
LIVE_UNSURE = 0.1  # of live development looks: they are asked for a challenge
LIVE_REFUSED = 0.01
LOOKS = ("near", "wide")
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "models" / "weights"
PAGES = (ROOT / "models" / "cards" / "pad.md", ROOT / "docs" / "how" / "liveness.md")
START, END = "<!-- figures: written by scripts/train/quantize_pad.py --ship -->\n", "<!-- end of figures -->"


def export_run(run: Path, looks: Path, folder: Path) -> dict[str, Any]:
    """Write the files and the manifest to `folder`; return what was measured on development looks."""
    network, training = averaged(run, TwoLooks())
    mix_answers(network)
    learned, chosen = Looks.open(looks, LEARN), Looks.open(looks, CHOOSE)
    samples = learned.rows(np.random.default_rng(SEED).permutation(len(learned))[:CALIBRATION_LOOKS])
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        look: to_files(getattr(network, look), f"pad_{look}", samples[look], folder)[1] for look in LOOKS
    }
    for file in files.values():
        unexpected = export.operators(file) - OPERATORS
        if unexpected:
            raise SystemExit(
                f"{file} has operators that are neither int8 nor of a gate: {', '.join(sorted(unexpected))}"
            )
    parts = {look: outputs(file, chosen.all(look)) for look, file in files.items()}
    scores = parts["near"] + parts["wide"]
    figures = development(scores, chosen)
    exact = logits(network, *(to_input(chosen.all(look)) for look in LOOKS)).numpy()
    figures["rank_to_fp32"] = round(rank_correlation(scores, exact), 4)
    unsure, attack = thresholds(scores, chosen)
    figures["unsure_logit"], figures["attack_logit"] = round(unsure, 3), round(attack, 3)
    values = {"name": "pad"} | {look: describe(file) for look, file in files.items()}
    digest = joined_digest(values["near"]["sha256"], values["wide"]["sha256"])
    values |= {"model_id": f"pad-{digest}", "unsure": share(unsure), "attack": share(attack)}
    export.write_manifest(values | {"training": training, "development": figures}, folder / "pad.json")
    return figures | {"bytes": sum(values[look]["bytes"] for look in LOOKS), "model_id": values["model_id"]}


def describe(file: Path) -> dict[str, Any]:
    """Describe the network of one look for the board."""
    values = export.manifest(file.stem, file, {})
    values["input"] |= {"mean": PIXEL_MEAN, "std": PIXEL_STD}
    return {key: values[key] for key in ("name", "file", "sha256", "bytes", "input", "output")}


def development(scores: npt.NDArray[np.floating], looks: Looks) -> dict[str, float]:
    """Return agreement with the joint teacher, and the AUC against the truth, of each source."""
    joint, live, source = looks.target(), looks.all("live"), looks.all("source")
    found = {"looks": len(scores), "rank": rank_correlation(scores, joint)}
    for name in np.unique(source):
        rows = source == name
        found[f"{name}_rank"] = rank_correlation(scores[rows], joint[rows])
        found[f"{name}_auc"] = auc(scores[rows], live[rows])
    return {name: round(float(value), 4) for name, value in found.items()}


def thresholds(scores: npt.NDArray[np.floating], looks: Looks) -> tuple[float, float]:
    """Return the logits `unsure`, below which LIVE_UNSURE of all live looks lie, and `attack`.

    Below `attack` lie LIVE_REFUSED of the live looks of the source that fares worst: who is unsure answers a challenge,
    who is refused stands before a closed door.
    """
    live, source = looks.all("live"), looks.all("source")
    unsure = float(np.quantile(scores[live], LIVE_UNSURE))
    groups = [scores[live & (source == name)] for name in np.unique(source)]
    return unsure, min(unsure, *(float(np.quantile(group, LIVE_REFUSED)) for group in groups))


def share(logit: float) -> float:
    return float(round(0.5 * (1 + np.tanh(logit / 2)), 6))


def ship(folder: Path) -> str:
    """Copy both files and the manifest with its measured figures to models/weights/; return a line about it."""
    manifest = json.loads((folder / "pad.json").read_text())
    measured = json.loads((folder / "test.json").read_text())
    if measured["model_id"] != manifest["model_id"]:
        raise SystemExit(f"{folder / 'test.json'} is of {measured['model_id']}: run evaluate_pad.py again")
    size = sum(manifest[look]["bytes"] for look in LOOKS)
    if size > LARGEST_BYTES:
        raise SystemExit(f"the files have {size} bytes, at most {LARGEST_BYTES} may be shipped")
    for look in LOOKS:
        shutil.copyfile(folder / manifest[look]["file"], WEIGHTS / manifest[look]["file"])
    export.write_manifest(manifest | {"evaluation": measured}, WEIGHTS / "pad.json")
    for page in PAGES:
        page.write_text(with_figures(page.read_text(), manifest, measured))
    return f"shipped {manifest['model_id']}, {size:,} bytes"


def with_figures(page: str, manifest: dict[str, Any], measured: dict[str, Any]) -> str:
    """Return the text of a page with its figures written anew."""
    size = sum(manifest[look]["bytes"] for look in LOOKS)
    thresholds = f"`unsure` {manifest['unsure']:.3f}, `attack` {manifest['attack']:.3f}"
    lines = [
        f"`{manifest['model_id']}`, {size:,} bytes, {manifest['training']['samples']:,} looks seen; {thresholds}",
        "",
    ]
    lines += [
        table(measured),
        "",
        f"Both networks take {measured['time']['pad_ms']} ms on one thread, {measured['time']['share']}",
    ]
    lines[-1] += " of the default embedder's time in the same run."
    before, rest = page.split(START)
    return before + START + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1]


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Bring the liveness network to int8 files, and ship it.")
    parser.add_argument("run", type=Path, help="folder of train_pad.py")
    parser.add_argument("--looks", type=Path, required=True, help="folder of make_pad_looks.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--ship", action="store_true", help="copy the measured files to models/weights/")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(ship(args.out) if args.ship else json.dumps(export_run(args.run, args.looks, args.out), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
