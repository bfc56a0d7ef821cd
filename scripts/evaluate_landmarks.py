"""Compare the landmark network with the face mesh on LFW: places, eyes, pose, speed, and what it does to matches.

    python scripts/evaluate_landmarks.py --lfw FOLDER [landmarks.json] [--embedder MANIFEST ...] --json FILE

FOLDER holds `lfw.zip` and `lfw_pairs.txt`. Both networks see the same square around the detector's box; errors are
shares of the distance between the eyes' centers. Where `NAME_fp32.tflite` lies beside the int8 file, it is measured
too. Each embedder is measured on crops aligned by the mesh and by the landmark network.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from device.align import MeshAligner
from device.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.detect import LiteRTDetector
from device.embed import LiteRTEmbedder
from device.errors import FaceUnlockError, UsageError
from device.geometry import (
    CROP_SIZE_PX,
    REFERENCE_POINTS,
    apply_transform,
    invert_transform,
    mesh_region,
    similarity_transform,
)
from device.types import FaceDetection, Image
from models.landmark_file import LandmarkFile
from models.landmarks import LANDMARKS, PARTS, five, five_error, mean_error, misfit, openness
from scripts.evaluate import MIN_SCORE, Benchmark, load_benchmark, nearest_center, report

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"
RUNS = 400  # of the speed comparison
BACKGROUND_SHARE = 0.4  # side of a square without a face, of the photograph's


@dataclass
class Findings:
    """What was seen on the photographs, one entry each; rows of `embeddings` are zero where no face was found."""

    mesh: list[npt.NDArray[np.float64]] = field(default_factory=list)
    guesses: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=dict)
    background: list[tuple[float, float]] = field(default_factory=list)  # misfit, presence
    presence: list[float] = field(default_factory=list)
    embeddings: dict[tuple[str, str], npt.NDArray[np.float32]] = field(default_factory=dict)
    without_face: int = 0


class Comparison:
    """The detector, the mesh, the landmark files and the embedders, on one photograph after the other."""

    def __init__(self, manifest: Path, embedders: list[LiteRTEmbedder], photographs: int) -> None:
        values = json.loads(manifest.read_text())
        self.model_id, self.limit = values["model_id"], float(values["largest_misfit"])
        self.shape = np.array(values["mean_shape"])
        int8 = manifest.parent / values["file"]
        single = int8.with_name(f"{int8.stem}_fp32.tflite")
        self.files = {"int8": LandmarkFile(int8)} | (
            {"fp32": LandmarkFile(single)} if single.exists() else {}
        )
        self.detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=MIN_SCORE, threads=1)
        self.mesh = MeshAligner(model=find_asset(FACE_MESH), threads=1)
        self.embedders = embedders
        self.found = Findings(guesses={kind: [] for kind in self.files})
        for embedder in embedders:
            for kind in ("mesh", *self.files):
                size = (photographs, embedder.manifest.embedding_dim)
                self.found.embeddings[embedder.model_id, kind] = np.zeros(size, np.float32)

    def look(self, row: int, photograph: Image) -> None:
        """Add one photograph."""
        detections = self.detector.detect(photograph)
        if not detections:
            self.found.without_face += 1
            return
        detection = nearest_center(detections, photograph)
        face = self.mesh.align(photograph, detection)
        self.found.mesh.append(face.mesh[list(LANDMARKS), :2].astype(np.float64))
        self.found.presence.append(face.presence)
        self.embed(row, "mesh", face.image)
        for kind, file in self.files.items():
            points = locate(file, photograph, detection)
            self.found.guesses[kind].append(points)
            self.embed(row, kind, crop(photograph, points))
        self.look_elsewhere(photograph, detections)

    def embed(self, row: int, kind: str, face: Image) -> None:
        for embedder in self.embedders:
            self.found.embeddings[embedder.model_id, kind][row] = embedder.embed(face)

    def look_elsewhere(self, photograph: Image, detections: list[FaceDetection]) -> None:
        """Add what both networks say of a square in a corner, if there is one that no detection touches."""
        corner = free_corner(photograph, detections)
        if corner is not None:
            points = locate(self.files["int8"], photograph, corner)
            presence = self.mesh.align(photograph, corner).presence
            self.found.background.append((misfit(points, self.shape), presence))


def locate(file: LandmarkFile, photograph: Image, detection: FaceDetection) -> npt.NDArray[np.float64]:
    """Return (127, 2) px of the photograph, as a landmark file sees the detection."""
    to_region = mesh_region(detection.box, detection.keypoints, file.side_px)
    square = cv2.warpAffine(photograph, to_region, (file.side_px, file.side_px), flags=cv2.INTER_LINEAR)
    return apply_transform(invert_transform(to_region), file.points(square) * file.side_px)


def crop(photograph: Image, points: npt.NDArray[np.float64]) -> Image:
    """Return the (112, 112, 3) aligned face."""
    matrix = similarity_transform(five(points), REFERENCE_POINTS)
    return cv2.warpAffine(photograph, matrix, (CROP_SIZE_PX, CROP_SIZE_PX), flags=cv2.INTER_LINEAR)


def free_corner(photograph: Image, detections: list[FaceDetection]) -> FaceDetection | None:
    """Return a square in a corner of the photograph that overlaps no detection, as if it had been detected."""
    height, width = photograph.shape[:2]
    side = BACKGROUND_SHARE * min(height, width) / 1.5
    for left, top in ((0.0, 0.0), (width - side, 0.0), (0.0, height - side), (width - side, height - side)):
        if all(apart((left, top, side, side), other.box) for other in detections):
            eyes = np.array([(left, top), (left + side, top)] + [(left, top)] * 4, np.float32)
            return FaceDetection(box=(left, top, side, side), score=1.0, keypoints=eyes)
    return None


def apart(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    return any(
        a + a_size <= b or b + b_size <= a
        for a, a_size, b, b_size in zip(first[:2], first[2:], second[:2], second[2:], strict=True)
    )


def figures(comparison: Comparison, benchmark: Benchmark) -> dict[str, Any]:
    """Return everything measured, errors in percent of the inter-ocular distance."""
    found = comparison.found
    truth = np.stack(found.mesh)
    result: dict[str, Any] = {
        "model_id": comparison.model_id,
        "photographs": len(truth),
        "no_face_found": found.without_face,
    }
    for kind, guesses in found.guesses.items():
        result[kind] = errors(np.stack(guesses), truth)
    faces = np.array([misfit(points, comparison.shape) for points in found.guesses["int8"]])
    background = np.array(found.background)
    result["not_a_face"] = {
        "background_squares": len(background),
        "background_refused": percent((background[:, 0] > comparison.limit).mean()),
        "background_refused_by_mesh": percent((background[:, 1] < 0).mean()),
        "faces_refused": percent((faces > comparison.limit).mean()),
        "faces_refused_by_mesh": percent((np.array(found.presence) < 0).mean()),
    }
    result["time_over_mesh"] = speed(comparison)
    result["matching"] = {
        f"{model}, {kind}": report(benchmark, rows)[0] for (model, kind), rows in found.embeddings.items()
    }
    return result


def errors(guess: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return errors of all points, of each part and of the five, and what eyes' openness differs by."""
    points, aligned = mean_error(guess, truth), five_error(guess, truth)
    parts = np.array(PARTS)
    opened, truly = openness(guess), openness(truth)
    names = ("right_eye", "left_eye", "nose_tip", "right_mouth", "left_mouth")
    return {
        "error": percent(points.mean()),
        "error_median_face": percent(np.median(points.mean(axis=1))),
        "error_99th_face": percent(np.percentile(points.mean(axis=1), 99)),
        "error_parts": {part: percent(points[:, parts == part].mean()) for part in dict.fromkeys(PARTS)},
        "error_five": percent(aligned.mean()),
        "error_five_each": dict(zip(names, map(percent, aligned.mean(axis=0)), strict=True)),
        "openness_mesh": round(float(truly.mean()), 4),
        "openness_difference": round(float(np.abs(opened - truly).mean()), 4),
        "openness_correlation": round(float(np.corrcoef(opened.mean(axis=1), truly.mean(axis=1))[0, 1]), 3),
    }


def percent(share: float) -> float:
    return round(100 * float(share), 2)


def speed(comparison: Comparison) -> dict[str, float]:
    """Return the median time of each landmark file over that of the mesh, in turns, one thread."""
    networks = {"mesh": comparison.mesh._interpreter.invoke}
    networks |= {kind: file.invoke for kind, file in comparison.files.items()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(RUNS):
        for name, invoke in networks.items():
            start_s = time.perf_counter()
            invoke()
            times[name].append(time.perf_counter() - start_s)
    mesh_s = float(np.median(times.pop("mesh")))
    return {"mesh_ms": round(1e3 * mesh_s, 2)} | {
        kind: round(float(np.median(taken)) / mesh_s, 3) for kind, taken in times.items()
    }


def compare(folder: Path, manifest: Path, embedders: list[Path], limit: int | None) -> dict[str, Any]:
    benchmark = load_benchmark(folder / "lfw_pairs.txt")
    comparison = Comparison(
        manifest, [LiteRTEmbedder(manifest=path, threads=1) for path in embedders], len(benchmark.names)
    )
    with zipfile.ZipFile(folder / "lfw.zip") as photographs:
        files = {name.rsplit(".", 1)[0]: name for name in photographs.namelist()}
        for row, name in enumerate(tqdm(benchmark.names[:limit], unit="photo", desc="LFW")):
            pixels = cv2.imdecode(np.frombuffer(photographs.read(files[name]), np.uint8), cv2.IMREAD_COLOR)
            comparison.look(row, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return figures(comparison, benchmark)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the landmark network with the face mesh on LFW.")
    parser.add_argument("manifest", type=Path, nargs="?", default=WEIGHTS / "landmarks.json")
    parser.add_argument("--lfw", type=Path, required=True, help="folder with lfw.zip and lfw_pairs.txt")
    parser.add_argument("--embedder", type=Path, nargs="*", default=[], help="manifests of embedders")
    parser.add_argument("--limit", type=int, help="look at the first N photographs only")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    try:
        found = compare(args.lfw, args.manifest, args.embedder, args.limit)
    except FaceUnlockError as error:
        print(f"evaluate_landmarks.py: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, KeyError) as error:
        fault = UsageError(f"{error}: name a folder with lfw.zip, and an exported landmarks.json")
        print(f"evaluate_landmarks.py: {fault}", file=sys.stderr)
        return fault.exit_code
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
