"""Turn the owner's setting, false accepts per approach, into the similarity threshold of one comparison.

An approach is one stranger before the door, with `frames` looks at N templates; a grant needs `k` matching looks. By
Boole a look matches one of N templates with probability N * FMR at most, so `frames` looks bring frames * N * FMR
matches on average, and by Markov there are k or more of them with probability

    false accepts per approach <= templates * (frames / k) * FMR

Neither asks that looks or templates are independent; docs/how/security.md has the whole derivation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-9  # relative; a rate computed to 9.999999e-6 is the 1e-5 of the manifest


@dataclass(frozen=True, slots=True)
class Approach:
    """How often a stranger may try: `frames` looks in one approach, of which a grant needs `k`."""

    frames: int
    k: int

    def false_accepts(self, fmr: float, templates: int) -> float:
        """Return the largest share of strangers' approaches that ends in a grant, 1 at most."""
        return min(1.0, max(1, templates) * self._tries * fmr)

    def fmr(self, false_accepts: float, templates: int) -> float:
        """Return the FMR that keeps `false_accepts` per approach."""
        return false_accepts / (max(1, templates) * self._tries)

    @property
    def _tries(self) -> float:
        return max(1.0, self.frames / self.k)


@dataclass(frozen=True, slots=True)
class DoorThreshold:
    """The threshold of a door: at similarity `threshold`, FMR `fmr` was measured.

    `asked` and `promised` are false accepts per approach; promised is more than asked where the network was not
    measured finely enough.
    """

    threshold: float
    fmr: float
    templates: int
    asked: float
    promised: float

    @property
    def is_kept(self) -> bool:
        return self.promised <= self.asked * (1 + ROUNDING)

    @property
    def shortfall(self) -> str:
        """Say in one line what is promised in place of what was asked, "" where that is kept."""
        if self.is_kept:
            return ""
        return (
            f"at most {in_words(self.asked)} cannot be promised with {self.templates} templates: the network was "
            f"measured down to FMR {self.fmr:.2g}; its strictest threshold, {self.threshold:.4f}, is used and keeps "
            f"{in_words(self.promised)}"
        )


def in_words(false_accepts: float) -> str:
    """Say a share of strangers as an owner would, rounded to the stricter side: "one stranger in 2,000 tries"."""
    tries = 1 / false_accepts * (1 + ROUNDING)
    step = 10 ** max(0, math.floor(math.log10(tries)) - 1)  # two digits
    return f"one stranger in {int(tries // step) * step:,} tries"


def door_threshold(
    thresholds: Mapping[float, float], *, false_accepts: float, templates: int, approach: Approach
) -> DoorThreshold:
    """Return the threshold that keeps `false_accepts` per approach, or the strictest one that was measured.

    Args:
        thresholds: similarity by FMR, of the manifest; nothing is extrapolated beyond them.
        templates: how many the gallery holds, of everybody.
    """
    low, high = min(thresholds), max(thresholds)
    fmr = min(max(approach.fmr(false_accepts, templates), low), high)
    return DoorThreshold(
        threshold=threshold_at(thresholds, fmr),
        fmr=fmr,
        templates=templates,
        asked=false_accepts,
        promised=approach.false_accepts(fmr, templates),
    )


def threshold_at(thresholds: Mapping[float, float], fmr: float) -> float:
    """Return the similarity for an FMR, linear over log10(FMR) between those measured: tails are nearly straight there.

    Raises:
        ValueError: `fmr` lies beyond what was measured.
    """
    known = sorted(thresholds)
    if not known[0] * (1 - ROUNDING) <= fmr <= known[-1] * (1 + ROUNDING):
        raise ValueError(f"FMR {fmr:g} was not measured: choose {known[0]:g} to {known[-1]:g}")
    return float(np.interp(np.log10(fmr), np.log10(known), [thresholds[rate] for rate in known]))
