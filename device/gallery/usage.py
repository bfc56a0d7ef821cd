"""What the door remembers of each subject: entries of a guest, and the last PIN.

The gallery is read-only for the door, so this is a file of its own. It is written before the bolt moves. Where it is
lost (vault/kept.py), the entries of every guest are used up, every PIN is asked for anew, and nothing is written until
the owner accepts that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from device.access.policy import Usage
from device.access.profile import Profile
from device.vault.kept import KeptFile, KeptLost

ALL_ENTRIES = 1_000_000  # no policy allows more


class UsageFile:
    """Entries and PIN times, by alias and policy; `fault` says that they are lost."""

    def __init__(self, kept: KeptFile) -> None:
        self._kept = kept
        self.fault: str | None = None

    def of(self, profile: Profile) -> Usage:
        """Return what is known of a subject under the policy that holds now."""
        try:
            known = self._read().get(_name(profile), {})
        except KeptLost as lost:
            self.fault = f"entries of guests and times of PINs: {lost}"
            return Usage(entries=ALL_ENTRIES)
        self.fault = None
        last = known.get("last_pin_at")
        return Usage(known.get("entries", 0), datetime.fromisoformat(last) if last else None)

    def keep(self, profile: Profile, usage: Usage) -> None:
        """Store what is known of a subject; GalleryError where that fails, or where what was known is lost."""
        last = usage.last_pin_at
        known = {name: value for name, value in self._read().items() if not name.startswith(profile.alias)}
        known[_name(profile)] = {
            "entries": usage.entries,
            "last_pin_at": last.isoformat() if last else None,
        }
        self._kept.write(known)

    def _read(self) -> dict[str, dict[str, Any]]:
        return self._kept.read() or {}


def _name(profile: Profile) -> str:
    return f"{profile.alias}/{profile.issue}"
