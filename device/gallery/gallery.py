"""The gallery: templates of the enrolled subjects in one SQLite file, and the best match for a probe.

One row a template, sealed for its subject and the id of the model that made it (seal.py). Embeddings are
float32 little-endian. A gallery that somebody changed, rolled
back or sealed with another key is refused, and stays as it is.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from device.access.lease import Lease, lease_at
from device.access.profile import Profile
from device.access.selftest import SelfTest
from device.errors import GalleryChanged, GalleryError, GalleryKeyError, GallerySealError
from device.gallery.dump import Dump
from device.gallery.lookalike import LookAlike
from device.gallery.matcher import Matcher, TemplateDamaged, are_unit
from device.gallery.names import check_subject_id
from device.gallery.rows import Arrival, Need, Standing, Subject
from device.gallery.seal import GallerySeal, State
from device.gallery.store import Store, Version
from device.types import Embedding, Match
from device.vault.keys import KeyStore

ROTATION_S = 0.1  # from one file of a rotated key to the next

Self = TypeVar("Self", bound="Gallery")
FleetChange = Callable[[dict[str, Any]], dict[str, Any]]


def _check_change(state: State, at_change: int | None) -> None:
    if at_change is not None and state.generation != at_change:
        raise GalleryChanged("the gallery was changed by another program meanwhile: try again")


class Gallery:
    """Enroll, list, remove and match templates of one model; a context manager.

    It is made of a `Store`, the sealed file, and a `Matcher`, the templates in memory.

    Args:
        path: the SQLite file; made, private to its owner, unless `read_only`.
        model_id: of the configured model; templates of another are a GalleryModelError. None opens a gallery
            of any model, for `subjects`, `remove` and `count` only.
        dimension: D of the model's embeddings.
        read_only: never write, and fail where there is no gallery yet.
        threshold_for: number of templates -> the similarity that a match needs; None leaves that to the decision.
        keys: the place of the key; None looks where KeyStore does.
        any_generation: take an older copy as well, for restoring it.
    """

    def __init__(
        self,
        path: Path,
        *,
        model_id: str | None,
        dimension: int,
        read_only: bool,
        threshold_for: Callable[[int], float] | None = None,
        keys: KeyStore | None = None,
        any_generation: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._model_id, self._dimension = Path(path), model_id, dimension
        self._threshold_for, self._now = threshold_for, now
        self._matcher: Matcher | None = None
        self._version: Version | None = None  # of the file, when the matcher was read
        self._store = Store(
            path, model_id=model_id, read_only=read_only, keys=keys, any_generation=any_generation
        )

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._matcher = None
        self._store.close()

    @property
    def seal(self) -> GallerySeal:
        """The keys that this gallery is sealed with."""
        return self._store.seal

    @property
    def version(self) -> Version:
        """The state of the file: another one after each change."""
        return self._store.version()

    @property
    def newly_sealed(self) -> int:
        """How many templates were found in the clear, and sealed, when it was opened."""
        return self._store.newly_sealed

    def state(self) -> State:
        """Return the sealed state: change number, known backups, marks of those who were forgotten."""
        return self._store.state()

    @property
    def change(self) -> int:
        """The number of the newest change, whoever made it."""
        return self.state().generation

    def standing(self, subject_id: str) -> Standing:
        """Return what is stored of a subject now, to be compared with what is stored later."""
        with self._store.rows() as rows:
            return rows.standing(subject_id)

    def enroll(
        self,
        subject_id: str,
        templates: npt.NDArray[np.float32],
        *,
        replace: bool,
        look_alikes: Sequence[LookAlike] = (),
        profile: Profile | None = None,
        at_change: int | None = None,
    ) -> None:
        """Store (n, D) L2-normalized templates of a subject, all or none; `replace` drops those of before.

        `look_alikes` takes the place of those that the subject had; a pair that is not safe is challenged. Without a
        `profile` the subject keeps the one that is there. `at_change` is the `change` at which all that was checked:
        after another one nothing is stored, and it is a GalleryChanged.
        """
        name = check_subject_id(subject_id)
        blobs = [row.tobytes() for row in self._checked(templates).astype("<f4")]
        with self._store.changing("enroll into") as change:
            _check_change(change.state, at_change)
            rows = change.rows
            rows.add_subject(name)
            if replace:
                rows.remove_templates(name)
            rows.add_templates((name, str(self._model_id), self._dimension, blob) for blob in blobs)
            rows.store_profile(name, profile or rows.profile(name) or Profile())
            rows.store_look_alikes(name, look_alikes)
            change.state = change.state.remembering(name)
        if replace:
            self._store.scrub()

    def remove(self, subject_id: str) -> int:
        """Delete a subject, leaving no byte of the templates in the files; return how many there were."""
        name = unicodedata.normalize("NFC", subject_id)  # as it was enrolled
        with self._store.changing("remove from") as change:
            removed = change.rows.remove_subject(name)
            change.state = change.state.forgetting(name, self._at())
        if not self._store.scrub():
            raise GalleryError(
                f"the subject is removed, but {self._path}-wal keeps traces while another program reads the "
                "gallery: stop it and remove the subject again"
            )
        return removed

    def scrub(self) -> None:
        """Rewrite the file without what was deleted from it."""
        if not self._store.scrub():
            raise GalleryError(
                f"{self._path}-wal keeps traces while another program reads the gallery: stop it and try again"
            )

    def subjects(self) -> list[Subject]:
        """Return who is enrolled, by name."""
        with self._store.rows() as rows:
            return rows.subjects()

    def needs(self) -> Mapping[str, Need]:
        """Return what the matches of subjects with look-alikes need."""
        with self._store.rows() as rows:
            return rows.needs()

    def selftest(self) -> SelfTest | None:
        """Return the verdict of the last self-test, None where there was none."""
        with self._store.rows() as rows:
            return rows.selftest()

    def store_selftest(self, verdict: SelfTest) -> None:
        """Store a verdict in place of the last one."""
        with self._store.changing("store the self-test in") as change:
            change.rows.store_selftest(verdict)

    def profile(self, subject_id: str) -> Profile:
        """Return what is kept of an enrolled subject beside the templates; no other profile is opened."""
        with self._store.rows() as rows:
            found = rows.profile(subject_id)
        if found is None:
            raise GalleryError(f"gallery {self._path} has no profile of {subject_id!r}: enroll the subject")
        return found

    def lease(self, profile: Profile, at: datetime | None) -> Lease:
        """Return the lease of a person who came from a keeper; who was enrolled here has none to lose."""
        if profile.fleet_id is None:
            return Lease.HOLDS
        return lease_at(self._current().renewed, at)

    def fleet(self, role: str) -> dict[str, Any]:
        """Return what device/fleet keeps here of one role, `keeper` or `member`; nothing where it keeps nothing."""
        return dict(self._store.state().fleet.get(role, {}))

    def change_fleet(self, role: str, make: FleetChange) -> dict[str, Any]:
        """Keep and return what `make` makes of that, in one transaction: other programs change it as well."""
        with self._store.changing("change") as change:
            known = make(dict(change.state.fleet.get(role, {})))
            change.state = replace(change.state, fleet={**change.state.fleet, role: known})
        return known

    def take_over(self, arrivals: Sequence[Arrival], make: FleetChange) -> dict[str, Any]:
        """Store people who come from a keeper, and what this door knows of it: all in one transaction, or nothing."""
        with self._store.changing("take people into") as change:
            known = make(dict(change.state.fleet.get("member", {})))
            rows = change.rows
            for each in arrivals:
                name = check_subject_id(each.subject_id)
                rows.add_subject(name)
                rows.remove_templates(name)
                rows.add_templates(
                    (name, str(self._model_id), self._dimension, row.tobytes())
                    for row in self._checked(each.templates).astype("<f4")
                )
                rows.store_profile(name, each.profile)
                rows.store_look_alikes(name, each.look_alikes)
                change.state = change.state.remembering(name)
            change.state = replace(change.state, fleet={**change.state.fleet, "member": known})
        if arrivals:
            self._store.scrub()
        return known

    def profiles(self) -> dict[str, Profile]:
        """Return what is kept of each enrolled subject beside the templates."""
        with self._store.rows() as rows:
            return rows.profiles()

    def set_profile(self, subject_id: str, profile: Profile, *, at_change: int | None = None) -> None:
        """Store what is kept of an enrolled subject, in place of what was; `at_change` as for `enroll`."""
        with self._store.changing("change") as change:
            _check_change(change.state, at_change)
            change.rows.store_profile(subject_id, profile)

    def expired_subjects(self) -> list[str]:
        """Return the subjects whose consent expired."""
        with self._store.rows() as rows:
            return sorted(name for name, profile in rows.profiles().items() if profile.is_expired(self._at()))

    def reload(self) -> None:
        """Read the templates anew at the next match: the clock was set, and other consents may have expired."""
        self._matcher = None

    def aliases(self) -> dict[str, str]:
        """Return the subject of each alias of the audit log."""
        with self._store.rows() as rows:
            return {profile.alias: name for name, profile in rows.profiles().items()}

    def add_backup(self, path: str) -> None:
        """Keep one more file that `remove` is to purge too."""
        with self._store.changing("change") as change:
            change.state = replace(change.state, backups=(*change.state.backups, path))

    def dump(self) -> Dump:
        """Return the content for a backup, in the clear."""
        return {**self._store.dump(), "created_at": self._at().isoformat()}

    def restore(self, dump: Dump) -> list[str]:
        """Put a backup in the place of the content; return whom it leaves out, for they were removed since.

        What is kept of a fleet stays as it is where there is any: an older one would take back what was heard since.
        """
        created = datetime.fromisoformat(dump["created_at"])
        with self._store.changing("restore") as change:
            there = [row["subject_id"] for row in dump["tables"]["subjects"]]
            removed = [name for name in there if change.state.was_forgotten(name, created)]
            self._store.restore(dump, removed)
            fleet = {**dump.get("fleet", {}), **change.state.fleet}
            if "member" in fleet:  # whom the keeper gave may be another now: all of them are to come again
                fleet["member"] = {**fleet["member"], "people": {}}
            change.state = replace(change.state, fleet=fleet)
        self._store.scrub()
        return removed

    def reseal(self) -> None:
        """Seal every row anew, with the newest key."""
        with self._store.changing("reseal"):
            self._store.reseal()
        self._store.scrub()

    def count(self) -> int:
        """Return the number of templates."""
        with self._store.rows() as rows:
            return rows.count()

    def templates(self, subject_id: str) -> npt.NDArray[np.float32]:
        """Return the templates of one subject, (n, D); none of who is not enrolled."""
        return self._current().templates(subject_id)

    def everybody(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the templates of each subject, (n, D)."""
        return self._current().everybody()

    def match(self, probe: Embedding) -> Match | None:
        """Return the template most like the probe, None where nobody is enrolled; every commit counts at once.

        The match carries the similarity that it needs, of a door with as many templates as there are now.
        """
        if probe.shape != (self._dimension,):
            raise GalleryError(
                f"gallery {self._path} expects probes of shape ({self._dimension},), received {probe.shape}: "
                "use the model it was enrolled with"
            )
        return self._current().match(probe)

    def _current(self) -> Matcher:
        """Return the matcher of the file as it is now."""
        version = self._store.version()  # before the rows: a change in between is noticed at the next call
        matcher = self._matcher
        if matcher is None or self._version != version or self._now() >= matcher.holds_until_s:
            self._matcher = matcher = None  # two matrices of 100,000 templates need not be in memory at once
            matcher = self._matcher = self._read_twice()
            self._version = version
        return matcher

    def _read_twice(self) -> Matcher:
        """Read, once more where it fails: a rotation of the key changes three files, one after the other."""
        try:
            return self._read()
        except (GalleryKeyError, GallerySealError):
            time.sleep(ROTATION_S)
            return self._read()

    def _read(self) -> Matcher:
        with self._store.checked() as (rows, state):
            self._store.check_model()
            renewed = state.fleet.get("member", {}).get("renewed")
            try:
                return Matcher.read(
                    rows,
                    self._dimension,
                    self._at(),
                    self._threshold_for,
                    renewed=datetime.fromisoformat(renewed) if renewed else None,
                )
            except TemplateDamaged as fault:
                raise self._store.damaged(str(fault)) from fault

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._now(), timezone.utc)

    def _checked(self, templates: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._model_id is None:
            raise GalleryError(f"gallery {self._path} was opened without a model: name one to enroll")
        rows = np.asarray(templates, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self._dimension or not len(rows):
            raise GalleryError(
                f"gallery {self._path} expects templates of shape (n, {self._dimension}), "
                f"received {rows.shape}: use the model it was opened for"
            )
        if not are_unit(rows.astype(np.float64)).all():
            raise GalleryError("templates must be finite and of length 1, received others: L2-normalize them")
        return rows
