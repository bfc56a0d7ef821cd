"""Join both trunks of the liveness network in an int8 file, choose its thresholds on development data, and ship it.

    python scripts/train/quantize_pad.py runs/pad --out runs/pad/export
    python scripts/measure/evaluate_pad.py runs/pad/export/pad.json --lfw FACES --recorded runs/pad/recorded.npz \\
        --json runs/pad/export/test.json
    python scripts/train/quantize_pad.py runs/pad --out runs/pad/export --ship

The first writes pad.tflite (int8), pad_fp32.tflite and pad.json, of the trunks in runs/pad/near and runs/pad/wide.
`--ship` copies the int8 file and its manifest, with the figures of test.json, to models/weights/.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if find_spec("torch") is None:
    sys.exit(
        "quantize_pad.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import cv2
import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

from device.programs import Parser
from device.vision.liveness import CHANNELS, all_looks
from models.int8 import export
from models.int8.litert_graph import read_graph, write_graph
from models.networks.blocks import Staged
from models.networks.pad import HEAD, BothLooks, logits
from models.pad.data import NearViews, WideViews, load_recorded
from models.pad.development import Development, load_development
from models.pad.material import RECORDED, load_material, open_looks
from models.pad.people import TRAINING_PEOPLE
from models.training.data import to_images, to_tensor
from models.training.runs import load_network
from scripts.train.train_pad import NEAR, WIDE

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"
CALIBRATION_VIEWS = 512
SEED = 8
LARGEST_BYTES = 1_000_000
LARGEST_LOGIT = 8.0
POOLED_BEYOND_MEAN = 2.5  # the largest pooled value of a picture, of the mean picture's
MIRRORED = slice(6, 9)  # of the channels
STEPS = 120  # of each trunk's threshold, in the search for the best pair


def export_run(run: Path, folder: Path) -> dict[str, Any]:
    """Write both files and the manifest to `folder`; return what was measured on development pictures."""
    (near, near_training), (wide, wide_training) = (load_network(run / name) for name in ("near", "wide"))
    development = load_development(run, load_recorded(run / RECORDED))
    network = BothLooks(near, wide, pair_of_thresholds(development, near, wide)).eval()
    folder.mkdir(parents=True, exist_ok=True)
    single, int8 = folder / "pad_fp32.tflite", folder / "pad.tflite"
    export.to_litert(network, single, CHANNELS)
    to_int8(single, samples(run), int8)
    unexpected = export.operators(int8) - export.INT8_OPERATORS
    if unexpected:
        raise SystemExit(
            f"{int8} has operators that int8 kernels do not run: {', '.join(sorted(unexpected))}"
        )
    scores = sigmoid(export.outputs(int8, seen(development.looks)).min(axis=1))
    unsure, attack = development.thresholds(scores)
    figures = errors(development, scores, unsure, attack)
    figures["balanced"] = development.balance(scores)
    figures["largest_difference_to_fp32"] = difference(development, scores, network)
    training = {"near": near_training, "wide": wide_training}
    values = export.manifest("pad", int8, {}, training=training, development=figures)
    for key in ("embedding_dim", "thresholds"):  # an embedder's
        del values[key]
    export.write_manifest(values | {"unsure": unsure, "attack": attack}, folder / "pad.json")
    return figures | {"unsure": unsure, "attack": attack}


def pair_of_thresholds(development: Development, near: Staged, wide: Staged) -> tuple[float, float]:
    """Return the thresholds of both trunks at which the worst error is smallest, if either may call an attack."""
    looks = to_tensor(seen(development.looks))
    near_scores, *both = (
        logits(trunk, looks[:, part]) for trunk, part in ((near, NEAR), (wide, WIDE), (wide, MIRRORED))
    )
    found = [near_scores.numpy(), torch.stack(both).mean(0).numpy()]
    places = [np.unique(np.quantile(scores, np.linspace(0, 1, STEPS))).tolist() for scores in found]

    def worst(pair: tuple[float, float]) -> float:
        lower = np.minimum(*(scores - at for scores, at in zip(found, pair, strict=True)))
        return max(development.worst(lower, 0.0))

    return min(product(*places), key=worst)


def seen(looks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what the network sees of near and wide looks (N, 112, 112, 6)."""
    return all_looks(looks[..., NEAR], looks[..., WIDE])


def to_int8(single: Path, pictures: npt.NDArray[np.uint8], path: Path) -> None:
    """Quantize as `export.to_int8` does, but let the logits reach LARGEST_LOGIT and the pooled values all they reach.

    Ranges are the samples' mean extremes; the mean of one logit a picture is about 0, and nothing would be left.
    """
    job = quantizer.Quantizer(str(single))
    job.load_quantization_recipe(recipe.static_wi8_ai8())
    network = Interpreter(str(single))
    signature, inputs = next(iter(network.get_signature_list().items()))
    faces = [{inputs["inputs"][0]: export.normalize(image[None])} for image in export.with_extremes(pictures)]
    ranges = job.calibrate({signature: faces})
    sizes = {details["name"]: int(np.prod(details["shape"])) for details in network.get_tensor_details()}
    for name, values in ranges.items():
        if sizes.get(name) in (1, 2):
            values["min"], values["max"] = (
                np.full_like(values["min"], at) for at in (-LARGEST_LOGIT, LARGEST_LOGIT)
            )
        elif sizes.get(name) in (HEAD, 2 * HEAD, 4 * HEAD):
            values["max"] = values["max"] * POOLED_BEYOND_MEAN
    path.unlink(missing_ok=True)
    job.quantize(ranges).export_model(str(path))
    write_graph(*read_graph(path), path)


def samples(run: Path) -> npt.NDArray[np.uint8]:
    """Return training views (N, 112, 112, 9) that set the ranges of int8."""
    recorded = load_recorded(run / RECORDED).of(TRAINING_PEOPLE)
    near = NearViews(load_material(run, held_out=False).faces, recorded)
    batches = [
        views.batch(CALIBRATION_VIEWS, SEED, 0)[0] for views in (near, WideViews(open_looks(run), recorded))
    ]
    return seen(to_images(torch.cat(batches, dim=1)))


def errors(
    development: Development, scores: npt.NDArray[np.floating], unsure: float, attack: float
) -> dict[str, Any]:
    """Return the error of every group at `unsure`, and below `attack`, in percent, with the pictures of each."""
    names, counts = np.unique(development.groups, return_counts=True)
    return {
        "pictures": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "error_at_unsure": percents(development.errors(scores, unsure)),
        "error_at_attack": percents(development.errors(scores, attack)),
    }


def sigmoid(found: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return scores in [0, 1] of logits, as the board does."""
    return 0.5 * (1 + np.tanh(found.astype(np.float64) / 2))


def percents(shares: dict[str, float]) -> dict[str, float]:
    return {name: round(100 * share, 2) for name, share in shares.items()}


def difference(development: Development, scores: npt.NDArray[np.floating], network: BothLooks) -> float:
    """Return the 99th percentile of how far int8 scores are from the trained network's."""
    exact = sigmoid(logits(network, to_tensor(seen(development.looks))).numpy().min(axis=1))
    return round(float(np.percentile(np.abs(exact - scores), 99)), 4)


def ship(folder: Path) -> str:
    """Copy the int8 file with its measured figures to models/weights/; return a line of what was shipped."""
    manifest = json.loads((folder / "pad.json").read_text())
    measured = json.loads((folder / "test.json").read_text())
    if measured["model_id"] != manifest["model_id"]:
        raise SystemExit(f"{folder / 'test.json'} is of {measured['model_id']}: run evaluate_pad.py again")
    if manifest["bytes"] > LARGEST_BYTES:
        raise SystemExit(f"the file has {manifest['bytes']} bytes, at most {LARGEST_BYTES} may be shipped")
    shutil.copyfile(folder / "pad.tflite", WEIGHTS / "pad.tflite")
    export.write_manifest(manifest | {"evaluation": measured}, WEIGHTS / "pad.json")
    return f"shipped {manifest['model_id']}, {manifest['bytes']:,} bytes"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Join the trunks of the liveness network in an int8 file, and ship it.")
    parser.add_argument(
        "run", type=Path, help="folder of prepare_pad.py, with the trunks' runs in near and wide"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--ship", action="store_true", help="copy the measured int8 file to models/weights/")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    print(ship(args.out) if args.ship else json.dumps(export_run(args.run, args.out), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
