"""Cosine similarity between embeddings: higher is more alike, in [-1, 1]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SMALLEST_NORM = 1e-12  # below it a vector has no direction


def l2_normalize(x: npt.ArrayLike, axis: int = -1) -> npt.NDArray[np.float32]:
    """Scale vectors along `axis` to L2 norm 1, float32.

    Raises:
        ValueError: a vector is zero or not finite; it has no direction, so any similarity would be made up.
    """
    vectors = np.asarray(x, dtype=np.float64)  # float64: squares of large float32 overflow
    norms = np.linalg.norm(vectors, axis=axis, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > SMALLEST_NORM).all()):
        raise ValueError("cannot normalize a zero or non-finite vector: check what was computed before")
    return np.asarray(vectors / norms, dtype=np.float32)


def best_match(matrix: npt.NDArray[np.float32], probe: npt.NDArray[np.float32]) -> tuple[int, float]:
    """Return the row of `matrix` (N, D) most alike `probe` (D,) and their similarity; both L2-normalized.

    A NaN similarity is returned as NaN, never hidden: the decision refuses it.

    Raises:
        ValueError: `matrix` is empty or the dimensions differ.
    """
    if matrix.ndim != 2 or probe.shape != matrix.shape[1:] or not len(matrix):
        raise ValueError(
            f"best_match expects (N, D) with N above 0 and (D,), received {matrix.shape} and {probe.shape}"
        )
    similarities = matrix @ probe
    index = int(np.argmax(similarities))  # argmax picks a NaN over any number
    return index, float(similarities[index])


def cosine_matrix(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the (N, M) cosine similarities of the rows of `a` (N, D) and `b` (M, D), of any length."""
    return np.asarray(np.clip(l2_normalize(a) @ l2_normalize(b).T, -1.0, 1.0), dtype=np.float32)
