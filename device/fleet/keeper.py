"""Keeper: enrolls once for all doors, says who may use which, signs and seals. Its keys are part of its gallery's seal.

So an ordinary backup (scripts/backup.py) holds all that a lost keeper needs. Nothing here speaks to a network.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from device.access.profile import Profile
from device.config import DOOR_NAME
from device.desk.wire import LONGEST_RECORD
from device.errors import GalleryError, UsageError
from device.fleet.authority import Authority, Credential, checked_host
from device.fleet.envelope import (
    ACK,
    MANIFEST,
    RECORD,
    SUBMISSION,
    SUCCESSION,
    box_public,
    context_of,
    new_box_key,
    new_signing_key,
    open_answer,
    seal,
    sign,
    signing_public,
)
from device.fleet.folder import TITLE, client_access, page_access
from device.fleet.records import Ack, Manifest, Record, version_of
from device.gallery.gallery import Gallery
from device.link.topics import GALLERY
from device.link.topics import MANIFEST as MANIFEST_TOPIC
from device.link.topics import SUCCESSION as SUCCESSION_TOPIC
from device.page.viewers import VIEWER

KEEPER, HOME = "keeper", "homeassistant"  # users at the broker; no door may be named so
ROLE = "keeper"


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to lie at the broker for one door, retained: the levels of its topic below the door, and the envelope."""

    levels: tuple[str, ...]
    body: bytes


class Keeper:
    """The keeper whose gallery this is.

    Args:
        model_id: of the gallery's templates.
    """

    def __init__(self, gallery: Gallery, model_id: str) -> None:
        self._gallery, self._model_id = gallery, model_id
        self._known = gallery.fleet(ROLE)
        if not self._known:
            raise UsageError("this gallery has no fleet yet: run scripts/fleet.py init --host BROKER first")

    @classmethod
    def found(cls, gallery: Gallery, model_id: str, host: str, port: int, now: datetime) -> Keeper:
        """Make the keeper's keys and the house's authority; UsageError where there is a fleet already."""
        if gallery.fleet(ROLE):
            raise UsageError(
                "this gallery has a fleet already: expected one without: see scripts/fleet.py status"
            )
        authority = Authority.new(now)
        known = {
            "host": host,
            "port": port,
            "authority": [authority.certificate, authority.key],
            "signing": new_signing_key().hex(),
            "box": new_box_key().hex(),
            "salt": secrets.token_hex(32),
            "succession": [],
            "doors": {},
            "revoked": [],
        }
        gallery.set_fleet(ROLE, known)
        return cls(gallery, model_id)

    @property
    def authority(self) -> Authority:
        return Authority(*self._known["authority"])

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the broker."""
        return self._known["host"], self._known["port"]

    @property
    def doors(self) -> list[str]:
        return sorted(self._known["doors"])

    @property
    def revoked(self) -> list[int]:
        """Serial numbers of certificates that the broker is to refuse."""
        return list(self._known["revoked"])

    def sequence(self, door: str) -> int:
        """Return the number of the last manifest that was signed for a door."""
        return int(self._door(door)["sequence"])

    def people_at(self, door: str) -> list[str]:
        """Return who is to be at a door, by name."""
        names = self._gallery.aliases()
        return sorted(names[alias] for alias in self._door(door)["people"] if alias in names)

    def add_door(self, door: str, now: datetime, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return what a new door has to know, its secret keys with it, which are kept nowhere else.

        Args:
            names: by which browsers reach its status page, beside its own name.
        """
        if not DOOR_NAME.fullmatch(door) or door in (KEEPER, HOME):
            raise UsageError(
                f"door {door[:40]!r}: expected 1 to 32 small letters, digits and hyphens: use another name"
            )
        if door in self._known["doors"]:
            raise UsageError(
                f"door {door!r} is there already: revoke it first (scripts/fleet.py revoke-door {door})"
            )
        credential, secret = self.authority.client(door, now), new_box_key()
        about = {"box": box_public(secret).hex(), "serial": credential.serial, "people": [], "sequence": 0}
        self._keep(doors={**self._known["doors"], door: about})
        member = {
            "door": door,
            "secret": secret.hex(),
            "keeper": signing_public(self._signing).hex(),
            "keeper_box": box_public(self._box).hex(),
        }
        return {
            TITLE: 1,
            "member": member,
            "access": client_access(self.authority, self.address, door, credential),
            "page": page_access(self.authority, [door, f"{door}.local", *map(checked_host, names)], now),
        }

    def add_viewer(self, name: str, now: datetime) -> Credential:
        """Return what somebody shows who may look at the doors' status pages."""
        if not DOOR_NAME.fullmatch(name):
            raise UsageError(
                f"viewer {name[:40]!r}: expected 1 to 32 small letters, digits and hyphens: use another name"
            )
        known = self._known.get("viewers", {})
        if name in known:
            raise UsageError(
                f"viewer {name!r} is there already: revoke it first (scripts/fleet.py revoke-viewer {name})"
            )
        credential = self.authority.client(f"{VIEWER}{name}", now)
        self._keep(viewers={**known, name: credential.serial})
        return credential

    def revoke_viewer(self, name: str) -> None:
        """Put a viewer's certificate among the revoked ones."""
        known = dict(self._known.get("viewers", {}))
        if name not in known:
            raise UsageError(
                f"viewer {name[:40]!r}: expected one of {', '.join(sorted(known)) or 'none, there are none'}"
            )
        self._keep(revoked=[*self._known["revoked"], known.pop(name)], viewers=known)

    def revoke_door(self, door: str) -> None:
        """Give nothing to a door any more, and let the broker refuse it."""
        serial = self._door(door)["serial"]
        left = {name: about for name, about in self._known["doors"].items() if name != door}
        self._keep(doors=left, revoked=[*self._known["revoked"], serial])

    def assign(self, subject_id: str, doors: list[str], *, gives: bool) -> None:
        """Let a person of this gallery use doors, or no longer."""
        alias = self._gallery.profile(subject_id).alias
        changed = dict(self._known["doors"])
        for door in doors:
            people = [each for each in self._door(door)["people"] if each != alias]
            changed[door] = {**self._door(door), "people": [*people, alias] if gives else people}
        self._keep(doors=changed)

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one vouches for it, once, also to doors that are away."""
        old, new = self._signing, new_signing_key()
        public = signing_public(new)
        signature = sign(public, context_of(SUCCESSION, ""), old)
        step = {"key": public.hex(), "signature": signature.hex()}
        self._keep(signing=new.hex(), succession=[*self._known["succession"], step])

    def letters(
        self, door: str, acks: Mapping[str, Ack], now: datetime, *, overtake: bool = False
    ) -> list[Letter]:
        """Return all that is to lie at the broker for a door, the manifest last, under the next sequence.

        Args:
            acks: what the doors answered last; guests' entries elsewhere are taken from them.
            overtake: go beyond a sequence that the door has and this keeper never signed.
        """
        about, seen = self._door(door), acks.get(door, Ack()).seen
        if seen > about["sequence"] and not overtake:
            raise UsageError(
                f"door {door!r} has heard of manifest {seen}, this keeper signed {about['sequence']} at most: a second "
                "copy of this keeper is at work, or this one was restored from a backup: settle which one leads, then "
                "push --overtake there"
            )
        sequence = max(seen, about["sequence"]) + 1
        self._keep(doors={**self._known["doors"], door: {**about, "sequence": sequence}})
        records = {self._id(door, record.profile.alias): record for record in self._records(door, acks)}
        texts = {each: replace_id(record, each).text() for each, record in records.items()}
        versions = {each: version_of(text) for each, text in texts.items()}
        manifest = Manifest(sequence, now.isoformat(), self._model_id, versions)
        letters = [
            Letter((GALLERY, each), self._seal(text, RECORD, door, each)) for each, text in texts.items()
        ]
        if self._known["succession"]:
            letters.insert(0, Letter((SUCCESSION_TOPIC,), self._succession()))
        letters.append(Letter((MANIFEST_TOPIC,), self._seal(manifest.text(), MANIFEST, door)))
        check_size(door, letters)
        return letters

    def read_ack(self, door: str, body: bytes) -> Ack:
        """Open what a door answered; EnvelopeBroken where it is not this door's."""
        return Ack.read(self._open(ACK, door, body))

    def open_submission(self, door: str, body: bytes) -> bytes:
        """Open a person whom a door submits; EnvelopeBroken where it is not this door's."""
        return self._open(SUBMISSION, door, body)

    def _open(self, kind: str, door: str, body: bytes) -> bytes:
        other = bytes.fromhex(self._door(door)["box"])
        return open_answer(body, context_of(kind, door), secret=self._box, other=other)

    def _records(self, door: str, acks: Mapping[str, Ack]) -> list[Record]:
        """Return the records of a door; a guest's entries are what other doors have left of them."""
        names, needs = self._gallery.aliases(), self._gallery.needs()
        found = []
        for alias in self._door(door)["people"]:
            if alias not in names:  # removed from this gallery, and so from every door
                continue
            name = names[alias]
            profile, need = self._gallery.profile(name), needs.get(name)
            if need is not None:
                profile = replace(profile, least_similarity=need.threshold, challenge=need.challenge)
            profile = self._with_entries(profile, door, acks)
            found.append(Record(name, self._model_id, self._templates(name), profile))
        return found

    def _with_entries(self, profile: Profile, door: str, acks: Mapping[str, Ack]) -> Profile:
        most = profile.policy.entries
        if most is None:
            return profile
        used = sum(
            ack.entries.get(self._id(other, profile.alias), 0) for other, ack in acks.items() if other != door
        )
        return replace(profile, policy=replace(profile.policy, entries=max(0, most - used)))

    def _templates(self, name: str) -> Any:
        templates = self._gallery.templates(name)
        if not len(templates):
            raise GalleryError(
                f"{name!r} has no templates here: enroll them again, or take them from their doors"
            )
        return templates

    def _id(self, door: str, alias: str) -> str:
        """Return the id of a person's record at a door: random to whoever lacks the salt, another at each door."""
        return hmac.digest(bytes.fromhex(self._known["salt"]), f"{door} {alias}".encode(), "sha256").hex()[
            :32
        ]

    def _seal(self, text: bytes, kind: str, door: str, name: str = "") -> bytes:
        box = bytes.fromhex(self._door(door)["box"])
        return seal(text, context_of(kind, door, name), signing_key=self._signing, door=box)

    def _succession(self) -> bytes:
        steps = self._known["succession"]
        return b"".join(bytes.fromhex(step["key"] + step["signature"]) for step in steps)

    def _door(self, door: str) -> dict[str, Any]:
        known = self._known["doors"].get(door)
        if known is None:
            raise UsageError(
                f"door {door[:40]!r}: expected one of {', '.join(self.doors) or 'none, add one first'}"
            )
        return dict(known)

    @property
    def _signing(self) -> bytes:
        return bytes.fromhex(self._known["signing"])

    @property
    def _box(self) -> bytes:
        return bytes.fromhex(self._known["box"])

    def _keep(self, **changed: Any) -> None:
        self._known = {**self._known, **changed}
        self._gallery.set_fleet(ROLE, self._known)


def check_size(door: str, letters: Sequence[Letter]) -> None:
    """Refuse a set that broker and link would not carry."""
    longest = max(letters, key=lambda letter: len(letter.body))
    if len(longest.body) > LONGEST_RECORD:
        what = "the manifest: too many people" if longest.levels == (MANIFEST_TOPIC,) else "one person"
        raise UsageError(
            f"door {door!r}: expected at most {LONGEST_RECORD} bytes a message, received {len(longest.body)} for "
            f"{what}: take people from this door, or enroll them with --replace and fewer samples"
        )


def replace_id(record: Record, fleet_id: str) -> Record:
    """Return a record whose person will be known by this id at the door."""
    return replace(record, profile=replace(record.profile, fleet_id=fleet_id))
