"""Compare the landmark network with the face mesh on LFW: places, eyes, pose, what is no face, and speed.

    python scripts/measure/evaluate_landmarks.py --lfw FOLDER [landmarks.json] --json FILE

FOLDER holds `lfw.zip` and `lfw_pairs.txt`. Both see the same square around the detector's box; errors are shares of the
distance between the eyes' centers. Where `landmarks_fp32.tflite` lies beside the int8 file, it is measured too. What
either alignment does to matching is told by `scripts/evaluate.py --alignment`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from device.errors import UsageError
from device.numeric.geometry import MESH_REGION_SCALE, apply_transform, invert_transform, mesh_region
from device.programs import Parser, run
from device.types import AlignedFace, FaceDetection, Image
from device.vision.align import LandmarkAligner, MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.vision.detect import LiteRTDetector
from device.vision.runtime import load_interpreter
from models.landmarks.file import LandmarkFile
from models.landmarks.points import LANDMARKS, PARTS, five_error, mean_error
from scripts.evaluate import MIN_SCORE, load_benchmark, nearest_center

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"
RUNS = 400  # of the speed comparison
CORNER_SHARE = 0.28  # side of a square without a face, of the photograph's
FIVE_NAMES = ("right_eye", "left_eye", "nose_tip", "right_mouth", "left_mouth")


class Comparison:
    """The detector, the mesh and the landmark network, on one photograph after the other."""

    def __init__(self, manifest: Path) -> None:
        self.detector = LiteRTDetector(model=find_asset(FACE_DETECTOR), min_score=MIN_SCORE, threads=1)
        self.mesh = MeshAligner(model=find_asset(FACE_MESH), threads=1)
        self.landmarks = LandmarkAligner(manifest=manifest, threads=1)
        single = self.landmarks.manifest.file.with_name("landmarks_fp32.tflite")
        self.single = LandmarkFile(single) if single.exists() else None
        self.faces: list[tuple[AlignedFace, AlignedFace]] = []  # by the mesh, by the landmark network
        self.single_points: list[npt.NDArray[np.float64]] = []
        self.corners: list[tuple[float, float]] = []  # presence that either sees where no face is
        self.time: dict[str, float] = {}

    def look(self, photograph: Image) -> None:
        """Add one photograph, if the detector finds a face."""
        detections = self.detector.detect(photograph)
        if not detections:
            return
        detection = nearest_center(detections, photograph)
        if not self.time:  # before anything is kept: a full memory slows large arrays down
            self.time = speed(self, photograph, detection)
        self.faces.append(
            (self.mesh.align(photograph, detection), self.landmarks.align(photograph, detection))
        )
        if self.single is not None:
            self.single_points.append(locate(self.single, photograph, detection))
        corner = free_corner(photograph, detections)
        if corner is not None:
            seen = (self.mesh.align(photograph, corner), self.landmarks.align(photograph, corner))
            self.corners.append((seen[0].presence, seen[1].presence))


def locate(file: LandmarkFile, photograph: Image, detection: FaceDetection) -> npt.NDArray[np.float64]:
    """Return (127, 2) px of the photograph, as a landmark file sees the detection."""
    to_region = mesh_region(detection.box, detection.keypoints, file.side_px)
    square = cv2.warpAffine(photograph, to_region, (file.side_px, file.side_px), flags=cv2.INTER_LINEAR)
    return apply_transform(invert_transform(to_region), file.points(square) * file.side_px)


def free_corner(photograph: Image, detections: list[FaceDetection]) -> FaceDetection | None:
    """Return a square in a corner of the photograph that overlaps no detection, as if it had been detected."""
    height, width = photograph.shape[:2]
    region = CORNER_SHARE * min(height, width)
    side, margin = region / MESH_REGION_SCALE, (region - region / MESH_REGION_SCALE) / 2
    for x, y in (
        (0.0, 0.0),
        (width - region, 0.0),
        (0.0, height - region),
        (width - region, height - region),
    ):
        if all(apart((x, y, region, region), other.box) for other in detections):
            left, top = x + margin, y + margin
            eyes = np.array([(left, top), (left + side, top)] + [(left, top)] * 4, np.float32)
            return FaceDetection(box=(left, top, side, side), score=1.0, keypoints=eyes)
    return None


def apart(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    """Say whether two boxes (x, y, width, height) do not overlap."""
    return any(
        a + a_size <= b or b + b_size <= a
        for a, a_size, b, b_size in zip(first[:2], first[2:], second[:2], second[2:], strict=True)
    )


def figures(comparison: Comparison) -> dict[str, Any]:
    """Return everything measured; errors in percent of the inter-ocular distance, angles in degrees."""
    meshes, landmarks = zip(*comparison.faces, strict=True)
    truth, guess = points_of(meshes), points_of(landmarks)
    result: dict[str, Any] = {"photographs": len(truth), "int8": errors(guess, truth)}
    if comparison.single_points:
        result["fp32"] = errors(np.stack(comparison.single_points), truth)
    result["eyes"] = eyes(meshes, landmarks)
    result["pose"] = pose(meshes, landmarks)
    result["not_a_face"] = refused(meshes, landmarks, comparison.corners)
    return result | {"time": comparison.time}


def points_of(faces: tuple[AlignedFace, ...]) -> npt.NDArray[np.float64]:
    """Return (N, 127, 2) px."""
    return np.stack([face.mesh[list(LANDMARKS), :2] for face in faces]).astype(np.float64)


def errors(guess: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the errors of all points, of each part of the face, and of the five points of the alignment."""
    points, aligned = mean_error(guess, truth), five_error(guess, truth)
    parts = np.array(PARTS)
    return {
        "error": percent(points.mean()),
        "error_median_face": percent(np.median(points.mean(axis=1))),
        "error_99th_face": percent(np.percentile(points.mean(axis=1), 99)),
        "error_parts": {part: percent(points[:, parts == part].mean()) for part in dict.fromkeys(PARTS)},
        "error_five": percent(aligned.mean()),
        "error_five_each": dict(zip(FIVE_NAMES, map(percent, aligned.mean(axis=0)), strict=True)),
    }


def eyes(meshes: tuple[AlignedFace, ...], landmarks: tuple[AlignedFace, ...]) -> dict[str, float]:
    """Compare how open the eyes are: lid distance over eye width."""
    truth, guess = (np.array([face.eye_openness for face in faces]) for faces in (meshes, landmarks))
    return {
        "openness_mesh": round(float(truth.mean()), 4),
        "openness_landmarks": round(float(guess.mean()), 4),
        "difference": round(float(np.abs(guess - truth).mean()), 4),
        "correlation": round(float(np.corrcoef(guess.mean(axis=1), truth.mean(axis=1))[0, 1]), 3),
    }


def pose(meshes: tuple[AlignedFace, ...], landmarks: tuple[AlignedFace, ...]) -> dict[str, float]:
    """Return the mean difference of yaw, pitch and roll."""
    truth, guess = (np.array([astuple(face.pose) for face in faces]) for faces in (meshes, landmarks))
    names = ("yaw_deg", "pitch_deg", "roll_deg")
    return dict(zip(names, np.abs(guess - truth).mean(axis=0).round(2).tolist(), strict=True))


def refused(
    meshes: tuple[AlignedFace, ...], landmarks: tuple[AlignedFace, ...], corners: list[tuple[float, float]]
) -> dict[str, Any]:
    """Return the share of faces, and of squares without a face, of which either says that there is none."""
    corner = np.array(corners or [(np.nan, np.nan)])
    return {
        "corners": len(corners),
        "corners_refused_by_mesh": percent((corner[:, 0] < 0).mean()),
        "corners_refused_by_landmarks": percent((corner[:, 1] < 0).mean()),
        "faces_refused_by_mesh": percent(np.mean([face.presence < 0 for face in meshes])),
        "faces_refused_by_landmarks": percent(np.mean([face.presence < 0 for face in landmarks])),
    }


def percent(share: float) -> float:
    return round(100 * float(share), 2)


def speed(comparison: Comparison, photograph: Image, detection: FaceDetection) -> dict[str, float]:
    """Return medians on one thread, run in turns: ms of the mesh, and the landmark network's share of them."""
    manifest = comparison.landmarks.manifest
    steps: dict[str, Callable[[], Any]] = {
        "mesh": load_interpreter(find_asset(FACE_MESH), 1).invoke,
        "landmarks": load_interpreter(manifest.file, 1).invoke,
        "align_mesh": lambda: comparison.mesh.align(photograph, detection),
        "align_landmarks": lambda: comparison.landmarks.align(photograph, detection),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(RUNS):
        for name, step in steps.items():
            start_s = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start_s)
    median = {name: float(np.median(taken)) for name, taken in times.items()}
    return {
        "mesh_ms": round(1e3 * median["mesh"], 2),
        "landmarks_ms": round(1e3 * median["landmarks"], 2),
        "network_share": round(median["landmarks"] / median["mesh"], 3),
        "alignment_share": round(median["align_landmarks"] / median["align_mesh"], 3),
    }


def compare(folder: Path, manifest: Path, limit: int | None) -> dict[str, Any]:
    """Look at every photograph of the pairs list, or the first `limit`."""
    names = load_benchmark(folder / "lfw_pairs.txt").names[:limit]
    comparison = Comparison(manifest)
    with zipfile.ZipFile(folder / "lfw.zip") as photographs:
        files = {name.rsplit(".", 1)[0]: name for name in photographs.namelist()}
        for name in tqdm(names, unit="photo", desc="LFW"):
            pixels = cv2.imdecode(np.frombuffer(photographs.read(files[name]), np.uint8), cv2.IMREAD_COLOR)
            comparison.look(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return {"model_id": json.loads(manifest.read_text())["model_id"]} | figures(comparison)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description="Compare the landmark network with the face mesh on LFW.")
    parser.add_argument("manifest", type=Path, nargs="?", default=WEIGHTS / "landmarks.json")
    parser.add_argument("--lfw", type=Path, required=True, help="folder with lfw.zip and lfw_pairs.txt")
    parser.add_argument("--limit", type=int, help="look at the first N photographs only")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return run("evaluate_landmarks.py", lambda: act(parser.parse_args(argv)))


def act(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    try:
        found = compare(args.lfw, args.manifest, args.limit)
    except (OSError, KeyError) as error:
        raise UsageError(f"{error}: name a folder with lfw.zip and lfw_pairs.txt") from error
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
