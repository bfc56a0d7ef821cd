"""How a door stands with its keeper, from what its gallery keeps of it: whole or not, why, and how old. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from device.access.lease import Lease, lease_at
from device.moment import in_local_time


@dataclass(frozen=True, slots=True)
class Keeping:
    """`renewed`: when the keeper signed what is applied here, None for nothing; `why` "": that is all it signed."""

    renewed: datetime | None
    why: str

    @property
    def line(self) -> str:
        """Say it in a line."""
        if self.renewed is None:
            return "nothing came from the keeper yet"
        said = f"not in sync ({self.why})" if self.why else "in sync"
        return f"{said}, with what the keeper signed at {in_local_time(self.renewed.isoformat())}"

    def lease(self, now: datetime | None) -> Lease:
        return lease_at(self.renewed, now)


def keeping(known: Mapping[str, Any], here: Collection[str | None]) -> Keeping | None:
    """Return how a door stands with its keeper; None where it has none.

    Args:
        known: what its gallery keeps as `member`.
        here: the records of the keeper whose people are here.
    """
    if not known:
        return None
    renewed = datetime.fromisoformat(known["renewed"]) if known.get("renewed") else None
    return Keeping(renewed, why_not_in_sync(known, here))


def why_not_in_sync(known: Mapping[str, Any], here: Collection[str | None]) -> str:
    """Say why a door does not have what its keeper signed, "" where it does; as it answers the keeper."""
    if known.get("sequence") != known.get("seen"):
        return "a newer set is not here as a whole"
    if known.get("left_out"):
        return "a name is taken here"
    is_whole = set(here).issuperset(known.get("people", {}))
    return "" if is_whole else "somebody of the keeper was removed here"
