"""Find the training faces whose head is turned aside, by the shipped landmark network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.landmarks.data import region_transform
from models.landmarks.file import LandmarkFile
from models.landmarks.points import five

LANDMARKS = Path(__file__).resolve().parents[1] / "weights" / "landmarks.tflite"
LEAST_OFFSET = (
    0.22  # of the nose tip from the middle of eyes and mouth, in distances of the eyes: about 30 degrees
)


def turned_heads(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the rows of the (N, 112, 112, 3) faces that look aside; about 1 ms a face."""
    network = LandmarkFile(LANDMARKS)
    side = (network.side_px, network.side_px)
    to_region = region_transform(network.side_px)
    offsets = np.empty(len(images))
    for i, image in enumerate(images):
        region = cv2.warpAffine(image, to_region, side, borderMode=cv2.BORDER_REPLICATE)
        offsets[i] = nose_offset(network.points(region))
    return np.flatnonzero(np.abs(offsets) > LEAST_OFFSET)


def nose_offset(points: npt.NDArray[np.floating]) -> float:
    """Return how far (127, 2) points have the nose tip from the middle of eyes and mouth, along the line of the eyes.

    In distances of the eyes; positive toward the subject's left.
    """
    right_eye, left_eye, nose, *mouth = five(points)
    eyes = left_eye - right_eye
    middle = np.mean([right_eye, left_eye, *mouth], axis=0)
    return float((nose - middle) @ eyes / (eyes @ eyes))
