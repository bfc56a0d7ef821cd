"""What the door remembers of each subject: entries of a guest, and the last PIN; one sealed file beside the gallery.

The gallery is read-only for the door, so this is a file of its own. It is written before the bolt moves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from device.access.policy import Usage
from device.access.profile import Profile
from device.errors import GalleryError, GallerySealError
from device.vault.files import replace_private
from device.vault.sealing import SealBroken, Sealer, place_of

PLACE = place_of("usage")


class UsageFile:
    """Entries and PIN times, by alias and policy; `sealer` gives the keys as they are now."""

    def __init__(self, path: Path, sealer: Callable[[], Sealer]) -> None:
        self._path, self._sealer = path, sealer

    def of(self, profile: Profile) -> Usage:
        """Return what is known of a subject under the policy that holds now."""
        known = self._read().get(_name(profile), {})
        last = known.get("last_pin_at")
        return Usage(known.get("entries", 0), datetime.fromisoformat(last) if last else None)

    def keep(self, profile: Profile, usage: Usage) -> None:
        """Store what is known of a subject; GalleryError where that fails."""
        last = usage.last_pin_at
        known = {name: value for name, value in self._read().items() if not name.startswith(profile.alias)}
        known[_name(profile)] = {
            "entries": usage.entries,
            "last_pin_at": last.isoformat() if last else None,
        }
        self._write(known)

    def reseal(self) -> None:
        """Seal the file with the newest key, if there is one."""
        if known := self._read():
            self._write(known)

    def _write(self, known: dict[str, dict[str, Any]]) -> None:
        try:
            replace_private(self._path, self._sealer().seal(json.dumps(known).encode(), PLACE))
        except OSError as error:
            raise GalleryError(
                f"{self._path}: cannot be written: {error.strerror or error}: check the disk and the rights"
            ) from error

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            return json.loads(self._sealer().open(self._path.read_bytes(), PLACE))
        except FileNotFoundError:
            return {}
        except SealBroken as fault:
            raise GallerySealError(
                f"{self._path} does not open: {fault}: guests' entries and PIN times are in it; delete it to count anew"
            ) from None
        except OSError as error:
            raise GalleryError(f"{self._path}: cannot be read: {error.strerror}: check the rights") from error


def _name(profile: Profile) -> str:
    return f"{profile.alias}/{profile.issue}"
