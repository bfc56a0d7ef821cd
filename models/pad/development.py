"""Development pictures of the liveness network, and the thresholds that are chosen on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.pad.data import RECORDED_PRINT, Recorded
from models.pad.people import DEVELOPMENT_PEOPLE, is_live

DEVELOPMENT_FRAMES = "development.npz"
PEOPLE_SHOWN = 1_000  # of the half of LFW to choose on
RECORDED_LIVE, BEYOND = "recorded live", "no edge in view"
ATTACKS_PASSED = 0.041  # of any species, from `unsure` up: below the goal of 5 %, for unseen people
LIVE_REFUSED = 0.01  # of any group of live pictures, below the threshold `attack`


@dataclass(frozen=True)
class Development:
    """Looks (N, 112, 112, 6), near and wide, that no network learned from, and the group of each."""

    looks: npt.NDArray[np.uint8]
    groups: npt.NDArray[np.str_]

    def errors(self, scores: npt.NDArray[np.floating], threshold: float) -> dict[str, float]:
        """Return the share of each group that is on the wrong side of a threshold: APCER of species, BPCER of live."""
        below = scores < threshold
        return {
            str(name): float((below if is_live(name) else ~below)[self.groups == name].mean())
            for name in np.unique(self.groups)
        }

    def worst(self, scores: npt.NDArray[np.floating], threshold: float) -> tuple[float, float]:
        """Return the worst APCER of the species and the worst BPCER of the live groups."""
        found = self.errors(scores, threshold)
        attacks = max(value for name, value in found.items() if not is_live(name))
        return attacks, max(value for name, value in found.items() if is_live(name))

    def balance(self, scores: npt.NDArray[np.floating]) -> float:
        """Return the threshold at which the larger of worst APCER and worst BPCER is smallest."""
        places = np.unique(np.quantile(scores, np.linspace(0, 1, 401)))
        return float(min(places, key=lambda place: max(self.worst(scores, place))))

    def balanced(self, scores: npt.NDArray[np.floating]) -> dict[str, float]:
        """Return every error at the balanced threshold, and the larger of the worst."""
        threshold = self.balance(scores)
        return {"worst": max(self.worst(scores, threshold))} | self.errors(scores, threshold)

    def thresholds(self, scores: npt.NDArray[np.floating]) -> tuple[float, float]:
        """Return `unsure`, which few attacks of any species reach, and `attack`, below which hardly anybody live is.

        A live person who is unsure answers a challenge; an attack that passes for live opens the door.
        """
        unsure = min(1.0, max(self.passed_by(scores, name) for name in np.unique(self.groups)))
        lives = [scores[self.groups == name] for name in np.unique(self.groups) if is_live(name)]
        return unsure, min(unsure, *(float(np.quantile(group, LIVE_REFUSED)) for group in lives))

    def passed_by(self, scores: npt.NDArray[np.floating], name: str) -> float:
        """Return the threshold that ATTACKS_PASSED of a species reach, 0 for live pictures."""
        if is_live(name):
            return 0.0
        return float(np.nextafter(np.quantile(scores[self.groups == name], 1 - ATTACKS_PASSED), 2))


def load_development(folder: Path, recorded: Recorded) -> Development:
    """Return recorded pictures of the development people, and the frames of LFW's people to choose on.

    Attacks without an edge in view are left out: nothing was built that could know them.
    """
    there = recorded.of(DEVELOPMENT_PEOPLE)
    own = [RECORDED_LIVE if live else RECORDED_PRINT for live in there.live]
    with np.load(folder / DEVELOPMENT_FRAMES) as file:
        shown = file["groups"] != BEYOND
        near = np.concatenate([there.near, file["near"][shown]])
        wide = np.concatenate([there.wide, file["wide"][shown]])
        groups = np.concatenate([np.array(own), file["groups"][shown]])
    return Development(np.concatenate([near, wide], axis=3), groups)
