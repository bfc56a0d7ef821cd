"""The gallery: templates of the enrolled subjects in one SQLite file, and the best match for a probe.

One row a template, sealed for its subject and the id of the model that made it (seal.py). Embeddings are
float32 little-endian. What another hand changed, what was rolled back and what another
key sealed is refused and stays as it is.
"""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from device.access.profile import Profile
from device.access.selftest import SelfTest, SpeciesCount
from device.errors import GalleryError, GalleryKeyError, GallerySealError, UsageError
from device.gallery.dump import Dump, dump_tables, restore_tables
from device.gallery.lookalike import LookAlike
from device.gallery.schema import reading
from device.gallery.store import SealedFile
from device.numeric.similarity import best_match
from device.types import Embedding, Match
from device.vault.keys import KeyStore

MAX_SUBJECT_ID = 64  # characters
ROTATION_S = 0.1  # from one file of a rotated key to the next
NORM_TOLERANCE = 1e-3  # float32 rounding stays below 1e-6; anything near this is damage


@dataclass(frozen=True, slots=True)
class Subject:
    """An enrolled person; `enrolled_at` is UTC, ISO 8601."""

    subject_id: str
    template_count: int
    enrolled_at: str


@dataclass(frozen=True, slots=True)
class Need:
    """What the matches of a subject with look-alikes need: a similarity of their own, and a challenge or none."""

    threshold: float
    challenge: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """All templates in memory, and the state of the file they were read at."""

    matrix: npt.NDArray[np.float32]  # (N, D), contiguous
    owners: list[str]  # N subject ids, none whose time to be forgotten has come
    needs: Mapping[str, Need]  # of the subjects that have look-alikes
    threshold: float | None  # of a door with so many templates
    data_version: int
    holds_until_s: float  # when the next subject is to be forgotten


def check_subject_id(text: str) -> str:
    """Return the subject id, NFC-normalized.

    1 to 64 letters of any script with their marks, digits, `-`, `_`, `.` and spaces; a letter or digit first,
    no space last. Anything else is a UsageError in one short line.
    """
    name = unicodedata.normalize("NFC", text)
    shown = repr(name if len(name) <= 24 else name[:24] + "...")
    if not 1 <= len(name) <= MAX_SUBJECT_ID:
        raise UsageError(
            f"name {shown} has {len(name)} characters, expected 1 to {MAX_SUBJECT_ID}: use another"
        )
    wrong = next((c for c in name if not (unicodedata.category(c)[0] in "LMN" or c in "-_. ")), None)
    if wrong is not None:
        raise UsageError(
            f"name {shown} has {wrong!r}, expected letters, digits, '-', '_', '.' or space: use another"
        )
    if unicodedata.category(name[0])[0] not in "LN" or name[-1] == " ":
        raise UsageError(
            f"name {shown} must start with a letter or digit and not end with a space: use another"
        )
    return name


class Gallery(SealedFile):
    """Enroll, list, remove and match templates of one model; a context manager.

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
        self._dimension = dimension
        self._threshold_for = threshold_for
        self._loaded: _Loaded | None = None
        super().__init__(
            path, model_id=model_id, read_only=read_only, keys=keys, any_generation=any_generation, now=now
        )

    def _drop_loaded(self) -> None:
        self._loaded = None

    def enroll(
        self,
        subject_id: str,
        templates: npt.NDArray[np.float32],
        *,
        replace: bool,
        look_alikes: Sequence[LookAlike] = (),
        profile: Profile | None = None,
    ) -> None:
        """Store (n, D) L2-normalized templates of a subject, all or none; `replace` drops those of before.

        `look_alikes` takes the place of those that the subject had; a pair that is not safe is challenged. Without a
        `profile` the subject keeps the one that is there.
        """
        name = check_subject_id(subject_id)
        blobs = [row.tobytes() for row in self._checked(templates).astype("<f4")]
        with self._changing("enroll into") as change:
            self._db.execute("INSERT INTO subjects (subject_id) VALUES (?) ON CONFLICT DO NOTHING", [name])
            if replace:
                self._db.table("templates").delete_where("subject_id = ?", [name])
            self._insert((name, str(self._model_id), self._dimension, blob) for blob in blobs)
            self._store_profile(name, profile or self._profiles().get(name) or Profile())
            self._store_look_alikes(name, look_alikes)
            change.state = change.state.remembering(name)
        if replace:
            self._scrub()

    def remove(self, subject_id: str) -> int:
        """Delete a subject, leaving no byte of the templates in the files; return how many there were."""
        name = unicodedata.normalize("NFC", subject_id)  # as it was enrolled
        with self._changing("remove from") as change:
            removed = self._db.table("templates").count_where("subject_id = ?", [name])
            self._db.table("subjects").delete_where("subject_id = ?", [name])  # cascades
            change.state = change.state.forgetting(name, self._at())
        if not self._scrub():
            raise GalleryError(
                f"the subject is removed, but {self._path}-wal keeps traces while another program reads the "
                "gallery: stop it and remove the subject again"
            )
        return removed

    def subjects(self) -> list[Subject]:
        """Return who is enrolled, by name."""
        with self._faults("read"):
            rows = self._db.conn.execute(
                "SELECT s.subject_id, count(t.id), s.enrolled_at FROM subjects s"
                " LEFT JOIN templates t USING (subject_id) GROUP BY s.subject_id ORDER BY s.subject_id"
            ).fetchall()
        return [Subject(*row) for row in rows]

    def needs(self) -> Mapping[str, Need]:
        """Return what the matches of subjects with look-alikes need."""
        with self._faults("read"):
            return self._load_needs()

    def selftest(self) -> SelfTest | None:
        """Return the verdict of the last self-test, None where there was none."""
        with self._faults("read"):
            rows = self._db.conn.execute(
                "SELECT species, shown, wrong, tested_at, liveness_id, model_id FROM selftest ORDER BY rowid"
            ).fetchall()
        if not rows:
            return None
        tested_at, liveness_id, model_id = rows[0][3:]
        return SelfTest(tested_at, liveness_id, model_id, tuple(SpeciesCount(*row[:3]) for row in rows))

    def store_selftest(self, verdict: SelfTest) -> None:
        """Store a verdict in place of the last one."""
        about = {
            "tested_at": verdict.tested_at,
            "liveness_id": verdict.liveness_id,
            "model_id": verdict.model_id,
        }
        counts = [
            {"species": each.species, "shown": each.shown, "wrong": each.wrong} for each in verdict.counts
        ]
        with self._changing("store the self-test in"):
            self._db.table("selftest").delete_where()
            self._db.table("selftest").insert_all({**each, **about} for each in counts)

    def profile(self, subject_id: str) -> Profile:
        """Return what is kept of an enrolled subject beside the templates."""
        with self._faults("read"):
            found = self._profiles().get(subject_id)
        if found is None:
            raise GalleryError(f"gallery {self._path} has no profile of {subject_id!r}: enroll the subject")
        return found

    def set_profile(self, subject_id: str, profile: Profile) -> None:
        """Store what is kept of an enrolled subject, in place of what was."""
        with self._changing("change"):
            self._store_profile(subject_id, profile)

    def over(self) -> list[str]:
        """Return whose time to be forgotten has come."""
        with self._faults("read"):
            return sorted(name for name, profile in self._profiles().items() if profile.is_over(self._at()))

    def reload(self) -> None:
        """Read the templates anew at the next match: the clock was set, and may let others be forgotten."""
        self._loaded = None

    def aliases(self) -> dict[str, str]:
        """Return the subject of each alias of the audit log."""
        with self._faults("read"):
            return {profile.alias: name for name, profile in self._profiles().items()}

    def set_backups(self, backups: Sequence[str]) -> None:
        """Keep which files `remove` is to purge too."""
        with self._changing("change") as change:
            change.state = replace(change.state, backups=tuple(backups))

    def dump(self) -> Dump:
        """Return the content for a backup, in the clear."""
        with self._faults("read"), reading(self._db.conn):
            state = self._check_seal()
            content = dump_tables(self._db.conn, self._sealed())
        return {**content, "created_at": self._at().isoformat(), "generation": state.generation}

    def restore(self, dump: Dump) -> list[str]:
        """Put a backup in the place of the content; return whom it leaves out, for they were removed since."""
        created = datetime.fromisoformat(dump["created_at"])
        with self._changing("restore") as change:
            there = [row["subject_id"] for row in dump["tables"]["subjects"]]
            removed = [name for name in there if change.state.was_forgotten(name, created)]
            restore_tables(self._db, self._sealed(), dump, removed)
        self._scrub()
        return removed

    def reseal(self) -> None:
        """Seal every row anew, with the newest key."""
        with self._changing("reseal"):
            restore_tables(self._db, self._sealed(), dump_tables(self._db.conn, self._sealed()), ())
        self._scrub()

    def count(self) -> int:
        """Return the number of templates."""
        with self._faults("read"):
            return int(self._db.table("templates").count)

    def templates(self, subject_id: str) -> npt.NDArray[np.float32]:
        """Return the templates of one subject, (n, D); none of who is not enrolled."""
        loaded = self._current()
        return loaded.matrix[np.array([owner == subject_id for owner in loaded.owners], dtype=bool)]

    def everybody(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the templates of each subject, (n, D)."""
        loaded, rows = self._current(), dict[str, list[int]]()
        for row, owner in enumerate(loaded.owners):
            rows.setdefault(owner, []).append(row)
        return {owner: loaded.matrix[theirs] for owner, theirs in rows.items()}

    def match(self, probe: Embedding) -> Match | None:
        """Return the template most alike the probe, None where nobody is enrolled; see every commit.

        The match carries the similarity that it needs, of a door with as many templates as there are now.
        """
        if probe.shape != (self._dimension,):
            raise GalleryError(
                f"gallery {self._path} expects probes of shape ({self._dimension},), received {probe.shape}: "
                "use the model it was enrolled with"
            )
        loaded = self._current()
        if not loaded.owners:
            return None
        index, similarity = best_match(loaded.matrix, probe)
        need = loaded.needs.get(loaded.owners[index])
        if need is None:
            return Match(loaded.owners[index], similarity, loaded.threshold)
        threshold = need.threshold if loaded.threshold is None else max(need.threshold, loaded.threshold)
        return Match(loaded.owners[index], similarity, threshold, need.challenge)

    def _current(self) -> _Loaded:
        with self._faults("read"):
            if self._opened not in (None, self._identity()):
                self.close()  # replaced or written over, by a restored backup say: what we hold is another one
                self._open()
            version = self._db.conn.execute("PRAGMA data_version").fetchone()[0]
            loaded = self._loaded
            if loaded is None or loaded.data_version != version or self._now() >= loaded.holds_until_s:
                self._loaded = None  # two matrices of 100,000 templates need not be in memory at once
                loaded = self._loaded = self._load_twice(version)
        return loaded

    def _load_twice(self, data_version: int) -> _Loaded:
        """Load, once more where it fails: a rotation of the key changes three files, one after the other."""
        try:
            return self._load(data_version)
        except (GalleryKeyError, GallerySealError):
            time.sleep(ROTATION_S)
            return self._load(data_version)

    def _load(self, data_version: int) -> _Loaded:
        # The version was read before the rows: a change in between is noticed at the next call, not lost.
        with reading(self._db.conn):
            self._check_seal()  # first: it knows which change is the newest now
            self._check_model()
            profiles = self._profiles()
            over = {name for name, profile in profiles.items() if profile.is_over(self._at())}
            owners, matrix = self._open_templates(over)
            needs = self._load_needs()
        threshold = self._threshold_for(len(owners)) if self._threshold_for else None
        ends = [p.retain_until.timestamp() for n, p in profiles.items() if p.retain_until and n not in over]
        return _Loaded(matrix, owners, needs, threshold, data_version, min(ends, default=math.inf))

    def _open_templates(self, over: set[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Return the subjects and the (N, D) templates, one row opened at a time: 100,000 need not lie there twice."""
        opened, size = self._sealed().open_template, 4 * self._dimension
        owners: list[str] = []
        values = bytearray()
        for name, model, sealed in self._db.conn.execute(
            "SELECT subject_id, model_id, sealed FROM templates ORDER BY id"
        ):
            if name in over:
                continue
            embedding = opened(sealed, name, model)
            if len(embedding) != size:
                raise self._damaged(f"a template of {name!r} has not {self._dimension} values")
            owners.append(name)
            values += embedding
        matrix = np.frombuffer(values, dtype="<f4").reshape(len(owners), self._dimension)
        norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        bad = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))  # written so that a NaN is bad
        if len(bad):
            raise self._damaged(f"a template of {owners[bad[0]]!r} is not of length 1")
        return owners, matrix

    def _load_needs(self) -> Mapping[str, Need]:
        rows = self._db.conn.execute(
            "SELECT subject_id, max(threshold), max(challenge) FROM look_alikes GROUP BY subject_id"
        ).fetchall()
        return {name: Need(threshold, bool(challenge)) for name, threshold, challenge in rows}

    def _store_look_alikes(self, name: str, look_alikes: Sequence[LookAlike]) -> None:
        table = self._db.table("look_alikes")
        table.delete_where("subject_id = ? OR other_id = ?", [name, name])
        pairs = [(name, each.subject_id, each.threshold, not each.is_safe) for each in look_alikes]
        pairs += [(each.subject_id, name, each.other_threshold, not each.is_safe) for each in look_alikes]
        columns = ("subject_id", "other_id", "threshold", "challenge")
        table.insert_all(
            dict(zip(columns, (one, other, min(threshold, 1.0), int(challenge)), strict=True))
            for one, other, threshold, challenge in pairs
        )

    def _checked(self, templates: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._model_id is None:
            raise GalleryError(f"gallery {self._path} was opened without a model: name one to enroll")
        rows = np.asarray(templates, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self._dimension or not len(rows):
            raise GalleryError(
                f"gallery {self._path} expects templates of shape (n, {self._dimension}), "
                f"received {rows.shape}: use the model it was opened for"
            )
        if not (np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1.0) <= NORM_TOLERANCE).all():
            raise GalleryError("templates must be finite and of length 1, received others: L2-normalize them")
        return rows
