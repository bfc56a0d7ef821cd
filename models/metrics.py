"""Verification metrics: thresholds at a false match rate, TAR@FAR over all pairs, the LFW protocol."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pair_similarities(
    embeddings: npt.NDArray[np.float32], identities: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the cosines of all mated and of all non-mated pairs of (N, D) normalized embeddings; identity -1 is left out."""
    known = identities >= 0
    embeddings, identities = embeddings[known], identities[known]
    upper = np.triu_indices(len(embeddings), k=1)
    similarity = (embeddings @ embeddings.T)[upper]
    mated = (identities[:, None] == identities[None, :])[upper]
    return similarity[mated], similarity[~mated]


def threshold_at(non_mated: npt.NDArray[np.float32], fmr: float) -> float:
    """Return the smallest similarity that at most a share `fmr` of the non-mated pairs reaches."""
    rank = int(np.floor(fmr * len(non_mated)))
    ordered = np.sort(non_mated)[::-1]
    return float(np.nextafter(ordered[min(rank, len(ordered) - 1)], np.float32(2)))


def tar_at(mated: npt.NDArray[np.float32], non_mated: npt.NDArray[np.float32], fmr: float) -> float:
    """Return the share of mated pairs at or above the threshold of `fmr`."""
    return float(np.mean(mated >= threshold_at(non_mated, fmr)))


def identity_tar(embeddings: npt.NDArray[np.float32], identities: npt.NDArray[np.int64], fmr: float) -> float:
    """Return TAR at `fmr` over all pairs of the labeled faces, NaN where there is no pair of a kind."""
    mated, non_mated = pair_similarities(embeddings, identities)
    return tar_at(mated, non_mated, fmr) if len(mated) and len(non_mated) else float("nan")
