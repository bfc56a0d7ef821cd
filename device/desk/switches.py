"""Faces that were switched off from outside: everybody's at this door, or one person's.

It tightens what a door does, so it is kept over a restart; switching on again is for whoever stands at the door
(scripts/fleet.py switch), unless link.loosen says otherwise. Where what was kept is lost (vault/kept.py), everybody's
face counts as switched off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from device.access.profile import Profile
from device.desk.wire import FACE_OFF, FACE_ON, PERSON_OFF, PERSON_ON, Request
from device.errors import GalleryError
from device.vault.kept import KeptFile, KeptLost

MOST_PEOPLE = 1_000
LOOSENS = (FACE_ON, PERSON_ON)


class TooMany(Exception):
    """More people than a door has."""


@dataclass(frozen=True, slots=True)
class Off:
    """Whose faces are off: everybody's, or those of some aliases."""

    everybody: bool = False
    people: frozenset[str] = frozenset()


class Switches:
    """The switches of one door.

    Args:
        may_switch, may_loosen: what somebody outside may do.
    """

    def __init__(self, kept: KeptFile, *, may_switch: bool = False, may_loosen: bool = False) -> None:
        self._kept, self._may_switch, self._may_loosen = kept, may_switch, may_loosen
        self.fault: str | None = None

    @property
    def is_on(self) -> bool:
        """Whether somebody outside may switch faces off."""
        return self._may_switch

    def off(self) -> Off:
        """Return whose faces are off."""
        try:
            known = self._kept.read() or {}
        except KeptLost as lost:
            self.fault = f"switches of faces: {lost}"
            return Off(everybody=True)
        self.fault = None
        return Off(bool(known.get("everybody")), frozenset(known.get("people", ())))

    def is_off(self, profile: Profile) -> bool:
        """Say whether a subject's face is off."""
        off = self.off()
        return off.everybody or profile.alias in off.people

    def ask(self, request: Request) -> str:
        """Do what was asked from outside, and return ""; else the reason why not."""
        if not self._may_switch or (request.do in LOOSENS and not self._may_loosen):
            return "not_allowed"
        return self.turn(request.do, request.subject)

    def turn(self, deed: str, alias: str = "") -> str:
        """Switch, and return "", or why it cannot be kept."""
        try:
            self._kept.update(lambda: self._turned(deed, alias))
        except TooMany:
            return "too_many"
        except GalleryError:
            return "not_recorded"
        return ""

    def _turned(self, deed: str, alias: str) -> dict[str, Any]:
        off = self.off()
        everybody = {FACE_OFF: True, FACE_ON: False}.get(deed, off.everybody)
        people = {
            PERSON_OFF: off.people | {alias},
            PERSON_ON: off.people - {alias},
        }.get(deed, off.people)
        if len(people) > MOST_PEOPLE:
            raise TooMany
        return {"everybody": everybody, "people": sorted(people)}
