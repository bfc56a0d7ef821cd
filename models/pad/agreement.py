"""How far a liveness network agrees with the joint teacher, and with the truth, on each kind of material."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.networks.pad import TwoLooks, logits
from models.pad.distill import Looks, to_input

Scores = npt.NDArray[np.floating]


class Agreement:
    """Figures of held-out looks; kinds are the sources "wide", "lfw" and "recorded"."""

    def __init__(self, looks: Looks) -> None:
        self.near, self.wide = to_input(looks.all("near")), to_input(looks.all("wide"))
        self.joint, self.live, self.source = looks.target(), looks.all("live"), looks.all("source")

    def __call__(self, network: TwoLooks) -> dict[str, float]:
        """Return correlation and rank correlation with the joint teacher, and per source both networks' AUC."""
        scores = logits(network, self.near, self.wide).numpy()
        found = {"correlation": correlation(scores, self.joint), "rank": rank_correlation(scores, self.joint)}
        for source in np.unique(self.source):
            rows = self.source == source
            found[f"{source}_rank"] = rank_correlation(scores[rows], self.joint[rows])
            found[f"{source}_auc"] = auc(scores[rows], self.live[rows])
            found[f"{source}_auc_teacher"] = auc(self.joint[rows], self.live[rows])
        return {f"dev_{name}": round(value, 4) for name, value in found.items()}


def auc(scores: Scores, live: npt.NDArray[np.bool_]) -> float:
    """Return how probably a live look scores above an attack, equal scores half (area under the ROC curve)."""
    ranks = ranked(scores)
    lives, attacks = int(live.sum()), int((~live).sum())
    if not lives or not attacks:
        return float("nan")
    return float((ranks[live].sum() - lives * (lives - 1) / 2) / (lives * attacks))


def rank_correlation(a: Scores, b: Scores) -> float:
    """Return Spearman's rank correlation."""
    return correlation(ranked(a), ranked(b))


def correlation(a: Scores, b: Scores) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def ranked(values: Scores) -> npt.NDArray[np.float64]:
    """Return ranks from 0 up; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[place]
