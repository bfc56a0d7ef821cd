"""Passive presentation attack detection: two int8 networks that tell a live face from a print or a screen.

One looks near, at the face's texture; the other looks wide, at what stands around it (docs/how/liveness.md). Each gives
its part of a logit; the share of the sum is the score.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.errors import ModelError
from device.numeric.looks import NEAR_PX, WIDE_PX, Box, Square, near_square, wide_square
from device.types import Image
from device.vision.network import ManifestKeys, Network, NetworkManifest, is_number

LOOKS = {"near": NEAR_PX, "wide": WIDE_PX}


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessManifest:
    """The manifest of the liveness networks: models/weights/pad.json.

    Scores are in [0, 1], 1 is live. From `unsure` up a face is live, from `attack` up to `unsure` the networks do not
    know, below `attack` it is a presentation attack. Both were chosen on development data.
    """

    model_id: str
    near: NetworkManifest
    wide: NetworkManifest
    unsure: float
    attack: float


def load_liveness_manifest(path: Path) -> LivenessManifest:
    """Read and check a manifest; a missing, broken or contradictory one is a ModelError naming the key."""
    keys = ManifestKeys(path)
    manifest = LivenessManifest(
        model_id=keys.text("model_id"),
        near=look_manifest(keys, "near"),
        wide=look_manifest(keys, "wide"),
        unsure=_score(keys, "unsure"),
        attack=_score(keys, "attack"),
    )
    digest = joined_digest(manifest.near.sha256, manifest.wide.sha256)
    keys.expect("model_id", manifest.model_id == f"pad-{digest}", f"'pad-{digest}', of both networks' sha256")
    keys.expect("attack", manifest.attack <= manifest.unsure, "a score not above unsure")
    return manifest


def look_manifest(keys: ManifestKeys, look: str) -> NetworkManifest:
    """Read what a liveness manifest says of the network of one look."""
    manifest = NetworkManifest(**keys.network(prefix=f"{look}."))
    side = LOOKS[look]
    keys.expect(f"{look}.input.shape", manifest.side_px == side, f"[1, {side}, {side}, 3]")
    keys.expect(f"{look}.output.shape", manifest.output.shape == (1, 1), "[1, 1], its part of the logit")
    for role, tensor in (("input", manifest.input), ("output", manifest.output)):
        keys.expect(f"{look}.{role}.dtype", tensor.dtype == "int8", "int8")
    return manifest


def joined_digest(near: str, wide: str) -> str:
    """Return the twelve digits that name a pair of networks by their sha256."""
    return hashlib.sha256(f"{near} {wide}".encode()).hexdigest()[:12]


class PadScorer:
    """Score how live a face is.

    Args:
        manifest: path of pad.json; both networks lie beside it.
        threads: of the interpreters.
    """

    def __init__(self, *, manifest: Path, threads: int) -> None:
        self.manifest = load_liveness_manifest(Path(manifest))
        self._near, self._wide = (Network(look, threads) for look in (self.manifest.near, self.manifest.wide))

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

    def score(self, image: Image, box: Box) -> float:
        """Return a score in [0, 1], 1 for live.

        Args:
            image: the whole (H, W, 3) uint8 RGB frame.
            box: the detector's box of the face (x, y, width, height) in px of the frame.

        Raises:
            ModelError: the frame is no (H, W, 3) uint8 picture.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ModelError(
                f"model {self.model_id} expects a frame (H, W, 3) uint8, received {image.shape} {image.dtype}: "
                "convert it first"
            )
        try:
            looks = near_look(image, box), wide_look(image, box)
        except ValueError:  # a box of no area is nobody's face, and no reason to end the program
            return 0.0
        return self.score_of(*looks)

    def score_of(self, near: Image, wide: Image) -> float:
        """Return the score of both looks: (128, 128, 3) and (80, 80, 3) uint8 RGB."""
        return sigmoid(float(self._near.run(near)[0]) + float(self._wide.run(wide)[0]))


def near_look(image: Image, box: Box) -> Image:
    """Return the face, NEAR_SIDES of its box wide: (128, 128, 3) uint8 RGB, black where the frame ends."""
    square = near_square(box, *image.shape[:2])
    return resized(image, square, NEAR_PX)


def wide_look(image: Image, box: Box) -> Image:
    """Return the face and what stands around it, WIDE_SIDES of its box where the frame has so much: (80, 80, 3)."""
    return resized(image, wide_square(box, *image.shape[:2]), WIDE_PX)


def resized(image: Image, square: Square, side_px: int) -> Image:
    part = image[square.top : square.bottom, square.left : square.right]
    if any(square.rim):
        part = np.asarray(cv2.copyMakeBorder(part, *square.rim, cv2.BORDER_CONSTANT), np.uint8)
    return np.asarray(cv2.resize(part, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)


def sigmoid(logit: float) -> float:
    """Return the share in [0, 1] of a logit; tanh does not overflow where exp would."""
    return 0.5 * (1.0 + math.tanh(logit / 2))


def _score(keys: ManifestKeys, key: str) -> float:
    value = keys.value(key)
    keys.expect(key, is_number(value) and 0 <= value <= 1, "a score in [0, 1]")
    return float(value)
