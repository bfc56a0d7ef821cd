"""Align a detected face by MediaPipe's face mesh: eyes, nose and mouth in one place for the embedder.

The mesh network: "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019, arXiv
1907.06724.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import ModelError
from device.geometry import (
    CROP_SIZE_PX,
    REFERENCE_POINTS,
    apply_transform,
    five_points,
    head_pose,
    invert_transform,
    mesh_region,
    similarity_transform,
)
from device.runtime import load_interpreter, tensor_indexes
from device.types import AlignedFace, FaceDetection, Image

MESH_INPUT_PX = 192
_INPUT_SHAPE = (1, MESH_INPUT_PX, MESH_INPUT_PX, 3)
_MESH_SHAPE, _PRESENCE_SHAPE = (1, 1, 1, 468 * 3), (1, 1, 1, 1)


class MeshAligner:
    """Find 468 points in a detection and cut out the 112x112 crop that the embedder was trained on."""

    def __init__(self, *, model: Path, threads: int) -> None:
        self._interpreter = load_interpreter(model, threads)
        self._input, self._mesh, self._presence = _check_network(self._interpreter, model)

    def align(self, image: Image, detection: FaceDetection) -> AlignedFace:
        """Return the aligned face of a detection in an (H, W, 3) uint8 RGB image; what lies outside is black.

        It always returns a crop: `presence` below 0 says that the mesh saw no face in it.
        """
        to_region = mesh_region(detection.box, detection.keypoints, MESH_INPUT_PX)
        region = _warp(image, to_region, MESH_INPUT_PX)
        mesh, presence = self._run(region, to_region)
        landmarks = five_points(mesh)
        crop = _warp(image, similarity_transform(landmarks, REFERENCE_POINTS), CROP_SIZE_PX)
        return AlignedFace(
            image=crop, landmarks=landmarks, mesh=mesh, presence=presence, pose=head_pose(mesh)
        )

    def _run(
        self, region: Image, to_region: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float32], float]:
        """Return the (468, 3) mesh in frame pixels, z in the same unit, and the presence logit."""
        self._interpreter.set_tensor(self._input, region[None].astype(np.float32) / 255)
        self._interpreter.invoke()
        mesh = self._interpreter.get_tensor(self._mesh).reshape(468, 3).astype(np.float64)
        to_frame = invert_transform(to_region)
        scale = float(np.hypot(to_frame[0, 0], to_frame[1, 0]))
        in_frame = np.column_stack([apply_transform(to_frame, mesh[:, :2]), mesh[:, 2] * scale])
        return in_frame.astype(np.float32), float(self._interpreter.get_tensor(self._presence).item())


def _warp(image: Image, matrix: npt.NDArray[np.float64], side_px: int) -> Image:
    return cv2.warpAffine(image, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )


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
