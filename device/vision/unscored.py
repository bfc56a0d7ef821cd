"""What stands for the liveness network where liveness is off."""

from __future__ import annotations

from device.types import Image


class Unscored:
    """Score nothing; a rule that wants a score takes a face without one for an attack."""

    unsure = attack = 0.0

    def score(self, image: Image, box: tuple[float, float, float, float]) -> float | None:
        return None
