"""Align a detected face: eyes, nose and mouth in one place for the embedder, by MediaPipe's face mesh or by this
project's own landmark network.

Both look at the same square around the detection and find points of the same numbering, so all that follows is shared.
The mesh network: "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019, arXiv 1907.06724.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import ModelError
from device.numeric.face_shape import NEEDED_POINTS, as_mesh, flat_head_pose, misfit
from device.numeric.geometry import (
    CROP_SIZE_PX,
    MESH_POINTS,
    Floats,
    apply_transform,
    eye_openness,
    five_points,
    head_pose,
    invert_transform,
    mesh_region,
    reference_points,
    similarity_transform,
)
from device.types import AlignedFace, FaceDetection, HeadPose, Image, Points
from device.vision.network import ManifestKeys, Network, NetworkManifest, is_integer, is_number
from device.vision.runtime import load_interpreter, tensor_indexes

MESH_INPUT_PX = 192
# Logit from which on the mesh is not asked again: the surest of 1,343 inverted LFW faces had 15.7, four in five of the
# upright ones have more than 18.
SURE_PRESENCE = 18.0
EYES_EXCHANGED = [
    1,
    0,
    2,
    3,
    5,
    4,
]  # this order of the keypoints turns the square about a face by 180 degrees
_INPUT_SHAPE = (1, MESH_INPUT_PX, MESH_INPUT_PX, 3)
_MESH_SHAPE, _PRESENCE_SHAPE = (1, 1, 1, MESH_POINTS * 3), (1, 1, 1, 1)


class MeshAligner:
    """Find 468 points in a detection and cut out the crop of `crop_px` that the embedder was trained on."""

    def __init__(self, *, model: Path, threads: int, crop_px: int = CROP_SIZE_PX) -> None:
        self._crop_px = crop_px
        self._interpreter = load_interpreter(model, threads)
        self._input, self._mesh, self._presence = _check_network(self._interpreter, model)

    def align(self, image: Image, detection: FaceDetection) -> AlignedFace:
        """Return the aligned face of a detection in an (H, W, 3) uint8 RGB image; what lies outside is black.

        It always returns a crop: `presence` below 0 says that the mesh saw no face in it.
        """
        region, to_frame = _cut_region(image, detection, MESH_INPUT_PX)
        mesh, presence = self._run(region, to_frame)
        return _aligned(image, mesh, presence, head_pose(mesh), self._crop_px)

    def is_upright(self, image: Image, detection: FaceDetection, face: AlignedFace) -> bool:
        """Say whether the aligned face of a detection stands upright, and not on its head; NaN does not.

        The detector finds inverted faces too and puts the eyes where it expects them, on top; the points that follow
        pass every other check. But the mesh is surer of such a face when it sees it the right way up.
        """
        if face.presence >= SURE_PRESENCE:
            return True
        inverted = replace(detection, keypoints=detection.keypoints[EYES_EXCHANGED])
        _, presence = self._run(*_cut_region(image, inverted, MESH_INPUT_PX))
        return face.presence > presence

    def _run(self, region: Image, to_frame: Floats) -> tuple[npt.NDArray[np.float32], float]:
        """Return the (468, 3) mesh in frame pixels, z in the same unit, and the presence logit."""
        self._interpreter.set_tensor(self._input, region[None].astype(np.float32) / 255)
        self._interpreter.invoke()
        mesh = self._interpreter.get_tensor(self._mesh).reshape(MESH_POINTS, 3).astype(np.float64)
        scale = float(np.hypot(to_frame[0, 0], to_frame[1, 0]))
        in_frame = np.column_stack([apply_transform(to_frame, mesh[:, :2]), mesh[:, 2] * scale])
        return in_frame.astype(np.float32), float(self._interpreter.get_tensor(self._presence).item())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LandmarkManifest(NetworkManifest):
    """The manifest of a landmark network: models/weights/landmarks.json.

    `points` are the numbers in the mesh of its N points, in the output's order; `mean_shape` (N, 2) is their usual
    place in the square; beyond `largest_misfit` to that shape, a share of its eyes' distance, the points are no face's.
    """

    points: tuple[int, ...]
    mean_shape: Floats
    largest_misfit: float


def load_landmark_manifest(path: Path) -> LandmarkManifest:
    """Read and check a manifest; a missing, broken or contradictory one is a ModelError naming the key."""
    keys = ManifestKeys(path)
    network, points, shape = keys.network(), keys.value("points"), keys.value("mean_shape")
    what = f"different numbers below {MESH_POINTS}, those of eyes, nose and mouth among them"
    keys.expect("points", isinstance(points, list) and all(map(is_integer, points)), what)
    keys.expect("points", set(range(MESH_POINTS)) >= set(points) >= NEEDED_POINTS, what)
    keys.expect("points", len(set(points)) == len(points), what)
    keys.expect("mean_shape", _is_shape(shape, len(points)), f"{len(points)} different places [x, y]")
    keys.expect("largest_misfit", keys.number("largest_misfit") > 0, "a number above 0")
    for role in ("input", "output"):
        keys.expect(f"{role}.dtype", network[role].dtype == "int8", "int8")
    keys.expect("output.shape", network["output"].shape == (1, 2 * len(points)), "[1, 2 * number of points]")
    return LandmarkManifest(
        **network,
        points=tuple(points),
        mean_shape=np.array(shape, np.float64),
        largest_misfit=keys.number("largest_misfit"),
    )


class LandmarkAligner:
    """Find the points of an int8 landmark network in a detection and cut out the embedder's crop of `crop_px`.

    The network has no output that says whether there is a face. What stands in for it is the shape of its answer:
    points that are no similarity transform of a mean face, by more than the manifest's `largest_misfit`, are none.
    """

    def __init__(self, *, manifest: Path, threads: int, crop_px: int = CROP_SIZE_PX) -> None:
        self._crop_px = crop_px
        self.manifest = load_landmark_manifest(manifest)
        self._network = Network(self.manifest, threads)

    def is_upright(self, image: Image, detection: FaceDetection, face: AlignedFace) -> bool:
        """Say yes: on its head a face fits the mean shape as well, so this network cannot tell."""
        return True

    def align(self, image: Image, detection: FaceDetection) -> AlignedFace:
        """Return the aligned face of a detection in an (H, W, 3) uint8 RGB image; what lies outside is black.

        It always returns a crop: `presence` is 1 for points just as the mean face's and below 0 for no face's.
        """
        region, to_frame = _cut_region(image, detection, self.manifest.side_px)
        points = self._network.run(region).reshape(-1, 2)  # shares of the square's side
        known = self.manifest.points
        presence = 1 - misfit(points, self.manifest.mean_shape, known) / self.manifest.largest_misfit
        mesh = as_mesh(apply_transform(to_frame, points * self.manifest.side_px), known)
        return _aligned(image, mesh, presence, flat_head_pose(mesh), self._crop_px)


def crop_face(image: Image, landmarks: Points, side_px: int) -> Image:
    """Return the (side, side, 3) crop that brings the five points to their reference places."""
    try:
        to_crop = similarity_transform(landmarks, reference_points(side_px))
    except ValueError:  # five points in one place: no face, and nothing to be seen of it
        return np.zeros((side_px, side_px, 3), np.uint8)
    return _warp(image, to_crop, side_px)


def _aligned(
    image: Image, mesh: npt.NDArray[np.float32], presence: float, pose: HeadPose, crop_px: int
) -> AlignedFace:
    """Cut out what the points say, and measure the eyes."""
    landmarks = five_points(mesh)
    crop = crop_face(image, landmarks, crop_px)
    return AlignedFace(
        image=crop,
        measured=crop if crop_px == CROP_SIZE_PX else crop_face(image, landmarks, CROP_SIZE_PX),
        landmarks=landmarks,
        mesh=mesh,
        presence=presence,
        pose=pose,
        eye_openness=eye_openness(mesh),
    )


def _cut_region(image: Image, detection: FaceDetection, side_px: int) -> tuple[Image, Floats]:
    """Return the square around a detection, eyes level, and the (2, 3) transform from it back to the frame."""
    to_region = mesh_region(detection.box, detection.keypoints, side_px)
    return _warp(image, to_region, side_px), invert_transform(to_region)


def _warp(image: Image, matrix: Floats, side_px: int) -> Image:
    return cv2.warpAffine(image, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )


def _is_shape(value: Any, count: int) -> bool:
    """Say whether a manifest's value is `count` pairs of numbers, not all in one place."""
    if not isinstance(value, list) or len(value) != count:
        return False
    pairs = all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in value)
    return pairs and any(pair != value[0] for pair in value)


def _check_network(interpreter: Any, model: Path) -> tuple[int, int, int]:
    """Return the tensor indexes of input, mesh and presence, by shape: names differ between exports."""
    inputs, outputs = tensor_indexes(interpreter)
    try:
        return inputs[_INPUT_SHAPE], outputs[_MESH_SHAPE], outputs[_PRESENCE_SHAPE]
    except KeyError:
        raise ModelError(
            f"{model}: expected MediaPipe's face mesh, {_INPUT_SHAPE} to {_MESH_SHAPE} and "
            f"{_PRESENCE_SHAPE}, received {', '.join(map(str, inputs))} to {', '.join(map(str, outputs))}: "
            "run scripts/fetch_models.py"
        ) from None
