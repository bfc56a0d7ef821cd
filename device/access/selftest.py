"""What the owner's self-test of the liveness check proves about this door, and what an unproven door may do."""

from __future__ import annotations

from dataclasses import dataclass

from device.numeric.intervals import clopper_pearson

LIVE = "live"
ATTACKS = ("print", "phone", "tablet")  # the species that a self-test shows
LARGEST_APCER = 0.1  # upper end of the 95 % interval: 36 attacks, none let through, prove 9.7 %


@dataclass(frozen=True, slots=True)
class SpeciesCount:
    """How often a species was shown, and how often it was judged wrongly: an attack as live, a live face not."""

    species: str
    shown: int
    wrong: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the error rate: APCER of an attack, BPCER of live faces."""
        return clopper_pearson(self.wrong, self.shown) if self.shown else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The verdict of one self-test; `tested_at` is UTC, ISO 8601, `liveness_id` the PAD network that was tested."""

    tested_at: str
    liveness_id: str
    model_id: str
    counts: tuple[SpeciesCount, ...]

    @property
    def passed(self) -> bool:
        """Say whether every species of attack was shown often enough, and refused."""
        proven = {count.species for count in self.counts if count.interval[1] <= LARGEST_APCER}
        return proven.issuperset(ATTACKS)


def is_proven(verdict: SelfTest | None, liveness_id: str | None) -> bool:
    """Say whether this door passed its self-test with this PAD network; another network's test proves nothing."""
    return verdict is not None and liveness_id == verdict.liveness_id and verdict.passed


def capped_mode(mode: str, *, unproven: str, proven: bool) -> str:
    """Return the liveness mode that the door may use: an unproven one challenges everybody.

    Args:
        mode: as configured: "passive", "challenge", "always" or "off"; "off" has a loud flag of its own and stays.
        unproven: "challenge", or "allow" to leave the mode as it is.
    """
    if proven or unproven == "allow" or mode == "off":
        return mode
    return "always"
