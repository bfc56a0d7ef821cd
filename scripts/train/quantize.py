"""Turn a trained run into an int8 file, and compare the two on held-out faces.

    python scripts/train/quantize.py runs/mobilefacenet --data FOLDER --out runs/mobilefacenet/export
    python scripts/evaluate.py --lfw FOLDER runs/mobilefacenet/export/mobilefacenet.json \\
        runs/mobilefacenet/export/mobilefacenet_fp32.json --json runs/mobilefacenet/export/lfw.json
    python scripts/train/quantize.py runs/mobilefacenet --ship --data FOLDER --out runs/mobilefacenet/export

The first writes NAME.tflite (int8) and NAME_fp32.tflite with manifests and the parity of the two on held-out faces.
`--ship` copies the int8 file and its manifest to models/weights/ with the figures and thresholds of lfw.json; it
refuses when int8 costs more than 0.2 points of LFW (or than the standard error of the measurement, where that is
larger: a weak network is not known better) or the file is over 6 MB.
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
        "quantize.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import numpy as np

from device.programs import Parser
from models.int8 import export
from models.int8.equalization import equalize
from models.int8.quantization_aware import int8_activations
from models.networks.mobilefacenet import MobileFaceNet
from models.networks.registry import shipped_name
from models.training.data import FaceCrops, load_crops, resized, to_tensor
from models.training.metrics import pair_similarities, tar_at
from models.training.runs import load_network, with_inherited

MODELS = Path(__file__).resolve().parents[2] / "models"
WEIGHTS, CARDS = MODELS / "weights", MODELS / "cards"
CALIBRATION_FACES, EQUALIZING_FACES = 400, 128
LARGEST_LFW_LOSS = 0.2  # points
LARGEST_BYTES = 6_000_000


def parity(folder: Path, name: str, crops: FaceCrops, input_px: tuple[int, int]) -> dict[str, float]:
    """Compare fp32 and int8 on held-out faces: cosine between the two, and TAR at FMR 1e-4 of each."""
    rows = crops.held_out.nonzero()[0]
    faces = resized(crops.images[rows], input_px)
    single = export.embeddings(folder / f"{name}_fp32.tflite", faces)
    int8 = export.embeddings(folder / f"{name}.tflite", faces)
    cosine = (single * int8).sum(axis=1)
    figures = {"faces": len(rows), "cosine_mean": float(cosine.mean()), "cosine_min": float(cosine.min())}
    for kind, found in (("fp32", single), ("int8", int8)):
        figures[f"tar_1e-4_{kind}"] = tar_at(*pair_similarities(found, crops.identities[rows]), 1e-4)
    return {key: round(value, 5) for key, value in figures.items()}


def quantize(run: Path, data: Path, folder: Path) -> dict[str, Any]:
    """Export a run to `folder`; return the parity of int8 against fp32."""
    network, training = load_network(run)
    recipe = training["recipe"]
    network = with_inherited(run, network, recipe)
    name = shipped_name(recipe["network"], recipe["act"])
    folder.mkdir(parents=True, exist_ok=True)
    crops = load_crops(data)
    known = np.flatnonzero(~crops.held_out)
    samples = resized(crops.images[known[:: max(1, len(known) // CALIBRATION_FACES)]], network.input_px)
    single, int8 = folder / f"{name}_fp32.tflite", folder / f"{name}.tflite"
    if isinstance(network, MobileFaceNet) and network.act == "prelu" and not recipe.get("quantization_aware"):
        equalize(network, to_tensor(samples[:EQUALIZING_FACES]))
    export.to_litert(int8_activations(network), single)
    export.to_int8(single, samples, int8)
    unexpected = export.operators(int8) - export.INT8_OPERATORS
    if unexpected:
        raise SystemExit(
            f"{int8} has operators that int8 kernels do not run: {', '.join(sorted(unexpected))}"
        )
    figures = parity(folder, name, crops, network.input_px)
    placeholder = {"1e-3": 1.0, "1e-4": 1.0, "1e-5": 1.0}  # opens to nobody until evaluate.py has set them
    for file in (single, int8):
        values = export.manifest(file.stem, file, placeholder, training=training, parity=figures)
        export.write_manifest(values, file.with_suffix(".json"))
    return figures


def ship(folder: Path, name: str) -> str:
    """Copy the int8 file with its measured figures to models/weights/; return a line of what was shipped.

    Raises:
        SystemExit: LFW was not measured, int8 costs too much, or the file is too large.
    """
    manifest = json.loads((folder / f"{name}.json").read_text())
    single = json.loads((folder / f"{name}_fp32.json").read_text())
    measured = json.loads((folder / "lfw.json").read_text())
    try:
        figures, reference = measured[manifest["model_id"]], measured[single["model_id"]]
    except KeyError as missing:
        raise SystemExit(
            f"{folder / 'lfw.json'} has no figures of {missing}: run scripts/evaluate.py again"
        ) from None
    loss = round(reference["lfw_accuracy"] - figures["lfw_accuracy"], 2)
    allowed = max(LARGEST_LFW_LOSS, figures.get("lfw_standard_error", 0.0))
    if loss > allowed:
        raise SystemExit(
            f"int8 costs {loss} points of LFW, at most {allowed} may be shipped: calibrate on other samples"
        )
    if manifest["bytes"] > LARGEST_BYTES:
        raise SystemExit(
            f"the int8 file has {manifest['bytes']} bytes, at most {LARGEST_BYTES} may be shipped"
        )
    manifest["thresholds"] = {fmr: row["threshold"] for fmr, row in figures["thresholds"].items()}
    manifest["evaluation"] = {"int8": figures, "fp32": reference, "int8_loss_lfw": loss}
    shutil.copyfile(folder / f"{name}.tflite", WEIGHTS / f"{name}.tflite")
    export.write_manifest(manifest, WEIGHTS / f"{name}.json")
    card = CARDS / f"{name}.md"
    card.write_text(with_figures(card.read_text(), manifest))
    return f"shipped {manifest['model_id']}: LFW {figures['lfw_accuracy']}, int8 loss {loss}"


def with_figures(card: str, manifest: dict[str, Any]) -> str:
    """Return the text of a model card with its tables written anew from the manifest."""
    evaluation = manifest["evaluation"]
    figures = ["| | LFW | TAR@1e-3 | TAR@1e-4 | TAR@1e-5 |", "|---|---|---|---|---|"]
    for kind in ("int8", "fp32"):
        row = evaluation[kind]
        tars = [row[f"tar_at_{fmr}"] for fmr in manifest["thresholds"]]
        cells = [f"{row['lfw_accuracy']:.2f} ± {row['lfw_standard_error']:.2f}"]
        cells += [f"{tar['value']:.2f} [{tar['low']:.2f}, {tar['high']:.2f}]" for tar in tars]
        figures.append(f"| {kind} | {' | '.join(cells)} |")
    thresholds = ["| FMR asked | threshold | FMR on the others | TAR on the others |", "|---|---|---|---|"]
    for fmr, row in evaluation["int8"]["thresholds"].items():
        false, true = row["fmr_on_others"], row["tar_on_others"]  # None: nobody there to compare with
        share, accepted = "-" if false is None else f"{false:.2g}", "-" if true is None else f"{true:.2f} %"
        thresholds.append(f"| {fmr} | {row['threshold']:.4f} | {share} | {accepted} |")
    training = f"`{manifest['model_id']}`, {manifest['bytes']:,} bytes, {manifest['training']['samples']:,} faces seen."
    return block(block(card, "figures", [training, "", *figures]), "thresholds", thresholds)


def block(text: str, name: str, lines: list[str]) -> str:
    """Replace what stands between the markers of a block."""
    start, end = f"<!-- {name}: written by scripts/train/quantize.py --ship -->\n", f"<!-- end of {name} -->"
    before, rest = text.split(start)
    return before + start + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1]


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Turn a trained run into an int8 file, and compare the two.")
    parser.add_argument("run", type=Path, help="folder of the run, with checkpoint.pt")
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and train/*.zip")
    parser.add_argument("--out", type=Path, required=True, help="folder for the .tflite files and manifests")
    parser.add_argument("--ship", action="store_true", help="copy the measured int8 file to models/weights/")
    args = parser.parse_args(argv)
    if args.ship:
        recipe = json.loads((args.run / "recipe.json").read_text())
        print(ship(args.out, shipped_name(recipe["network"], recipe["act"])))
        return 0
    print(json.dumps(quantize(args.run, args.data, args.out), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
