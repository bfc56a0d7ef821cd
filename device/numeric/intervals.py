"""Exact binomial intervals: the range of rates that fits a count.

C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26 (1934).
"""

from __future__ import annotations

import numpy as np

STEPS = 100  # halvings of [0, 1]: float64 has no finer step left


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of a rate of which `count` of `total` independent trials were seen.

    Raises:
        ValueError: not 0 <= count <= total with total above 0, or a confidence outside (0, 1).
    """
    if not (0 <= count <= total and total > 0 and 0 < confidence < 1):
        raise ValueError(
            f"expected 0 <= count <= total, total above 0 and a confidence in (0, 1), received {count} of {total} "
            f"at {confidence}"
        )
    if count > total / 2:  # the same question about the other outcome, with fewer terms to sum
        low, high = clopper_pearson(total - count, total, confidence)
        return 1 - high, 1 - low
    tail = (1 - confidence) / 2
    low = _rate_where(count - 1, total, 1 - tail) if count else 0.0
    return low, _rate_where(count, total, tail)


def _rate_where(count: int, total: int, chance: float) -> float:
    """Return the rate at which `count` or fewer of `total` are seen with probability `chance`, by bisection."""
    drawn = np.arange(count + 1)
    # log of "total choose drawn", as a running sum: no factorial overflows, millions of pairs are fine
    log_ways = np.concatenate([[0.0], np.cumsum(np.log((total - drawn[:-1]) / (drawn[:-1] + 1.0)))])
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        rate = (low + high) / 2
        if not low < rate < high:
            break
        seen = np.exp(log_ways + drawn * np.log(rate) + (total - drawn) * np.log1p(-rate)).sum()
        low, high = (rate, high) if seen > chance else (low, rate)
    return high
