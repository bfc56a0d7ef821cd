"""The embedder: a quantized network on LiteRT that turns an aligned face into its embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.decide.threshold import threshold_at
from device.errors import ModelError
from device.numeric.geometry import ALIGNMENT_ID
from device.numeric.similarity import l2_normalize
from device.types import Embedding, Image
from device.vision.network import REMEDY, ManifestKeys, Network, NetworkManifest, is_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(NetworkManifest):
    """The manifest of an embedder: models/weights/<name>.json.

    `thresholds` maps an FMR to the similarity where it was measured. Templates are bound to `model_id`.
    """

    model_id: str
    embedding_dim: int
    alignment: str
    thresholds: Mapping[float, float]

    def threshold(self, fmr: float) -> float:
        """Return the similarity threshold for a false match rate.

        Between two rates of the manifest it is interpolated; beyond them nothing was measured: a ModelError.
        """
        try:
            return threshold_at(self.thresholds, fmr)
        except ValueError:
            listed = ", ".join(f"{rate:g}" for rate in sorted(self.thresholds, reverse=True))
            raise ModelError(
                f"model {self.model_id} has no threshold for FMR {fmr:g}: "
                f"choose one of {listed}, or between them"
            ) from None


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; a missing, broken or contradictory one is a ModelError naming the key."""
    keys = ManifestKeys(path)
    manifest = Manifest(
        **keys.network(),
        model_id=keys.text("model_id"),
        embedding_dim=keys.integer("embedding_dim"),
        alignment=keys.text("alignment"),
        thresholds=_thresholds(keys),
    )
    keys.expect(
        "model_id", manifest.model_id.endswith(manifest.sha256[:12]), "a name ending with sha256[:12]"
    )
    keys.expect("output.shape", manifest.output.shape == (1, manifest.embedding_dim), "[1, embedding_dim]")
    keys.expect(
        "alignment", manifest.alignment == ALIGNMENT_ID, f"{ALIGNMENT_ID!r}, the alignment of this release"
    )
    return manifest


class LiteRTEmbedder:
    """Turn an aligned face into its embedding.

    Args:
        manifest: path of the network's .json; the network lies beside it.
        threads: of the interpreter.
    """

    def __init__(self, *, manifest: Path, threads: int) -> None:
        self.manifest = load_manifest(Path(manifest))
        self._face_shape = (self.manifest.side_px, self.manifest.side_px, 3)
        self._network = Network(self.manifest, threads)

    @property
    def model_id(self) -> str:
        return self.manifest.model_id

    def embed(self, face: Image) -> Embedding:
        """Return the (D,) float32 embedding, L2 norm 1, of an aligned face, (S, S, 3) uint8 RGB, S the manifest's."""
        if face.shape != self._face_shape or face.dtype != np.uint8:
            raise ModelError(
                f"model {self.model_id} expects an aligned face {self._face_shape} uint8, received {face.shape} "
                f"{face.dtype}: align it first"
            )
        try:
            return l2_normalize(self._network.run(face))
        except ValueError as fault:
            raise ModelError(
                f"model {self.model_id} gave an embedding without direction ({fault}): {REMEDY}"
            ) from fault


def _thresholds(keys: ManifestKeys) -> Mapping[float, float]:
    key, what = "thresholds", "similarities by FMR, as {'1e-3': 0.3, '1e-4': 0.4}, rising as the FMR falls"
    pairs = keys.value(key)
    keys.expect(key, isinstance(pairs, dict) and len(pairs) > 0, what)
    try:
        known = {float(rate): value for rate, value in pairs.items()}
    except ValueError:
        known = {}
    ordered = [known[rate] for rate in sorted(known, reverse=True)]
    keys.expect(key, bool(known) and all(0 < rate < 1 for rate in known), what)
    keys.expect(key, all(is_number(value) and -1 <= value <= 1 for value in ordered), what)
    keys.expect(key, ordered == sorted(ordered), what)
    return {rate: float(value) for rate, value in known.items()}
