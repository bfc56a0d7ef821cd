"""Turn a trained landmark run into an int8 file, compare it with fp32 on held-out faces, and ship it.

    python scripts/train/quantize_landmarks.py runs/landmarks --data FACES --labels runs/landmarks/labels.npz \\
        --out runs/landmarks/export
    python scripts/measure/evaluate_landmarks.py --lfw LFW runs/landmarks/export/landmarks.json \\
        --embedder models/weights/mobilefacenet.json --json runs/landmarks/export/lfw.json
    python scripts/train/quantize_landmarks.py runs/landmarks --out runs/landmarks/export --ship

The first writes landmarks.tflite (int8), landmarks_fp32.tflite and landmarks.json. `--ship` copies the int8 file and
its manifest, with the figures of lfw.json, to models/weights/.
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
        "quantize_landmarks.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

from device.numeric.face_shape import misfit
from device.programs import Parser
from models.int8 import export
from models.int8.split_depthwise import split_global_depthwise
from models.landmarks.data import Labels, Views, load_labels, region_points
from models.landmarks.file import LandmarkFile
from models.landmarks.points import LANDMARKS, five_error, mean_error
from models.networks.landmarks import INPUT_PX, Places
from models.training.data import FaceCrops, load_crops
from models.training.runs import load_network

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"
CALIBRATION_VIEWS = 400
HELD_OUT_VIEWS = 2_000
SEED = 7
LARGEST_BYTES = 1_000_000
FACES_THAT_FIT = 99.9  # percent of held-out faces that are still taken for one


def export_run(run: Path, data: Path, labels_file: Path, folder: Path) -> dict[str, Any]:
    """Write both files and the manifest to `folder`; return what was measured on held-out faces."""
    network, training = load_network(run)
    labels = load_labels(labels_file)
    crops = load_crops(data, len(labels.points))
    folder.mkdir(parents=True, exist_ok=True)
    single, int8 = folder / "landmarks_fp32.tflite", folder / "landmarks.tflite"
    export.to_litert(network, single)
    known = np.flatnonzero(labels.kept & ~crops.held_out)
    samples, _ = Views(crops.images, labels.points, known, INPUT_PX).pictures(
        min(CALIBRATION_VIEWS, len(known)), SEED
    )
    to_int8(single, samples, int8)
    unexpected = export.operators(int8) - export.INT8_OPERATORS
    if unexpected:
        raise SystemExit(
            f"{int8} has operators that int8 kernels do not run: {', '.join(sorted(unexpected))}"
        )
    shape = region_points(labels.points[known].mean(axis=0, dtype=np.float64), INPUT_PX) / INPUT_PX
    figures = held_out(crops, labels, (single, int8), shape)
    values = export.manifest("landmarks", int8, {}, training=training, held_out=figures)
    for key in ("embedding_dim", "alignment", "thresholds"):  # an embedder's
        del values[key]
    export.write_manifest(
        values
        | {
            "points": list(LANDMARKS),
            "mean_shape": np.round(shape, 5).tolist(),
            "largest_misfit": figures["largest_misfit"],
        },
        folder / "landmarks.json",
    )
    return figures


def to_int8(single: Path, samples: npt.NDArray[np.uint8], path: Path) -> None:
    """Quantize as `export.to_int8` does, but let the output hold every place from 0 to 1.

    The samples' mean extremes would clip the chin of a face that lies low in its square.
    """
    job = quantizer.Quantizer(str(single))
    job.load_quantization_recipe(recipe.static_wi8_ai8())
    signature, inputs = next(iter(Interpreter(str(single)).get_signature_list().items()))
    faces = [{inputs["inputs"][0]: export.normalize(image[None])} for image in export.with_extremes(samples)]
    ranges = job.calibrate({signature: faces})
    output = Interpreter(str(single)).get_output_details()[0]["name"]
    for name, values in ranges.items():
        if name == output or Places.__name__ in name:
            values["min"], values["max"] = np.zeros_like(values["min"]), np.ones_like(values["max"])
    path.unlink(missing_ok=True)
    job.quantize(ranges).export_model(str(path))
    split_global_depthwise(
        path, [export.normalize(image[None]) for image in samples[: export.SPLITTING_FACES]]
    )


def held_out(
    crops: FaceCrops, labels: Labels, files: tuple[Path, Path], shape: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Measure fp32 and int8 on loose views of held-out faces, and on views without a face."""
    rows = np.flatnonzero(labels.kept & crops.held_out)
    count = min(HELD_OUT_VIEWS, len(rows))
    pictures, truth = Views(crops.images, labels.points, rows, INPUT_PX, p_nothing=0).pictures(count, SEED)
    nothing, _ = Views(crops.images, labels.points, rows, INPUT_PX, p_nothing=1).pictures(count, SEED)
    figures: dict[str, float] = {"views": count}
    for kind, file in zip(("fp32", "int8"), map(LandmarkFile, files), strict=True):
        guess = file.all_points(pictures)
        figures[f"error_{kind}"] = float(mean_error(guess, truth).mean())
        figures[f"error_five_{kind}"] = float(five_error(guess, truth).mean())
    misfits, strange = (
        np.array([misfit(points, shape, LANDMARKS) for points in found])
        for found in (guess, file.all_points(nothing))
    )
    figures["largest_misfit"] = float(np.percentile(misfits, FACES_THAT_FIT))
    figures["no_face_refused"] = float((strange > figures["largest_misfit"]).mean())
    return {key: round(value, 5) for key, value in figures.items()}


def ship(folder: Path) -> str:
    """Copy the int8 file with its measured figures to models/weights/; return a line of what was shipped."""
    manifest = json.loads((folder / "landmarks.json").read_text())
    measured = json.loads((folder / "lfw.json").read_text())
    if measured["model_id"] != manifest["model_id"]:
        raise SystemExit(
            f"{folder / 'lfw.json'} is of {measured['model_id']}: run evaluate_landmarks.py again"
        )
    if manifest["bytes"] > LARGEST_BYTES:
        raise SystemExit(f"the file has {manifest['bytes']} bytes, at most {LARGEST_BYTES} may be shipped")
    shutil.copyfile(folder / "landmarks.tflite", WEIGHTS / "landmarks.tflite")
    export.write_manifest(manifest | {"evaluation": measured}, WEIGHTS / "landmarks.json")
    return f"shipped {manifest['model_id']}, {manifest['bytes']:,} bytes"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Turn a trained landmark run into an int8 file, and ship it.")
    parser.add_argument("run", type=Path, help="folder of the run, with checkpoint.pt")
    parser.add_argument("--data", type=Path, help="folder with index.csv and train/*.zip")
    parser.add_argument("--labels", type=Path, help="labels of the same folder (label_landmarks.py)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--ship", action="store_true", help="copy the measured int8 file to models/weights/")
    args = parser.parse_args(argv)
    if args.ship:
        print(ship(args.out))
        return 0
    if args.data is None or args.labels is None:
        parser.error("--data and --labels are needed to export")
    print(json.dumps(export_run(args.run, args.data, args.labels, args.out), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
