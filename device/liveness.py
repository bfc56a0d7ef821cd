"""Passive presentation attack detection: an int8 network that tells a live face from a print or a screen.

It looks at the aligned face alone, at the scale at which quality is measured too (docs/liveness.md says why).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.errors import ModelError
from device.geometry import ALIGNMENT_ID, CROP_SIZE_PX
from device.network import ManifestKeys, Network, NetworkManifest, is_number
from device.types import AlignedFace, Image

_FACE_SHAPE = (CROP_SIZE_PX, CROP_SIZE_PX, 3)


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
        **keys.network(),
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
    keys.expect("input.shape", manifest.side_px == CROP_SIZE_PX, f"[1, {CROP_SIZE_PX}, {CROP_SIZE_PX}, 3]")
    keys.expect("output.shape", manifest.output.shape == (1, 1), "[1, 1], one logit")
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
            image: the whole (H, W, 3) uint8 RGB frame, for networks that look around the face; this one does not.
            face: its `measured` crop is what the network sees.
        """
        crop = face.measured
        if crop.shape != _FACE_SHAPE or crop.dtype != np.uint8:
            raise ModelError(
                f"model {self.model_id} expects an aligned face {_FACE_SHAPE} uint8, received {crop.shape} "
                f"{crop.dtype}: align it first"
            )
        return sigmoid(float(self._network.run(crop)[0]))


def sigmoid(logit: float) -> float:
    """Return the share in [0, 1] of a logit; tanh does not overflow where exp would."""
    return 0.5 * (1.0 + math.tanh(logit / 2))


def _score(keys: ManifestKeys, key: str) -> float:
    value = keys.value(key)
    keys.expect(key, is_number(value) and 0 <= value <= 1, "a score in [0, 1]")
    return float(value)
