"""Passive presentation attack detection: an int8 network that tells a live face from a print or a screen.

It takes two looks at a frame: the aligned face, for what a print or a screen does to a face, and the face with what
stands around it, for the edges of a sheet, a bezel and hands (docs/how/liveness.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.errors import ModelError
from device.numeric.geometry import (
    ALIGNMENT_ID,
    CROP_SIZE_PX,
    FACE_CENTER,
    FACE_WIDTH_PX,
    REFERENCE_POINTS,
    WIDE_LOOK,
    apply_transform,
    invert_transform,
    similarity_transform,
)
from device.types import AlignedFace, Image, Points
from device.vision.network import ManifestKeys, Network, NetworkManifest, is_number

_FACE_SHAPE = (CROP_SIZE_PX, CROP_SIZE_PX, 3)
CHANNELS = 9  # RGB of the aligned face, of the wide look, and of its mirror image


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessManifest(NetworkManifest):
    """What has to be known of a liveness network: models/weights/pad.json.

    Scores are in [0, 1], 1 is live. From `unsure` up a face is live, from `attack` up to `unsure` the network does not
    know, below `attack` it is a presentation attack. Both were chosen on development data.
    """

    model_id: str
    alignment: str
    unsure: float
    attack: float


def load_liveness_manifest(path: Path) -> LivenessManifest:
    """Read and check a manifest; a missing, broken or contradictory one is a ModelError naming the key."""
    keys = ManifestKeys(path)
    manifest = LivenessManifest(
        **keys.network(CHANNELS),
        model_id=keys.text("model_id"),
        alignment=keys.text("alignment"),
        unsure=_score(keys, "unsure"),
        attack=_score(keys, "attack"),
    )
    keys.expect(
        "model_id", manifest.model_id.endswith(manifest.sha256[:12]), "a name ending with sha256[:12]"
    )
    keys.expect(
        "alignment", manifest.alignment == ALIGNMENT_ID, f"{ALIGNMENT_ID!r}, the alignment of this release"
    )
    side = CROP_SIZE_PX
    keys.expect("input.shape", manifest.side_px == side, f"[1, {side}, {side}, {CHANNELS}]")
    keys.expect("output.shape", manifest.output.shape == (1, 2), "[1, 2], a logit a look")
    for role, tensor in (("input", manifest.input), ("output", manifest.output)):
        keys.expect(f"{role}.dtype", tensor.dtype == "int8", "int8")
    keys.expect("attack", manifest.attack <= manifest.unsure, "a score not above unsure")
    return manifest


class PadScorer:
    """Score how live an aligned face is.

    Args:
        manifest: path of the network's .json; the network lies beside it.
        threads: of the interpreter.
    """

    def __init__(self, *, manifest: Path, threads: int) -> None:
        self.manifest = load_liveness_manifest(Path(manifest))
        self._network = Network(self.manifest, threads)

    @property
    def model_id(self) -> str:
        return self.manifest.model_id

    @property
    def unsure(self) -> float:
        """Scores from here up are live."""
        return self.manifest.unsure

    @property
    def attack(self) -> float:
        """Scores below are presentation attacks."""
        return self.manifest.attack

    def score(self, image: Image, face: AlignedFace) -> float:
        """Return a score in [0, 1], 1 for live.

        Args:
            image: the whole (H, W, 3) uint8 RGB frame.
            face: where it stands in the frame, and its `measured` crop, the near look.
        """
        crop = face.measured
        if crop.shape != _FACE_SHAPE or crop.dtype != np.uint8:
            raise ModelError(
                f"model {self.model_id} expects an aligned face {_FACE_SHAPE} uint8, received {crop.shape} "
                f"{crop.dtype}: align it first"
            )
        try:
            around = wide_look(image, face.landmarks)
        except ValueError:  # five points in one place are nobody's face, and no reason to end the program
            return 0.0
        return self.score_of(crop, around)

    def score_of(self, near: Image, wide: Image) -> float:
        """Return the score of both looks, each (112, 112, 3) uint8 RGB: of the one that is less sure of a live face."""
        return sigmoid(float(self._network.run(all_looks(near, wide)).min()))


def all_looks(near: Image, wide: Image) -> Image:
    """Return what the network sees, (..., 112, 112, 9) uint8; of look and mirror image the mean is taken."""
    return np.concatenate([near, wide, wide[..., ::-1, :]], axis=-1)


def wide_look(image: Image, landmarks: Points) -> Image:
    """Return the face and what stands around it: (112, 112, 3) uint8 RGB, WIDE_LOOK face widths a side, upright.

    Args:
        image: the whole (H, W, 3) uint8 RGB frame; where it ends, its edge pixels go on.
        landmarks: the face's five points (5, 2), px of the frame; ValueError where they are one place or no numbers.
    """
    height, width = image.shape[:2]
    center, width_px = face_place(landmarks)
    side = max(1, round(WIDE_LOOK * width_px))
    left, top = (round(x - side / 2) for x in np.clip(center, 0, (width - 1, height - 1)).tolist())
    inside = image[max(0, top) : top + side, max(0, left) : left + side]
    above, before = max(0, -top), max(0, -left)
    below, after = max(0, top + side - height), max(0, left + side - width)
    square = cv2.copyMakeBorder(inside, above, below, before, after, cv2.BORDER_REPLICATE)
    look = cv2.resize(square, (CROP_SIZE_PX, CROP_SIZE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(look, np.uint8)


def face_place(landmarks: Points) -> tuple[Points, float]:
    """Return center (2,) and width of the face of five landmarks (5, 2), px of the picture they stand in."""
    to_crop = similarity_transform(landmarks, REFERENCE_POINTS)
    center = apply_transform(invert_transform(to_crop), [FACE_CENTER])[0]
    return center.astype(np.float32), FACE_WIDTH_PX / math.hypot(to_crop[0, 0], to_crop[1, 0])


def sigmoid(logit: float) -> float:
    """Return the share in [0, 1] of a logit; tanh does not overflow where exp would."""
    return 0.5 * (1.0 + math.tanh(logit / 2))


def _score(keys: ManifestKeys, key: str) -> float:
    value = keys.value(key)
    keys.expect(key, is_number(value) and 0 <= value <= 1, "a score in [0, 1]")
    return float(value)
