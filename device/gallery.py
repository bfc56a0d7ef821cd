"""The gallery: templates of the enrolled subjects in one SQLite file, and the best match for a probe.

One row a template, each with the id of the model that made it. Embeddings are float32 little-endian. The file
is private to its owner (0600), every change is one transaction, and what is removed is overwritten.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from sqlite_utils import Database, Migrations

from device.errors import GalleryError, GalleryModelError, UsageError
from device.lookalike import LookAlike
from device.selftest import SelfTest, SpeciesCount
from device.similarity import best_match
from device.types import Embedding, Match

MAX_SUBJECT_ID = 64  # characters
BUSY_TIMEOUT_S = 5.0  # how long to wait for another program's transaction
NORM_TOLERANCE = 1e-3  # float32 rounding stays below 1e-6; anything near this is damage
APPLICATION_ID = 0x46556E6C  # "FUnl" in the file's header: tells a gallery from other SQLite files
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables

migrations = Migrations("face-unlock-gallery")


@migrations(name="0001_subjects_and_templates")
def _subjects_and_templates(db: Database) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("""
        CREATE TABLE subjects (
            subject_id TEXT PRIMARY KEY CHECK (length(subject_id) BETWEEN 1 AND 64),
            enrolled_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
        ) STRICT""")
    db.execute("""
        CREATE TABLE templates (
            id INTEGER PRIMARY KEY,
            subject_id TEXT NOT NULL REFERENCES subjects (subject_id) ON DELETE CASCADE,
            model_id TEXT NOT NULL CHECK (length(model_id) > 0),
            dimension INTEGER NOT NULL CHECK (dimension > 0),
            embedding BLOB NOT NULL CHECK (length(embedding) = 4 * dimension)
        ) STRICT""")
    db.execute("CREATE INDEX templates_subject_id ON templates (subject_id)")


@migrations(name="0002_look_alikes")
def _look_alikes(db: Database) -> None:
    # One row a direction; whoever is removed takes along what others needed because of them.
    db.execute("""
        CREATE TABLE look_alikes (
            subject_id TEXT NOT NULL REFERENCES subjects (subject_id) ON DELETE CASCADE,
            other_id TEXT NOT NULL REFERENCES subjects (subject_id) ON DELETE CASCADE,
            threshold REAL NOT NULL CHECK (threshold BETWEEN -1 AND 1),
            challenge INTEGER NOT NULL CHECK (challenge IN (0, 1)),
            PRIMARY KEY (subject_id, other_id)
        ) STRICT""")


@migrations(name="0003_selftest")
def _selftest(db: Database) -> None:
    db.execute("""
        CREATE TABLE selftest (
            species TEXT PRIMARY KEY,
            shown INTEGER NOT NULL CHECK (shown >= 0),
            wrong INTEGER NOT NULL CHECK (wrong BETWEEN 0 AND shown),
            tested_at TEXT NOT NULL,
            liveness_id TEXT NOT NULL,
            model_id TEXT NOT NULL
        ) STRICT""")


NEEDED_BY_READERS = {"0001_subjects_and_templates"}  # a table of a later one may be absent, and is empty then


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
    owners: list[str]  # N subject ids
    needs: Mapping[str, Need]  # of the subjects that have look-alikes
    threshold: float | None  # of a door with so many templates
    data_version: int


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


class Gallery:
    """Enroll, list, remove and match templates of one model; a context manager.

    Args:
        path: the SQLite file; made, private to its owner, unless `read_only`.
        model_id: of the configured model; templates of another are a GalleryModelError. None opens a gallery
            of any model, for `subjects`, `remove` and `count` only.
        dimension: D of the model's embeddings.
        read_only: never write, and fail where there is no gallery yet.
        threshold_for: number of templates -> the similarity that a match needs; None leaves that to the decision.
    """

    def __init__(
        self,
        path: Path,
        *,
        model_id: str | None,
        dimension: int,
        read_only: bool,
        threshold_for: Callable[[int], float] | None = None,
    ) -> None:
        self._path = Path(path)
        self._model_id = model_id
        self._dimension = dimension
        self._read_only = read_only
        self._threshold_for = threshold_for
        self._loaded: _Loaded | None = None
        self._opened: tuple[int, ...] | None = None  # what the file was when it was opened; None is closed
        self._open()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._loaded = self._opened = None
        with suppress(sqlite3.Error):
            self._db.close()

    def enroll(
        self,
        subject_id: str,
        templates: npt.NDArray[np.float32],
        *,
        replace: bool,
        look_alikes: Sequence[LookAlike] = (),
    ) -> None:
        """Store (n, D) L2-normalized templates of a subject, all or none; `replace` drops those of before.

        `look_alikes` takes the place of those that the subject had; a pair that is not safe is challenged.
        """
        name = check_subject_id(subject_id)
        blobs = [row.tobytes() for row in self._checked(templates).astype("<f4")]
        model = {"model_id": self._model_id, "dimension": self._dimension}
        with self._faults("enroll into"):
            with _writing(self._db):
                self._db.execute(
                    "INSERT INTO subjects (subject_id) VALUES (?) ON CONFLICT DO NOTHING", [name]
                )
                if replace:
                    self._db.table("templates").delete_where("subject_id = ?", [name])
                self._db.table("templates").insert_all(
                    {"subject_id": name, **model, "embedding": b} for b in blobs
                )
                self._store_look_alikes(name, look_alikes)
            self._loaded = None
        if replace:
            self._scrub()

    def remove(self, subject_id: str) -> int:
        """Delete a subject, leaving no byte of the templates in the files; return how many there were."""
        name = unicodedata.normalize("NFC", subject_id)  # as it was enrolled
        with self._faults("remove from"):
            with _writing(self._db):
                removed = self._db.table("templates").count_where("subject_id = ?", [name])
                self._db.table("subjects").delete_where("subject_id = ?", [name])  # cascades
            self._loaded = None
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
            if not self._has("selftest"):
                return None
            rows = self._db.conn.execute(
                "SELECT species, shown, wrong, tested_at, liveness_id, model_id FROM selftest ORDER BY rowid"
            ).fetchall()
        return SelfTest(*rows[0][3:], tuple(SpeciesCount(*row[:3]) for row in rows)) if rows else None

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
        with self._faults("store the self-test in"), _writing(self._db):
            self._db.table("selftest").delete_where()
            self._db.table("selftest").insert_all({**each, **about} for each in counts)

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
        return {name: self.templates(name) for name in dict.fromkeys(self._current().owners)}

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
            # Read before the rows: a change in between is then noticed at the next call, not lost.
            version = self._db.conn.execute("PRAGMA data_version").fetchone()[0]
            if self._loaded is None or self._loaded.data_version != version:
                self._loaded = None  # two matrices of 100,000 templates need not be in memory at once
                self._loaded = self._load(version)
        return self._loaded

    def _load(self, data_version: int) -> _Loaded:
        self._check_model()
        rows = self._db.conn.execute("SELECT subject_id, embedding FROM templates ORDER BY id").fetchall()
        owners = [row[0] for row in rows]
        odd = next((row[0] for row in rows if len(row[1]) != 4 * self._dimension), None)
        if odd is not None:
            raise self._damaged(f"a template of {odd!r} has not {self._dimension} values")
        values = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f4")
        matrix = np.ascontiguousarray(values.reshape(len(rows), self._dimension), dtype=np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        bad = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))  # written so that a NaN is bad
        if len(bad):
            raise self._damaged(f"a template of {owners[bad[0]]!r} is not of length 1")
        threshold = self._threshold_for(len(owners)) if self._threshold_for else None
        return _Loaded(matrix, owners, self._load_needs(), threshold, data_version)

    def _load_needs(self) -> Mapping[str, Need]:
        if not self._has("look_alikes"):
            return {}
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

    def _has(self, table: str) -> bool:
        """Say whether the file has a table; a door may read the gallery of an older release."""
        return table in self._db.table_names()

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

    def _open(self) -> None:
        with self._faults("open"):
            if not self._read_only:
                _create(self._path)
            self._opened = self._identity()
            self._db = _connect(self._path, self._read_only)
            try:
                self._check_file()
                self._migrate()
                if self._model_id is not None:
                    self._check_model()
            except BaseException:
                self._db.close()
                raise

    def _identity(self) -> tuple[int, ...]:
        try:
            state = self._path.stat()
        except FileNotFoundError as fault:
            raise GalleryError(
                f"gallery {self._path} does not exist: enroll somebody first (python enroll.py --name NAME), "
                "or check the path"
            ) from fault
        if not stat.S_ISREG(state.st_mode):
            kind = "folder" if stat.S_ISDIR(state.st_mode) else "device or pipe"
            raise GalleryError(f"gallery {self._path} is a {kind}, expected a file: name a file")
        # `cp backup.db gallery.db` keeps the inode and SQLite's data_version, `cp -p` sets the mtime back.
        return state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns

    def _check_file(self) -> None:
        # The tables first: another program may be making the gallery, and it marks the file in the same transaction.
        tables = self._db.table_names()
        application = self._db.conn.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION_ID and tables:
            raise GalleryError(
                f"{self._path} is a SQLite file of another program, expected a gallery: name another file"
            )
        verdict = self._db.conn.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise self._damaged(" ".join(str(verdict).split())[:80])

    def _migrate(self) -> None:
        known = {migration.name for migration in migrations.pending(Database(memory=True))}
        newer = {migration.name for migration in migrations.applied(self._db)} - known
        if newer:
            raise GalleryError(
                f"gallery {self._path} was written by a newer release ({min(newer)}): update this one"
            )
        pending = {migration.name for migration in migrations.pending(self._db)}
        if not pending or (self._read_only and not pending & NEEDED_BY_READERS):
            return
        if self._read_only:
            raise GalleryError(
                f"gallery {self._path} is empty or of an older release: enroll somebody first "
                "(python enroll.py --name NAME)"
            )
        with _writing(self._db):  # a second program that opens the file at the same time waits here
            migrations.apply(self._db)

    def _check_model(self) -> None:
        others = self._db.conn.execute(
            "SELECT model_id, count(*) FROM templates WHERE model_id IS NOT ? GROUP BY model_id",
            [self._model_id],
        ).fetchall()
        if others:
            raise GalleryModelError(
                f"gallery {self._path} holds {others[0][1]} templates of model {others[0][0]}, the "
                f"configured model is {self._model_id}: remove those subjects and enroll them again "
                "(python enroll.py --list, --remove NAME, --name NAME), or name another gallery"
            )

    def _scrub(self) -> bool:
        """Rewrite the file without free pages and cut its log; False where a reader holds on to the log."""
        with self._faults("erase from"):
            self._db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._db.conn.execute("VACUUM")
            busy, _, _ = self._db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _damaged(self, what: str) -> GalleryError:
        return GalleryError(
            f"gallery {self._path} is damaged ({what}): "
            "restore a backup, or move the file away and enroll again"
        )

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as fault:
            raise GalleryError(
                f"cannot {doing} gallery {str(self._path)[:120]}: {_explain(fault)}"
            ) from fault


_EXPLAINED = (
    (
        "locked",
        f"another program holds it for more than {BUSY_TIMEOUT_S:.0f} s: stop that program or try again",
    ),
    ("readonly", "it is read-only: allow writing to the file and its folder; nothing was changed"),
    ("not a database", "the file is no SQLite database: restore a backup, or name another file"),
    ("malformed", "the file is damaged: restore a backup, or move it away and enroll again"),
    ("is full", "no space left: free some and try again; nothing stored before is lost"),
    ("disk I/O", "the disk failed or is full: check it and try again; nothing stored before is lost"),
    (
        "unable to open",
        "the file or its folder may not be read or written (a gallery needs both): check the rights",
    ),
)


def _explain(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return f"{fault.strerror or fault}: check the path and the rights"
    text = " ".join(str(fault).split())
    return next((line for sign, line in _EXPLAINED if sign in text), f"{text[:120]}: check the file")


@contextmanager
def _writing(db: Database) -> Iterator[None]:
    """Run one transaction; it takes the write lock at once, for a later upgrade fails instead of waiting."""
    db.execute("BEGIN IMMEDIATE")
    try:
        with db.atomic():
            yield
        db.commit()
    except BaseException:
        db.rollback()
        raise


def _connect(path: Path, read_only: bool) -> Database:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise GalleryError(
            f"SQLite {sqlite3.sqlite_version} is too old, expected 3.37 or newer: update the system"
        )
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        db = Database(connection, execute_plugins=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM must not spill templates into /tmp
        if not read_only:
            connection.execute("PRAGMA secure_delete = ON")
            _write_ahead(connection)
            connection.execute(
                "PRAGMA synchronous = FULL"
            )  # an enrollment survives a power cut right after it
    except BaseException:
        connection.close()
        raise
    return db


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the log on; SQLite itself does not wait for another program that does so at the same moment."""
    until_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as fault:
            if "locked" not in str(fault) or time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def _create(path: Path) -> None:
    """Make the file, 0600, and its folder, 0700, where they are missing."""
    folder = path.absolute().parent
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)  # a umask may have taken away even the owner's rights
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            if os.geteuid() == 0:  # enrolled with sudo, read by the service: its folder's owner owns the file
                owner = folder.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)
