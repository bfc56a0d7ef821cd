"""Compare the shipped embedders: size, speed, accuracy, their papers, error by group.

    .venv-train/bin/python scripts/measure/compare_models.py --lfw LFW [--faces FACES] [MODEL ...]
        [--limit N] [--rounds N] [--out FILE] [--picture FILE]

MODEL is the name of a shipped network or the path of a manifest; without one, every embedder of models/weights is
compared. Accuracy comes from the manifests, where scripts/train/quantize.py recorded it. Times are of this machine: all
networks interleaved, int8 as shipped and fp32 exported here. LFW holds `lfw.zip` and `lfw_pairs.txt`, FACES is a folder
of training faces (docs/research/train.md): with them error by group is measured too, else the page does without.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# First, since it sets the threads of numpy's libraries, which they read when they are loaded.
from device.programs import Parser, run

from scripts.measure.timed import interleave, median_interval, network_call, pinned, processor  # isort: skip

import cv2

from device.build import WEIGHTS, manifest_path
from device.config import MODELS, Config
from device.errors import UsageError
from device.vision.embed import LiteRTEmbedder, load_manifest
from scripts.evaluate import check_folder, check_outputs, embed_all, load_benchmark
from scripts.measure.group_errors import LfwGroups, Origin, by_origin, lfw_groups
from scripts.measure.models_page import GROUP_FMRS, ORIGIN_FMR, Comparison, write_page
from scripts.measure.models_picture import draw
from scripts.measure.models_table import Row, Size

ROUNDS = 100

Manifests = dict[str, Path]  # by the network's name


def find_manifests(models: list[str], weights: Path = WEIGHTS) -> Manifests:
    """Return the manifests of the named models, or of every embedder shipped."""
    paths = [manifest_path(model) for model in models] or shipped_embedders(weights)
    if not paths:
        raise UsageError(f"{weights} holds no embedder: expected a manifest with thresholds, or name one")
    found: Manifests = {}
    for path in paths:
        name = load_manifest(path).model_id.rpartition("-")[0]
        if name in found:
            raise UsageError(f"two models are called {name}: {found[name]} and {path}; compare one of them")
        found[name] = path
    return found


def shipped_embedders(weights: Path) -> list[Path]:
    """Return the manifests with thresholds, in the order of the config's list."""
    order = {name: number for number, name in enumerate(MODELS)}
    paths = sorted(weights.glob("*.json"), key=lambda path: (order.get(path.stem, len(order)), path.stem))
    return [path for path in paths if '"thresholds"' in path.read_text()]


def export_fp32(manifests: dict[str, dict[str, Any]], folder: Path) -> dict[str, Size]:
    """Write NAME.tflite in float32, random weights, of every network that is known; return their sizes."""
    import torch

    from models.int8.export import to_litert
    from models.int8.quantization_aware import int8_activations
    from models.networks.blocks import multiply_adds
    from models.networks.registry import NETWORKS, make_network

    sizes = {}
    for name, manifest in manifests.items():
        recipe = manifest.get("training", {}).get("recipe", {})
        if recipe.get("network") not in NETWORKS:
            continue
        torch.manual_seed(0)
        network = make_network(
            recipe["network"], recipe["act"], recipe.get("dim", 0), recipe.get("width", 0.0)
        ).eval()
        sizes[name] = Size(
            sum(weight.numel() for weight in network.parameters()),
            multiply_adds(network, torch.zeros(1, 3, *network.input_px)),
            recipe.get("width") or 1.0,
        )
        to_litert(int8_activations(network), folder / f"{name}.tflite")
    return sizes


def time_networks(manifests: Manifests, fp32: Path, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Time every int8 file and every fp32 file that there is, in turn; return medians in ms by name and precision."""
    files = {(name, "int8"): load_manifest(path).file for name, path in manifests.items()}
    files |= {(name, "fp32"): fp32 / f"{name}.tflite" for name in manifests}
    with pinned():
        calls = {" ".join(key): network_call(file) for key, file in files.items() if file.is_file()}
        seconds = interleave(calls, rounds)
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in manifests}
    for key, values in seconds.items():
        name, precision = key.rsplit(" ", 1)
        found[name][precision] = median_interval(values * 1000)
    return found


def measure_rows(manifests: Manifests, rounds: int) -> list[Row]:
    """Read what is recorded, and time the networks."""
    recorded = {name: json.loads(path.read_text()) for name, path in manifests.items()}
    with tempfile.TemporaryDirectory() as folder:
        sizes = export_fp32(recorded, Path(folder))
        times = time_networks(manifests, Path(folder), rounds)
    return [Row(recorded[name], sizes.get(name), times[name]) for name in manifests]


def evaluated(manifests: Manifests) -> tuple[dict[str, LiteRTEmbedder], dict[str, dict[str, float]]]:
    """Return the embedders whose thresholds were measured, and these; before evaluate.py they are placeholders."""
    embedders, thresholds = {}, {}
    for name, path in manifests.items():
        recorded = json.loads(path.read_text())
        if recorded.get("evaluation", {}).get("int8"):
            embedders[name] = LiteRTEmbedder(manifest=path, threads=1)
            thresholds[name] = recorded["thresholds"]
    return embedders, thresholds


def measure_groups(manifests: Manifests, lfw: Path, limit: int | None) -> LfwGroups | None:
    """Look at LFW once with every network whose thresholds were measured."""
    embedders, thresholds = evaluated(manifests)
    if not embedders:
        return None
    benchmark = load_benchmark(lfw / "lfw_pairs.txt")
    names = benchmark.names[:limit]
    embedded = embed_all(lfw / "lfw.zip", names, list(embedders.values()), Config().alignment)
    return lfw_groups(embedded, benchmark.subjects[: len(names)], thresholds, GROUP_FMRS)


def measure_origins(manifests: Manifests, faces: Path) -> list[Origin] | None:
    from models.training.data import HELD_OUT_ONE_IN

    embedders, thresholds = evaluated(manifests)
    at = {name: values[ORIGIN_FMR] for name, values in thresholds.items()}
    return by_origin(faces, HELD_OUT_ONE_IN, embedders, at) if embedders else None


def command(args: argparse.Namespace) -> str:
    """Write the command without this machine's paths."""
    words = [".venv-train/bin/python", "scripts/measure/compare_models.py"]
    words += ["--lfw", "LFW"] if args.lfw else []
    words += ["--faces", "FACES"] if args.faces else []
    words += ["--limit", str(args.limit)] if args.limit else []
    words += ["--rounds", str(args.rounds)] if args.rounds != ROUNDS else []
    return shlex.join([*words, *(Path(model).name for model in args.models)])


def compare(args: argparse.Namespace) -> None:
    """Check what was asked for, measure, write the page and the picture."""
    if args.lfw:
        check_folder(args.lfw)
    if args.faces and not (args.faces / "index.csv").is_file():
        raise UsageError(f"{args.faces} has no index.csv: --faces expects the folder of the training faces")
    check_outputs(args.out, args.picture)
    manifests = find_manifests(args.models)
    if find_spec("torch") is None:
        raise UsageError(
            "there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
        )
    comparison = Comparison(
        rows=measure_rows(manifests, args.rounds),
        processor=processor(),
        rounds=args.rounds,
        command=command(args),
        groups=measure_groups(manifests, args.lfw, args.limit) if args.lfw else None,
        origins=measure_origins(manifests, args.faces) if args.faces else None,
    )
    draw(comparison.rows, args.picture)
    write_page(comparison, Config().model, args.out, args.picture)
    print(f"{len(manifests)} networks compared: {args.out}, {args.picture}")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names or manifests; default: all shipped")
    parser.add_argument(
        "--lfw", type=Path, help="folder with lfw.zip and lfw_pairs.txt: error by light and size"
    )
    parser.add_argument("--faces", type=Path, help="folder with index.csv and train/*.zip: error by origin")
    parser.add_argument("--limit", type=int, help="look at the first N photographs of LFW only: a check")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds per network (default: {ROUNDS})")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "research" / "networks.md", help="the page"
    )
    parser.add_argument(
        "--picture", type=Path, default=ROOT / "docs" / "research" / "networks.png", help="the picture"
    )
    args = parser.parse_args(argv)
    for name in ("rounds", "limit"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name} expects a number above 0, received {value}")
    return args


def main(argv: list[str] | None = None) -> int:
    return run("compare_models.py", lambda: act(parse(argv)))


def act(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    compare(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
