"""All templates in memory, and the one most like a probe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from device.gallery.rows import Need, Rows
from device.numeric.similarity import best_match
from device.types import Embedding, Match

NORM_TOLERANCE = 1e-3  # float32 rounding stays below 1e-6; anything near this is damage


class TemplateDamaged(ValueError):
    """A row was decrypted, but it holds no template of this gallery's model."""


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """The templates of one moment.

    `matrix` is (N, D) float32, L2-normalized, column by column in memory: its product with a probe then takes little
    more than reading it. `owners` are the N subjects, none whose consent expired; `needs` are those of subjects with
    look-alikes; `threshold` is that of a door with so many templates, None where the decision has its own. At
    `holds_until_s` the next consent expires. `renewed` is when the keeper signed what is applied here.
    """

    matrix: npt.NDArray[np.float32]
    owners: list[str]
    needs: Mapping[str, Need]
    threshold: float | None
    holds_until_s: float
    renewed: datetime | None = None

    @classmethod
    def read(
        cls,
        rows: Rows,
        dimension: int,
        at: datetime,
        threshold_for: Callable[[int], float] | None,
        *,
        renewed: datetime | None = None,
    ) -> Matcher:
        """Read the templates of everybody whose consent holds; TemplateDamaged for rows that are none."""
        profiles = rows.profiles()
        expired = {name for name, profile in profiles.items() if profile.is_expired(at)}
        owners, matrix = _read_templates(rows, dimension, expired)
        ends = [
            p.retain_until.timestamp() for n, p in profiles.items() if p.retain_until and n not in expired
        ]
        threshold = threshold_for(len(owners)) if threshold_for else None
        needs = rows.needs(profiles)
        return cls(matrix, owners, needs, threshold, min(ends, default=math.inf), renewed)

    def match(self, probe: Embedding) -> Match | None:
        """Return the template most like a (D,) probe with the similarity that it needs; None without templates."""
        if not self.owners:
            return None
        index, similarity = best_match(self.matrix, probe)
        need = self.needs.get(self.owners[index])
        if need is None:
            return Match(self.owners[index], similarity, self.threshold)
        threshold = need.threshold if self.threshold is None else max(need.threshold, self.threshold)
        return Match(self.owners[index], similarity, threshold, need.challenge)

    def templates(self, subject_id: str) -> npt.NDArray[np.float32]:
        """Return the templates of one subject, (n, D); none of who is not enrolled."""
        return self.matrix[np.array([owner == subject_id for owner in self.owners], dtype=bool)]

    def everybody(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the templates of each subject, (n, D)."""
        rows = dict[str, list[int]]()
        for row, owner in enumerate(self.owners):
            rows.setdefault(owner, []).append(row)
        return {owner: self.matrix[theirs] for owner, theirs in rows.items()}


def are_unit(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Say of each (n, D) row whether its length is 1; a row with a NaN is not."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return np.asarray(np.abs(norms - 1.0) <= NORM_TOLERANCE)


def _read_templates(
    rows: Rows, dimension: int, expired: set[str]
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the subjects and the (N, D) templates, opened row by row: peak memory is one copy."""
    owners: list[str] = []
    matrix = np.empty((rows.count(), dimension), np.float32, order="F")
    for name, embedding in rows.templates():
        if name in expired:
            continue
        if len(embedding) != 4 * dimension:
            raise TemplateDamaged(f"a template of {name!r} has not {dimension} values")
        matrix[len(owners)] = np.frombuffer(embedding, "<f4")
        owners.append(name)
    matrix = matrix[: len(owners)]
    bad = np.flatnonzero(~are_unit(matrix))
    if len(bad):
        raise TemplateDamaged(f"a template of {owners[bad[0]]!r} is not of length 1")
    return owners, matrix
