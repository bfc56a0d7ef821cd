"""How a door stands with its keeper, from what its gallery keeps of it: whole or not, and how old. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from device.access.lease import Lease, lease_at


@dataclass(frozen=True, slots=True)
class Keeping:
    """`renewed`: when the keeper signed what is applied here, None for nothing; `is_whole`: that is all it signed."""

    renewed: datetime | None
    is_whole: bool

    @property
    def line(self) -> str:
        """Say it in a line."""
        if self.renewed is None:
            return "nothing came from the keeper yet"
        how = "in sync" if self.is_whole else "not in sync"
        return f"{how}, with what the keeper signed at {self.renewed:%Y-%m-%d %H:%M} UTC"

    def lease(self, now: datetime | None) -> Lease:
        return lease_at(self.renewed, now)


def keeping(known: Mapping[str, Any]) -> Keeping | None:
    """Return how a door stands with its keeper; None where it has none.

    Args:
        known: what its gallery keeps as `member`.
    """
    if not known:
        return None
    renewed = datetime.fromisoformat(known["renewed"]) if known.get("renewed") else None
    is_whole = known.get("sequence") == known.get("seen") and not known.get("left_out")
    return Keeping(renewed, is_whole)
