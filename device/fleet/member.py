"""Member: one door's part of a fleet: what of the keeper's it takes over, what it refuses, and what it answers.

    a manifest       of the keeper, for this door, with a sequence above all heard of: else refused, and said
    who is not in it is forgotten at once, as by `--remove`: a removal waits for nothing
    who is new or changed comes with all others, in one transaction, when every record is there; until then the set of
                     before stays, and the lease is not renewed
    local people     are none of the keeper's business: a name that is taken here stays with whom it belongs to

Nothing that comes is believed before its signature was; what is refused changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device import __version__
from device.access.profile import Profile
from device.command import owner_command
from device.errors import GalleryError, LinkError
from device.fleet.envelope import (
    ACK,
    KEY_BYTES,
    MANIFEST,
    RECORD,
    SIGNATURE_BYTES,
    SUCCESSION,
    EnvelopeBroken,
    answer,
    check_signature,
    context_of,
    open_sealed,
)
from device.fleet.records import Ack, Manifest, Record, hash_of, version_of
from device.gallery.forget import forget
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike
from device.gallery.rows import Arrival
from device.journal.trail import AuditTrail
from device.link.topics import GALLERY
from device.link.topics import MANIFEST as MANIFEST_TOPIC
from device.link.topics import SUCCESSION as SUCCESSION_TOPIC

ROLE, INCOMPLETE = "member", "incomplete"
MOST_BYTES = 64_000_000  # of records that wait for their set
RETRY_S = 30.0  # after a set that could not be stored
Templates = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A record that waits for the rest of its set."""

    version: str
    record: Record
    bytes: int


class Member:
    """A door of a fleet.

    Args:
        model_id: of this door's network.
        judge: names those of this door's own people whom templates resemble.
        entries: says how often a guest entered here.
        now: for the answers alone; what is old is judged by the door that opens.
    """

    def __init__(
        self,
        gallery: Gallery,
        path: Path,
        *,
        model_id: str,
        judge: Callable[[Templates, Mapping[str, Templates]], list[LookAlike]],
        audit: AuditTrail,
        entries: Callable[[Profile], int],
        now: Callable[[], datetime],
    ) -> None:
        self._gallery, self._path, self._model_id = gallery, path, model_id
        self._judge, self._audit, self._entries, self._now = judge, audit, entries, now
        self._version = gallery.version  # first: a change after it is seen
        self._known = gallery.fleet(ROLE)
        if not self._known:
            raise LinkError(
                f"this door belongs to no fleet yet: run {owner_command('fleet join FILE')} at it"
            )
        self._wanted: Manifest | None = None
        self._records: dict[str, Waiting] = {}  # by id
        self._waiting_bytes = 0  # of them
        self._taken: dict[
            str, tuple[bytes, str]
        ] = {}  # by id: the envelope that was opened last, and its version
        self._profiles = self._from_keeper()
        self._is_due = True  # something came since the last step
        self.is_behind = False  # the keeper has a new key: what came before may have been signed with it
        self._refused = ""
        self._fault, self._tried_s = "", float("-inf")

    @property
    def door(self) -> str:
        return str(self._known["door"])

    def take(self, levels: tuple[str, ...], body: bytes) -> str:
        """Take what came from the broker; return "" or why it is refused."""
        self._is_due = True
        try:
            if levels == (SUCCESSION_TOPIC,):
                self._take_succession(body)
            elif levels == (MANIFEST_TOPIC,):
                self._refused = self._take_manifest(body)
                return self._refused
            elif levels[:1] == (GALLERY,) and len(levels) == 2:
                self._take_record(levels[1], body)
            return ""
        except EnvelopeBroken:
            reason = "not_the_keepers"
        except LinkError:
            reason = "unreadable"
        except GalleryError:
            reason = "not_stored"
        self._refused = reason if levels == (MANIFEST_TOPIC,) else self._refused
        return reason

    def step(self, now_s: float) -> int:
        """Forget whom the keeper does not list, and apply its set where all of it is here; return how many came."""
        if self._wanted is None or not self._is_due or now_s - self._tried_s < RETRY_S:
            return 0
        self._is_due = False
        try:
            self._forget_others(self._wanted)
            count = 0 if self._why_not() else self._apply(self._wanted)
        except GalleryError as fault:
            self._fault, self._tried_s, self._is_due = str(fault), now_s, True
            self._audit.record("fault", reason="fleet_failed")
            return 0
        self._fault = ""
        return count

    def report(self) -> Ack:
        """Return what this door answers the keeper."""
        self._look_again()
        profiles, people = self._profiles, self._people()
        wanted = self._wanted.people if self._wanted is not None else self._known.get("people", {})
        return Ack(
            sequence=self._known.get("sequence", 0),
            seen=self._known.get("seen", 0),
            hash=hash_of(people),
            people=len(people),
            wanted=len(wanted),
            missing=len(self._missing(self._wanted)) if self._wanted is not None else 0,
            reason=self._reason(people),
            model_id=self._model_id,
            version=__version__,
            at=self._now().isoformat(timespec="seconds"),
            entries={
                str(profile.fleet_id): self._entries(profile)
                for profile in profiles.values()
                if profile.policy.entries is not None
            },
        )

    def _look_again(self) -> None:
        """Read what is kept here, where another program changed it: a backup was restored, or somebody removed."""
        if (version := self._gallery.version) == self._version:
            return
        known = self._gallery.fleet(ROLE)
        if known.get("secret") != self._known["secret"]:  # this door has joined anew
            self._wanted, self._refused, self.is_behind = None, "", True
            self._hold({})
            self._taken = {}
        self._known, self._profiles = known, self._from_keeper()
        self._version, self._is_due = version, True

    def seal_ack(self, ack: Ack) -> bytes:
        """Return an answer that only the keeper reads and only this door makes."""
        secret, other = self._key("secret"), self._key("keeper_box")
        return answer(ack.text(), context_of(ACK, self.door), secret=secret, other=other)

    def _take_succession(self, body: bytes) -> None:
        """Follow the keeper to a new key, step by step from the one that is known here."""
        step, keeper = KEY_BYTES + SIGNATURE_BYTES, self._key("keeper")
        for start in range(0, len(body) - step + 1, step):
            key, signature = body[start : start + KEY_BYTES], body[start + KEY_BYTES : start + step]
            try:
                check_signature(signature, key, context_of(SUCCESSION, ""), keeper)
            except EnvelopeBroken:
                continue  # a step before the key that is known here
            keeper = key
        if keeper != self._key("keeper"):
            self._keep(keeper=keeper.hex())
            self._audit.record("fleet", reason="keeper_key")
            self.is_behind = True

    def _take_manifest(self, body: bytes) -> str:
        manifest = Manifest.read(self._open(body, MANIFEST))
        known, seen = hash_of(manifest.people), self._known.get("seen", 0)
        if manifest.sequence < seen:
            return "older_manifest"
        if manifest.sequence == seen and [known, manifest.at] != self._known.get("seen_as"):
            return "conflict"  # two keepers signed the same number
        if manifest.sequence > seen:
            self._keep(seen=manifest.sequence, seen_as=[known, manifest.at])
        self._wanted, self._fault, self._tried_s = manifest, "", float("-inf")
        self._hold({each: known for each, known in self._records.items() if each in manifest.people})
        self._taken = {each: known for each, known in self._taken.items() if each in manifest.people}
        return ""

    def _take_record(self, name: str, body: bytes) -> None:
        digest, (before, version) = hashlib.sha256(body).digest(), self._taken.get(name, (b"", ""))
        if digest == before and self._is_here(name, version):
            return  # as at each connection: it need not be opened again
        text = self._open(body, RECORD, name)
        waiting = Waiting(version_of(text), Record.read(text), len(text))
        self._taken[name] = digest, waiting.version
        if self._is_here(name, waiting.version):
            return
        others = self._waiting_bytes - (self._records[name].bytes if name in self._records else 0)
        if others + waiting.bytes > MOST_BYTES:
            raise LinkError("more records than this door holds")
        self._records[name] = waiting  # its manifest may come after it
        self._waiting_bytes = others + waiting.bytes

    def _is_here(self, name: str, version: str) -> bool:
        """Say whether a record was applied here; who was removed at this door since stays so."""
        is_known = self._known.get("people", {}).get(name) == version
        return is_known and name not in self._known.get("left_out", {})

    def _hold(self, records: dict[str, Waiting]) -> None:
        self._records, self._waiting_bytes = records, sum(each.bytes for each in records.values())

    def _forget_others(self, manifest: Manifest) -> None:
        """Forget whom the keeper does not list: out of the files and the backups, looked for afterwards."""
        if self._fault:  # the last try may have come halfway
            self._profiles = self._from_keeper()
            self._gallery.scrub()
        for name, profile in list(self._profiles.items()):
            if profile.fleet_id not in manifest.people:
                self._audit.record("removed", subject=profile.alias)
                forget(self._gallery, self._path, name)
                del self._profiles[name]

    def _missing(self, manifest: Manifest) -> list[str]:
        known, people = self._known.get("people", {}), manifest.people.items()
        come = {each: waiting.version for each, waiting in self._records.items()}
        return [each for each, version in people if version not in (known.get(each), come.get(each))]

    def _why_not(self) -> str:
        """Say why the set that is wanted is not applied, "" where it can be, or is."""
        if self._wanted is None:
            return ""
        if self._wanted.people and self._wanted.model_id != self._model_id:
            return "other_model"
        return INCOMPLETE if self._missing(self._wanted) else ""

    def _reason(self, people: Mapping[str, str]) -> str:
        if self._refused:
            return self._refused
        if self._fault:
            return "not_stored"
        if why := self._why_not():
            return why
        if not self._known.get("sequence"):
            return "nothing_yet"
        if self._known["sequence"] != self._known.get("seen"):
            return "behind"
        if self._known.get("left_out"):
            return "name_taken"
        return "" if dict(people) == self._known.get("people") else "removed_here"

    def _apply(self, manifest: Manifest) -> int:
        """Store the whole set; what is there already stays as it is."""
        due = {each: w for each, w in self._records.items() if manifest.people.get(each) == w.version}
        if self._known.get("sequence") == manifest.sequence and not due:
            return 0
        everybody = self._gallery.everybody() if due else {}  # of each template it opens the seal
        own = {n: each for n, each in everybody.items() if n not in self._profiles}
        names = {each.subject_id for each in self._gallery.subjects()} - set(self._profiles)
        arrivals = []
        left_out = {e: v for e, v in self._known.get("left_out", {}).items() if manifest.people.get(e) == v}
        for each, waiting in due.items():
            record = waiting.record
            if record.subject_id in names:
                left_out[each] = waiting.version
                continue
            left_out.pop(each, None)
            profile = replace(record.profile, fleet_id=each)
            alike = self._judge(record.templates, own)
            arrivals.append(Arrival(record.subject_id, record.templates, profile, alike))
        known = {
            "sequence": manifest.sequence,
            "renewed": manifest.at,
            "people": dict(manifest.people),
            "left_out": left_out,
        }
        for arrival in arrivals:
            self._audit.record("enrolled", subject=arrival.profile.alias, templates=len(arrival.templates))
        self._known = self._gallery.take_over(arrivals, self._changed(known))
        self._hold({each: w for each, w in self._records.items() if each not in due})
        self._look_again()
        return len(arrivals)

    def _from_keeper(self) -> dict[str, Profile]:
        return {
            name: profile
            for name, profile in self._gallery.profiles().items()
            if profile.fleet_id is not None
        }

    def _people(self) -> dict[str, str]:
        known = self._known.get("people", {})
        ids = {str(profile.fleet_id) for profile in self._profiles.values()}
        return {each: version for each, version in known.items() if each in ids}

    def _open(self, body: bytes, kind: str, name: str = "") -> bytes:
        context = context_of(kind, self.door, name)
        return open_sealed(body, context, secret=self._key("secret"), keeper=self._key("keeper"))

    def _key(self, name: str) -> bytes:
        return bytes.fromhex(self._known[name])

    def _keep(self, **changed: Any) -> None:
        self._known = self._gallery.change_fleet(ROLE, self._changed(changed))

    def _changed(self, changed: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return what writes these values; GalleryError where this door has joined another fleet meanwhile."""
        secret = self._known["secret"]

        def write(known: dict[str, Any]) -> dict[str, Any]:
            if known.get("secret") != secret:
                raise GalleryError("this door has joined anew")
            return {**known, **changed}

        return write
