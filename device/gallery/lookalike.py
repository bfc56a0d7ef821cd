"""Look-alikes: enrolled subjects too similar for the door's threshold, and the threshold that separates them.

A look of one subject reaches a template of the other at most by a margin more than the templates of the two reach each
other: docs/how/security.md has the measurement. So both need a threshold of that similarity plus the margin, and the
pair is safe when the looks that each was enrolled with still reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Templates = npt.NDArray[np.float32]  # (n, D), L2-normalized


@dataclass(frozen=True, slots=True)
class LookAlike:
    """A subject whom the newcomer resembles, at `similarity` of their nearest templates.

    `threshold` is what the newcomer's own matches need from now on, `other_threshold` what the other's need; `is_safe`
    says that these part the two, `needed` what would. `is_parted`: the door's threshold of today does so by itself; the
    pair is kept all the same, for one that becomes more lenient.
    """

    subject_id: str
    similarity: float
    needed: float
    threshold: float
    other_threshold: float
    is_parted: bool = False

    @property
    def is_safe(self) -> bool:
        return min(self.threshold, self.other_threshold) >= self.needed


def look_alikes(
    newcomer: Templates, others: Mapping[str, Templates], *, threshold: float, floor: float, margin: float
) -> list[LookAlike]:
    """Return whom the newcomer resembles more than `floor` parts, the nearest first.

    Args:
        threshold: of the door, with the newcomer's templates in its gallery.
        floor: the most lenient threshold that the door may ever have, with a smaller gallery or another configuration.
        margin: by how much a look may be nearer than the templates are.
    """
    reach = own_reach(newcomer, threshold)
    found = []
    for name, templates in others.items():
        similarity = float((newcomer @ templates.T).max())
        needed = similarity + margin
        if needed > floor:
            raised = min(needed, reach), min(needed, own_reach(templates, threshold))
            found.append(LookAlike(name, similarity, needed, *raised, is_parted=needed <= threshold))
    return sorted(found, key=lambda each: -each.similarity)


def own_reach(templates: Templates, threshold: float) -> float:
    """Return the highest threshold at which each of a subject's own looks still opens, at least the door's.

    Each template is taken as a look at the others. A single one says nothing about the next look, so nothing is raised.
    """
    if len(templates) < 2:
        return threshold
    mutual = templates @ templates.T
    np.fill_diagonal(mutual, -1.0)
    return max(threshold, float(mutual.max(axis=1).min()))
