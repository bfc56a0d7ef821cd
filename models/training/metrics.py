"""Verification metrics: thresholds at a false match rate, TAR@FAR over all pairs, the LFW protocol, exact intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def pair_similarities(
    embeddings: npt.NDArray[np.float32], identities: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the cosines of all mated and all non-mated pairs of (N, D) normalized embeddings, identity -1 left out."""
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


HISTOGRAM_EDGES = np.linspace(-1, 1, 161)


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def lfw_accuracy(
    folds: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]],
) -> tuple[float, float]:
    """Return mean accuracy and its standard error over folds of (similarities, mated), the LFW protocol.

    The threshold of each fold is the one that is most accurate on the others (Huang et al. 2007, "View 2").
    """
    accuracies = []
    for i, (similarities, mated) in enumerate(folds):
        others = [fold for j, fold in enumerate(folds) if j != i]
        threshold = best_threshold(
            np.concatenate([f[0] for f in others]), np.concatenate([f[1] for f in others])
        )
        accuracies.append(np.mean((similarities >= threshold) == mated))
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1) / np.sqrt(len(accuracies)))


def best_threshold(similarities: npt.NDArray[np.float32], mated: npt.NDArray[np.bool_]) -> float:
    """Return the threshold with the most right answers, halfway between the two similarities that it parts."""
    order = np.argsort(similarities)
    # Below a threshold at sorted place i stand i pairs: right are the non-mated below and the mated from i on.
    mated_above = np.concatenate([np.cumsum(mated[order][::-1])[::-1], [0]])
    right = np.concatenate([[0], np.cumsum(~mated[order])]) + mated_above
    place = int(np.argmax(right))
    bounds = np.concatenate([[-1.0], similarities[order], [1.0]])
    return float(bounds[place] + bounds[place + 1]) / 2


@dataclass(frozen=True)
class AllPairs:
    """All pairs of a labeled set: mated pairs whole, of the non-mated ones only the most similar, with their number.

    `mated_subject` (M,) and `non_mated_subjects` (K, 2) are subject indices, for a bootstrap over subjects; non-mated
    pairs are sorted, most similar first. Faces that could not be acquired count as similarity -1.
    """

    mated: npt.NDArray[np.float32]
    mated_subject: npt.NDArray[np.int64]
    non_mated: npt.NDArray[np.float32]
    non_mated_subjects: npt.NDArray[np.int64]
    non_mated_total: int
    non_mated_counts: npt.NDArray[np.int64]  # of all of them, over HISTOGRAM_EDGES
    subjects: int

    def threshold(self, fmr: float) -> float:
        """Return the smallest similarity that at most a share `fmr` of the non-mated pairs reaches."""
        rank = int(np.floor(fmr * self.non_mated_total))
        return float(np.nextafter(self.non_mated[rank], np.float32(2)))

    def tar(self, fmr: float) -> float:
        """Return the share of mated pairs accepted at false match rate `fmr`."""
        return float(np.mean(self.mated >= self.threshold(fmr)))

    def tar_interval(self, fmr: float, resamples: int = 500, seed: int = 0) -> Interval:
        """Return `tar` with its 95 % percentile bootstrap interval over subjects (threshold drawn anew each time)."""
        rng = np.random.default_rng(seed)
        draws = [self.resampled_tar(fmr, rng) for _ in range(resamples)]
        low, high = np.percentile(draws, [2.5, 97.5])
        return Interval(self.tar(fmr), float(low), float(high))

    def fmr_intervals(
        self, thresholds: npt.NDArray[np.float64], resamples: int = 500, seed: int = 0
    ) -> list[Interval]:
        """Return the FMR at each threshold with its 95 % percentile bootstrap interval over subjects.

        Pairs share subjects, so they are no independent trials, and an interval that takes them for such is too narrow.
        """
        rng = np.random.default_rng(seed)
        ascending = self.non_mated[::-1]
        reached = len(ascending) - np.searchsorted(ascending, thresholds.astype(np.float32), side="left")
        draws = [self._resampled_sums(rng)[reached] for _ in range(resamples)]
        low, high = np.percentile(draws, [2.5, 97.5], axis=0) / self.non_mated_total
        rates = reached / self.non_mated_total
        return [Interval(*map(float, each)) for each in zip(rates, low, high, strict=True)]

    def _resampled_sums(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw subjects with replacement; return the weight of the 0, 1, 2 ... most similar non-mated pairs."""
        times = np.bincount(rng.integers(0, self.subjects, self.subjects), minlength=self.subjects)
        weights = times[self.non_mated_subjects[:, 0]] * times[self.non_mated_subjects[:, 1]]
        return np.concatenate([[0], np.cumsum(weights)])

    def resampled_tar(self, fmr: float, rng: np.random.Generator) -> float:
        """Draw subjects with replacement; a pair counts as often as its subjects were drawn together."""
        times = np.bincount(rng.integers(0, self.subjects, self.subjects), minlength=self.subjects)
        weights = times[self.non_mated_subjects[:, 0]] * times[self.non_mated_subjects[:, 1]]
        reached = np.cumsum(weights)
        place = int(np.searchsorted(reached, fmr * self.non_mated_total, side="right"))
        threshold = self.non_mated[min(place, len(self.non_mated) - 1)]
        mated_weights = times[self.mated_subject]
        return float(mated_weights[self.mated > threshold].sum() / max(1, mated_weights.sum()))


def all_pairs(
    embeddings: npt.NDArray[np.float32], subjects: npt.NDArray[np.int64], keep: float = 0.02
) -> AllPairs:
    """Compare every face with every other, block by block.

    Args:
        embeddings: (N, D), L2-normalized; a row of zeros is a face that could not be acquired.
        subjects: (N,), 0 to S - 1.
        keep: share of the non-mated pairs that is kept, the most similar ones; bounds the FMR that can be asked for.
    """
    missing = ~embeddings.any(axis=1)
    mated, owners, scores, pairs = [], [], [], []
    total, n = 0, len(embeddings)
    counts = np.zeros(len(HISTOGRAM_EDGES) - 1, np.int64)
    for start in range(0, n, 512):
        block = embeddings[start : start + 512] @ embeddings.T
        block[missing[start : start + 512]] = -1
        block[:, missing] = -1
        rows, columns = np.nonzero(np.arange(start, min(start + 512, n))[:, None] < np.arange(n))
        same = subjects[rows + start] == subjects[columns]
        similarity = block[rows, columns]
        mated.append(similarity[same])
        owners.append(subjects[columns[same]])
        others = np.flatnonzero(~same)
        total += len(others)
        counts += np.histogram(similarity[others], HISTOGRAM_EDGES)[0]
        best = others[np.argsort(-similarity[others])[: max(1, int(len(others) * keep * 4))]]
        scores.append(similarity[best])
        pairs.append(np.stack([subjects[rows[best] + start], subjects[columns[best]]], axis=1))
    ranked = np.concatenate(scores)
    order = np.argsort(-ranked)[: max(1, int(total * keep))]
    return AllPairs(
        mated=np.concatenate(mated),
        mated_subject=np.concatenate(owners),
        non_mated=ranked[order],
        non_mated_subjects=np.concatenate(pairs)[order],
        non_mated_total=total,
        non_mated_counts=counts,
        subjects=int(subjects.max()) + 1,
    )
