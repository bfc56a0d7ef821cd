"""Measure models on LFW, from the raw photographs through the board's own detector and alignment.

    python scripts/evaluate.py --lfw FOLDER [MODEL ...] --json lfw.json --picture lfw.png

FOLDER holds `lfw.zip` (Name/Name_0001.webp or .jpg) and `lfw_pairs.txt` (the official 6,000 pairs); MODEL is the name
of a shipped network or the path of a manifest, and sees faces of the side that it takes. Photographs in which the
detector finds no face count as failures: -1 to everybody. Never train on LFW, never choose settings on all of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from device.build import build_aligner, manifest_path
from device.config import Config
from device.errors import UsageError
from device.numeric.geometry import CROP_SIZE_PX
from device.programs import Parser, run
from device.types import FaceDetection, Image
from device.vision.align import crop_face
from device.vision.assets import FACE_DETECTOR, find_asset
from device.vision.detect import LiteRTDetector
from device.vision.embed import LiteRTEmbedder
from device.vision.quality import luminance
from models.training.metrics import HISTOGRAM_EDGES, AllPairs, all_pairs, lfw_accuracy

FMRS = (1e-3, 1e-4, 1e-5)
CURVE_FMRS = np.logspace(-6, -2.1, 14)
MIN_SCORE = 0.3  # a benchmark photograph shows a face for sure, so a doubtful detection is better than none


@dataclass(frozen=True)
class Benchmark:
    """LFW in memory: photograph names, each one's subject, and folds of (row, row, mated)."""

    names: list[str]
    subjects: npt.NDArray[np.int64]
    folds: list[npt.NDArray[np.int64]]


def load_benchmark(pairs_file: Path) -> Benchmark:
    """Read the official pairs list: a header "10 300", then per fold 300 mated and 300 non-mated lines."""
    try:
        lines = [line.split("\t") for line in pairs_file.read_text().splitlines()]
        benchmark = parse_pairs(lines)
    except (ValueError, IndexError) as error:
        raise UsageError(
            f"{pairs_file} is no LFW pairs list ({error}): expected its official lines"
        ) from None
    if len(np.unique(benchmark.subjects)) < 2:
        raise UsageError(f"{pairs_file} names one person: expected two or more, to compare with each other")
    return benchmark


def parse_pairs(lines: list[list[str]]) -> Benchmark:
    fold_count, per_kind = int(lines[0][0]), int(lines[0][1])
    rows: dict[str, int] = {}

    def row(name: str, number: str) -> int:
        return rows.setdefault(f"{name}/{name}_{int(number):04d}", len(rows))

    pairs = []
    for line in lines[1:]:
        mated = len(line) == 3
        second = (line[0], line[2]) if mated else (line[2], line[3])
        pairs.append((row(line[0], line[1]), row(*second), int(mated)))
    folds = np.array(pairs, np.int64).reshape(fold_count, 2 * per_kind, 3)
    names = list(rows)
    _, subjects = np.unique([name.split("/")[0] for name in names], return_inverse=True)
    return Benchmark(names, subjects.astype(np.int64), list(folds))


@dataclass(frozen=True)
class Face:
    """The face of a photograph: its (side, side, 3) uint8 RGB crop of each side, and what the door measures of it."""

    crops: dict[int, Image]
    width_px: float
    brightness: float


class FaceReader:
    """Read a photograph and bring the face nearest its center to the embedders' position."""

    def __init__(self, alignment: str, threads: int) -> None:
        self.detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=MIN_SCORE, threads=threads)
        self.aligner = build_aligner(Config(alignment=alignment, threads=threads), CROP_SIZE_PX)

    def face(self, photograph: Image, sides_px: set[int]) -> Face | None:
        """Return the face with its crop of each side, or None where none is found."""
        detections = self.detector.detect(photograph)
        if not detections:
            return None
        detection = nearest_center(detections, photograph)
        aligned = self.aligner.align(photograph, detection)
        crops = {side_px: crop_face(photograph, aligned.landmarks, side_px) for side_px in sides_px}
        return Face(crops, detection.box[2], float(luminance(aligned.measured).mean()))


def nearest_center(detections: list[FaceDetection], photograph: Image) -> FaceDetection:
    middle = np.array(photograph.shape[1::-1]) / 2

    def distance(detection: FaceDetection) -> float:
        x, y, width, height = detection.box
        return float(np.hypot(*(np.array([x + width / 2, y + height / 2]) - middle)))

    return min(detections, key=distance)


@dataclass(frozen=True)
class Embedded:
    """Photographs as the models see them: for every model (N, D) embeddings, and what was measured of each face.

    A photograph without a face is a row of zeros, NaN px wide and NaN bright.
    """

    embeddings: list[npt.NDArray[np.float32]]
    width_px: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]


def embed_all(archive: Path, names: list[str], embedders: list[LiteRTEmbedder], alignment: str) -> Embedded:
    """Embed the face of every photograph with every model."""
    sides_px = {embedder.manifest.side_px for embedder in embedders}
    found = [np.zeros((len(names), embedder.manifest.embedding_dim), np.float32) for embedder in embedders]
    width_px, brightness = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for i, face in enumerate(each_face(archive, names, sides_px, alignment)):
        if face is None:
            continue
        width_px[i], brightness[i] = face.width_px, face.brightness
        for rows, embedder in zip(found, embedders, strict=True):
            rows[i] = embedder.embed(face.crops[embedder.manifest.side_px])
    return Embedded(found, width_px, brightness)


def each_face(archive: Path, names: list[str], sides_px: set[int], alignment: str) -> Iterator[Face | None]:
    """Yield the face of every photograph, in the order of `names`."""
    reader = FaceReader(alignment, threads=1)
    with zipfile.ZipFile(archive) as photographs:
        files = {name.rsplit(".", 1)[0]: name for name in photographs.namelist()}
        missing = [name for name in names if name not in files]
        if missing:
            raise UsageError(
                f"{archive} lacks {len(missing)} photographs of the pairs list, the first is {missing[0]}"
            )
        for name in tqdm(names, unit="photo", desc="LFW"):
            pixels = cv2.imdecode(np.frombuffer(photographs.read(files[name]), np.uint8), cv2.IMREAD_COLOR)
            yield reader.face(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), sides_px)


def report(benchmark: Benchmark, embeddings: npt.NDArray[np.float32]) -> tuple[dict[str, Any], AllPairs]:
    """Return the figures of one model, and the pairs they come from."""
    folds = []
    for fold in benchmark.folds:
        first, second = embeddings[fold[:, 0]], embeddings[fold[:, 1]]
        missing = ~(first.any(axis=1) & second.any(axis=1))
        folds.append(
            (np.where(missing, -1.0, (first * second).sum(axis=1)).astype(np.float32), fold[:, 2] == 1)
        )
    accuracy, error = lfw_accuracy(folds)
    pairs = all_pairs(embeddings, benchmark.subjects)
    figures: dict[str, Any] = {
        "photographs": len(embeddings),
        "no_face_found": int((~embeddings.any(axis=1)).sum()),
        "lfw_accuracy": round(100 * accuracy, 2),
        "lfw_standard_error": round(100 * error, 2),
        "mated_pairs": len(pairs.mated),
        "non_mated_pairs": pairs.non_mated_total,
    }
    for fmr in FMRS:
        interval = {key: round(100 * value, 2) for key, value in asdict(pairs.tar_interval(fmr)).items()}
        figures[f"tar_at_{label(fmr)}"] = interval | {"threshold": round(pairs.threshold(fmr), 4)}
    figures["thresholds"] = thresholds(embeddings, benchmark.subjects)
    figures["curve"] = curve(pairs)
    return figures, pairs


def thresholds(
    embeddings: npt.NDArray[np.float32], subjects: npt.NDArray[np.int64]
) -> dict[str, dict[str, float | None]]:
    """Set a threshold per FMR on every second subject, and say what it does to the other subjects.

    Where the first half has no two people there is none; a share of pairs that the other half lacks is None.
    """
    chosen, others = (
        all_pairs(embeddings[subjects % 2 == half], subjects[subjects % 2 == half]) for half in (0, 1)
    )
    found: dict[str, dict[str, float | None]] = {}
    for fmr in FMRS if chosen.non_mated_total else ():
        threshold = round(chosen.threshold(fmr), 4)
        found[label(fmr)] = {
            "threshold": threshold,
            "fmr_on_others": share(others.non_mated >= threshold, others.non_mated_total),
            "tar_on_others": percent(share(others.mated >= threshold, len(others.mated))),
        }
    return found


def share(reached: npt.NDArray[np.bool_], total: int) -> float | None:
    """Return which share of `total` pairs reached a threshold, None of none."""
    return float(reached.sum() / total) if total else None


def percent(part: float | None) -> float | None:
    return None if part is None else round(100 * part, 2)


def curve(pairs: AllPairs) -> list[dict[str, float]]:
    """Return thresholds with the FMR of all pairs at each and its 95 % interval, rising."""
    steps = np.unique([round(pairs.threshold(fmr), 4) for fmr in CURVE_FMRS])
    return [
        {
            "threshold": float(step),
            **{
                ("fmr" if key == "value" else key): float(f"{value:.3g}")
                for key, value in asdict(found).items()
            },
        }
        for step, found in zip(steps, pairs.fmr_intervals(steps), strict=True)
    ]


def label(fmr: float) -> str:
    """Write 0.001 as "1e-3", the manifest's key."""
    return f"{fmr:.0e}".replace("e-0", "e-")


def draw(results: list[tuple[str, AllPairs]], path: Path) -> None:
    """Draw the detection error trade-off of all models and the similarity histogram of the first."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    rates = np.logspace(-6, -2.01, 80)
    for name, pairs in results:
        left.plot(rates, [max(1 - pairs.tar(rate), 1e-4) for rate in rates], label=name)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="false match rate",
        ylabel="false non-match rate",
        title="DET, all LFW pairs",
    )
    left.grid(alpha=0.3, which="both")
    left.legend()
    name, pairs = results[0]
    right.hist(pairs.mated, HISTOGRAM_EDGES, density=True, alpha=0.7, label="mated pairs")
    right.hist(
        HISTOGRAM_EDGES[:-1],
        HISTOGRAM_EDGES,
        weights=pairs.non_mated_counts,
        density=True,
        alpha=0.7,
        label="non-mated pairs",
    )
    for fmr in FMRS:
        right.axvline(pairs.threshold(fmr), color="black", linewidth=0.8, linestyle=":")
        right.text(
            pairs.threshold(fmr),
            right.get_ylim()[1] * 0.98,
            f" {label(fmr)}",
            rotation=90,
            va="top",
            fontsize=8,
        )
    right.set(xlabel="similarity", ylabel="density", title=name, xlim=(-0.4, 1))
    right.legend(loc="center right", fontsize=8)
    figure.savefig(path, dpi=110)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Measure models on LFW through the board's own detector and alignment.")
    parser.add_argument(
        "models",
        nargs="*",
        default=[Config().model],
        metavar="MODEL",
        help="names or manifests; default: the door's default",
    )
    parser.add_argument(
        "--alignment", choices=("mesh", "landmarks"), default=Config().alignment, help="what aligns the faces"
    )
    parser.add_argument("--lfw", type=Path, required=True, help="folder with lfw.zip and lfw_pairs.txt")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="write DET curve and histograms to this file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure accuracy on LFW and return the exit code."""
    return run("evaluate.py", lambda: evaluate(parse(argv)))


def check_folder(lfw: Path) -> None:
    """Refuse a folder without the benchmark's two files."""
    for name in ("lfw.zip", "lfw_pairs.txt"):
        if not (lfw / name).is_file():
            raise UsageError(f"{lfw} has no {name}: --lfw expects the folder with lfw.zip and lfw_pairs.txt")


def check_outputs(*paths: Path | None) -> None:
    """Refuse to write into a folder that is not there, before a long run rather than after it."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{path}: there is no folder {path.parent} to write to")


def evaluate(args: argparse.Namespace) -> int:
    """Check what was asked for, run it, print and write the figures."""
    check_folder(args.lfw)
    check_outputs(args.json, args.picture)
    benchmark = load_benchmark(args.lfw / "lfw_pairs.txt")
    embedders = [LiteRTEmbedder(manifest=manifest_path(model), threads=1) for model in args.models]
    embedded = embed_all(args.lfw / "lfw.zip", benchmark.names, embedders, args.alignment)
    figures, drawn = {}, []
    for embedder, rows in zip(embedders, embedded.embeddings, strict=True):
        figures[embedder.model_id], pairs = report(benchmark, rows)
        drawn.append((embedder.model_id, pairs))
        print(summary(embedder.model_id, figures[embedder.model_id]))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    if args.picture:
        draw(drawn, args.picture)
    return 0


def summary(name: str, figures: dict[str, Any]) -> str:
    tars = "  ".join(
        f"TAR@{key[7:]} {figures[key]['value']:.2f} [{figures[key]['low']:.2f}, {figures[key]['high']:.2f}]"
        for key in figures
        if key.startswith("tar_at_")
    )
    return f"{name}: LFW {figures['lfw_accuracy']:.2f} ± {figures['lfw_standard_error']:.2f}  {tars}"


if __name__ == "__main__":
    sys.exit(main())
