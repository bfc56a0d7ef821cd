"""The lease of people who came from a keeper: without word from it they need their PIN, later they are refused; pure.

So a removal that cannot reach a door has a bound: the keeper's word, a signed manifest, is dated, and grows old.
People who were enrolled at the door itself have no lease.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

PIN_AFTER, REFUSED_AFTER = timedelta(days=7), timedelta(days=30)
AHEAD = timedelta(hours=2)  # a keeper's clock may be ahead of the door's by as much


class Lease(Enum):
    """What a lease says of a person."""

    HOLDS = "holds"  # or there is none
    STALE = "stale"  # the PIN is needed
    OVER = "over"  # refused


def lease_at(renewed: datetime | None, now: datetime | None) -> Lease:
    """Return what a lease says.

    Args:
        renewed: when the keeper signed what is applied here; None: nothing is known of it.
        now: None while the clock is not set; then nobody knows how old that is.
    """
    if renewed is None:
        return Lease.OVER
    if now is None or now < renewed - AHEAD:
        return Lease.STALE
    age = now - renewed
    return Lease.HOLDS if age < PIN_AFTER else Lease.STALE if age < REFUSED_AFTER else Lease.OVER
