"""The liveness score of a track: the mean of its last frames in logits, so that no single frame decides by luck.

A logit is log(s / (1 - s)) of a score s in [0, 1], limited to +-8, so that a score of exactly 0 or 1 outweighs the
other frames only so far.
"""

from __future__ import annotations

import math
from collections import deque

LIMIT = 8.0  # of a logit: 0.00034 and 0.99966
ROUNDING = 1e-9


class FusedScore:
    """Follow the scores of one track over as many frames as the window of the decision has."""

    def __init__(self, frames: int) -> None:
        # A logit for each of the last frames, None for a frame that was not scored.
        self._logits: deque[float | None] = deque(maxlen=frames)

    def add(self, score: float | None) -> None:
        """Take the score of the newest frame, None where it has none."""
        self._logits.append(None if score is None else logit(score))

    def clear(self) -> None:
        """Forget all: the next face may be another one."""
        self._logits.clear()

    @property
    def logit(self) -> float | None:
        """The mean of the logits; None where no frame was scored."""
        scored = [each for each in self._logits if each is not None]
        return math.fsum(scored) / len(scored) if scored else None

    @property
    def value(self) -> float | None:
        """The same as a score in [0, 1]."""
        fused = self.logit
        return None if fused is None else 0.5 * (1.0 + math.tanh(fused / 2))

    def reaches(self, limit: float) -> bool:
        """Say whether the fused score is at least `limit`, a score in [0, 1]; without a scored frame it is not."""
        fused = self.logit
        return fused is not None and fused >= logit(limit) - ROUNDING


def is_score(score: float | None) -> bool:
    """Say whether this is a score at all: a number in [0, 1]."""
    return score is not None and 0.0 <= score <= 1.0


def logit(score: float) -> float:
    """Return the limited logit of a score; what is no score counts as 0."""
    if not is_score(score) or score == 0.0:
        return -LIMIT
    return LIMIT if score == 1.0 else min(max(math.log(score / (1.0 - score)), -LIMIT), LIMIT)
