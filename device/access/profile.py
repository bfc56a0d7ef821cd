"""What is kept of a subject beside the templates: alias in the audit, end of the consent, policy and PINs; pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from device.access.policy import Policy, policy_from_json, policy_to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The sealed profile of one subject.

    `alias` stands for the name in the audit log; with the profile goes the only link between the two. `retain_until`
    is when the subject is to be forgotten. `issue` is new with each policy, so that a guest's entries count anew.

    Of who came from a keeper, `fleet_id` is the record that brought them; `least_similarity` and `challenge` are what
    the keeper found their matches to need, because somebody of the fleet looks like them.
    """

    alias: str = field(default_factory=lambda: secrets.token_hex(8))
    issue: str = field(default_factory=lambda: secrets.token_hex(4))
    retain_until: datetime | None = None
    policy: Policy = field(default_factory=Policy)
    pin_hash: str | None = field(default=None, repr=False)
    duress_hash: str | None = field(default=None, repr=False)
    fleet_id: str | None = None
    least_similarity: float | None = None
    challenge: bool = False

    def is_expired(self, at: datetime) -> bool:
        """Say whether the subject's consent has expired."""
        return self.retain_until is not None and at >= self.retain_until


def profile_to_json(profile: Profile) -> dict[str, Any]:
    until = profile.retain_until
    fleet = {"fleet_id": profile.fleet_id, "least_similarity": profile.least_similarity}
    return {
        "alias": profile.alias,
        "issue": profile.issue,
        "retain_until": until.isoformat() if until else None,
        "policy": policy_to_json(profile.policy),
        "pin_hash": profile.pin_hash,
        "duress_hash": profile.duress_hash,
        **({**fleet, "challenge": profile.challenge} if profile.fleet_id else {}),
    }


def profile_from_json(stored: Mapping[str, Any]) -> Profile:
    until = stored["retain_until"]
    return Profile(
        alias=stored["alias"],
        issue=stored["issue"],
        retain_until=datetime.fromisoformat(until) if until else None,
        policy=policy_from_json(stored["policy"]),
        pin_hash=stored["pin_hash"],
        duress_hash=stored["duress_hash"],
        fleet_id=stored.get("fleet_id"),
        least_similarity=stored.get("least_similarity"),
        challenge=stored.get("challenge", False),
    )
