"""Keeper: enrolls once for all doors, says who may use which, signs and seals. Its keys are part of its gallery's seal.

So an ordinary backup (scripts/backup.py) holds all that a lost keeper needs. Nothing here speaks to a network.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from device.access.profile import Profile
from device.command import owner_command
from device.config import DOOR_NAME
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
from device.fleet.letters import Letter, check_size, digest_of, tag_of
from device.fleet.records import Ack, Manifest, Record, version_of
from device.gallery.gallery import Gallery
from device.link.topics import GALLERY
from device.link.topics import MANIFEST as MANIFEST_TOPIC
from device.link.topics import SUCCESSION as SUCCESSION_TOPIC
from device.page.viewers import VIEWER

KEEPER, HOME = "keeper", "homeassistant"  # users at the broker; no door may be named so
ROLE = "keeper"
Known = dict[str, Any]  # what the gallery keeps of a keeper


class Keeper:
    """The keeper whose gallery this is.

    Args:
        model_id: of the gallery's templates.
    """

    def __init__(self, gallery: Gallery, model_id: str) -> None:
        self._gallery, self._model_id = gallery, model_id
        self._known = gallery.fleet(ROLE)
        if not self._known:
            raise UsageError(
                f"this gallery has no fleet yet: run {owner_command('fleet init --host BROKER')} first"
            )

    @classmethod
    def found(cls, gallery: Gallery, model_id: str, host: str, port: int, now: datetime) -> Keeper:
        """Make the keeper's keys and the house's authority; UsageError where there is a fleet already."""
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

        def found(before: Known) -> Known:
            if before:
                raise UsageError(
                    "this gallery has a fleet already: expected one without: "
                    f"{owner_command('fleet status')} shows it, {owner_command('fleet renew')} writes its files anew"
                )
            return known

        gallery.change_fleet(ROLE, found)
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
                f"door {door[:40]!r}: expected 1 to 32 small letters, digits and hyphens, and neither {KEEPER!r} nor "
                f"{HOME!r}, which are users of the broker: use another name"
            )
        credential, secret = self.authority.client(door, now), new_box_key()
        about = {"box": box_public(secret).hex(), "serial": credential.serial, "people": [], "sequence": 0}

        def added(known: Known) -> Known:
            if door in known["doors"]:
                raise UsageError(
                    f"door {door!r} is there already: revoke it first ({owner_command(f'fleet revoke-door {door}')})"
                )
            return {**known, "doors": {**known["doors"], door: about}}

        self._change(added)
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

    def issue(self, user: str, now: datetime) -> dict[str, Any]:
        """Return a new access to the broker for the keeper or Home Assistant, and revoke the one of before."""
        credential = self.authority.client(user, now)

        def issued(known: Known) -> Known:
            users = known.get("users", {})
            before = [users[user]] if user in users else []
            users = {**users, user: credential.serial}
            return {**known, "users": users, "revoked": [*known["revoked"], *before]}

        self._change(issued)
        return client_access(self.authority, self.address, user, credential)

    def move(self, host: str, port: int) -> None:
        """Note that the broker has another address."""
        self._change(lambda known: {**known, "host": host, "port": port})

    def add_viewer(self, name: str, now: datetime) -> Credential:
        """Return what somebody shows who may look at the doors' status pages."""
        if not DOOR_NAME.fullmatch(name):
            raise UsageError(
                f"viewer {name[:40]!r}: expected 1 to 32 small letters, digits and hyphens: use another name"
            )
        credential = self.authority.client(f"{VIEWER}{name}", now)

        def added(known: Known) -> Known:
            viewers = known.get("viewers", {})
            if name in viewers:
                raise UsageError(
                    f"viewer {name!r} is there already: revoke it first "
                    f"({owner_command(f'fleet revoke-viewer {name}')})"
                )
            return {**known, "viewers": {**viewers, name: credential.serial}}

        self._change(added)
        return credential

    def revoke_viewer(self, name: str) -> None:
        """Put a viewer's certificate among the revoked ones."""

        def revoked(known: Known) -> Known:
            viewers = dict(known.get("viewers", {}))
            if name not in viewers:
                there = ", ".join(sorted(viewers)) or "none, there are none"
                raise UsageError(f"viewer {name[:40]!r}: expected one of {there}")
            return {**known, "revoked": [*known["revoked"], viewers.pop(name)], "viewers": viewers}

        self._change(revoked)

    def revoke_door(self, door: str) -> None:
        """Give nothing to a door any more, and let the broker refuse it."""

        def revoked(known: Known) -> Known:
            serial = door_in(known, door)["serial"]
            left = {name: about for name, about in known["doors"].items() if name != door}
            return {**known, "doors": left, "revoked": [*known["revoked"], serial]}

        self._change(revoked)

    def assign(self, subject_id: str, doors: list[str], *, gives: bool) -> None:
        """Let a person of this gallery use doors, or no longer."""
        alias = self._gallery.profile(subject_id).alias

        def assigned(known: Known) -> Known:
            changed = dict(known["doors"])
            for door in doors:
                people = [each for each in door_in(known, door)["people"] if each != alias]
                changed[door] = {**changed[door], "people": [*people, alias] if gives else people}
            return {**known, "doors": changed}

        self._change(assigned)

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one vouches for it, once, also to doors that are away."""
        new = new_signing_key()
        public = signing_public(new)

        def rotated(known: Known) -> Known:
            signature = sign(public, context_of(SUCCESSION, ""), bytes.fromhex(known["signing"]))
            step = {"key": public.hex(), "signature": signature.hex()}
            doors = {door: {**about, "laid": {}} for door, about in known["doors"].items()}
            return {**known, "doors": doors, "signing": new.hex(), "succession": [*known["succession"], step]}

        self._change(rotated)

    def letters(
        self,
        door: str,
        acks: Mapping[str, Ack],
        now: datetime,
        *,
        overtake: bool = False,
        lies: Mapping[str, str] | None = None,
    ) -> list[Letter]:
        """Return all that is to lie at the broker for a door, the manifest last, under the next sequence.

        Args:
            lies: the digest of each record that lies there, by its id; what did not change is not sent again, for a
                broker writes all it has with each message.
            acks: what the doors answered last; guests' entries elsewhere are taken from them.
            overtake: go beyond a sequence that the door has and this keeper never signed.
        """
        seen = acks.get(door, Ack()).seen

        def counted(known: Known) -> Known:
            about = door_in(known, door)
            if seen > about["sequence"] and not overtake:
                raise UsageError(
                    f"door {door!r} has heard of manifest {seen}, this keeper signed {about['sequence']} at most: a "
                    "second copy of this keeper is at work, or this one was restored from a backup: settle which one "
                    "leads, then push --overtake there"
                )
            sequence = max(seen, about["sequence"]) + 1
            return {**known, "doors": {**known["doors"], door: {**about, "sequence": sequence}}}

        self._change(counted)
        sequence = self.sequence(door)
        records = {self._id(door, record.profile.alias): record for record in self._records(door, acks)}
        texts = {each: replace_id(record, each).text() for each, record in records.items()}
        versions = {each: version_of(text) for each, text in texts.items()}
        manifest = Manifest(sequence, now.isoformat(), self._model_id, versions)
        laid, there = self._door(door).get("laid", {}), lies or {}
        letters = []
        for each, text in texts.items():
            stays = each in there and laid.get(each) == tag_of(versions[each], there[each])
            letters.append(Letter((GALLERY, each), b"" if stays else self._seal(text, RECORD, door, each)))
        self._note(door, versions, letters, there)
        if self._known["succession"]:
            letters.insert(0, Letter((SUCCESSION_TOPIC,), self._succession()))
        letters.append(Letter((MANIFEST_TOPIC,), self._seal(manifest.text(), MANIFEST, door)))
        check_size(door, letters)
        return letters

    def _note(
        self, door: str, versions: Mapping[str, str], letters: Sequence[Letter], there: Mapping[str, str]
    ) -> None:
        """Keep of each record what was laid down, to know it again there; what did not arrive is not known again."""
        tags = {}
        for letter in letters:
            each = letter.levels[1]
            tags[each] = tag_of(versions[each], digest_of(letter.body) if letter.body else there[each])

        def noted(known: Known) -> Known:
            about = {**door_in(known, door), "laid": tags}
            return {**known, "doors": {**known["doors"], door: about}}

        if tags != self._door(door).get("laid", {}):
            self._change(noted)

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

    def _door(self, door: str) -> Known:
        return door_in(self._known, door)

    @property
    def _signing(self) -> bytes:
        return bytes.fromhex(self._known["signing"])

    @property
    def _box(self) -> bytes:
        return bytes.fromhex(self._known["box"])

    def _change(self, make: Callable[[Known], Known]) -> None:
        """Change what is kept, as it is now: a push at night and an admin in the morning may work at once."""
        self._known = self._gallery.change_fleet(ROLE, make)


def door_in(known: Known, door: str) -> Known:
    """Return what is kept of a door; UsageError where there is none."""
    about = known["doors"].get(door)
    if about is None:
        there = ", ".join(sorted(known["doors"])) or "none, add one first"
        raise UsageError(f"door {door[:40]!r}: expected one of {there}")
    return dict(about)


def replace_id(record: Record, fleet_id: str) -> Record:
    """Return a record whose person will be known by this id at the door."""
    return replace(record, profile=replace(record.profile, fleet_id=fleet_id))
