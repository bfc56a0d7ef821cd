"""The gallery's file: one SQLite database, its tables and their history, and what its faults mean.

The file is private to its owner (0600), every change is one transaction, and what is removed is overwritten.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database, Migrations

from device.errors import GalleryError
from device.vault.sealing import OVERHEAD_BYTES

BUSY_TIMEOUT_S = 5.0  # how long to wait for another program's transaction
# Even a reader writes an index of the log beside the file. On a card that is full or read-only it cannot; then the file
# alone is read, without SQLite's locks: whoever changes it is noticed by its time, half a change by its seal.
NO_ROOM = ("unable to open", "disk I/O", "is full", "readonly")
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


@migrations(name="0004_sealed")
def _sealed(db: Database) -> None:
    # The rows themselves need the key: Gallery seals those of `plain_templates` in the same transaction.
    db.execute("ALTER TABLE templates RENAME TO plain_templates")
    db.execute("DROP INDEX templates_subject_id")
    db.execute(f"""
        CREATE TABLE templates (
            id INTEGER PRIMARY KEY,
            subject_id TEXT NOT NULL REFERENCES subjects (subject_id) ON DELETE CASCADE,
            model_id TEXT NOT NULL CHECK (length(model_id) > 0),
            dimension INTEGER NOT NULL CHECK (dimension > 0),
            sealed BLOB NOT NULL CHECK (length(sealed) = 4 * dimension + {OVERHEAD_BYTES})
        ) STRICT""")
    db.execute("CREATE INDEX templates_subject_id ON templates (subject_id)")
    db.execute("""
        CREATE TABLE profiles (
            subject_id TEXT PRIMARY KEY REFERENCES subjects (subject_id) ON DELETE CASCADE,
            sealed BLOB NOT NULL
        ) STRICT""")
    db.execute("CREATE TABLE seal (id INTEGER PRIMARY KEY CHECK (id = 1), sealed BLOB NOT NULL) STRICT")


EXPLAINED = (
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


def explain(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return f"{fault.strerror or fault}: check the path and the rights"
    text = " ".join(str(fault).split())
    return next((line for sign, line in EXPLAINED if sign in text), f"{text[:120]}: check the file")


@contextmanager
def writing(db: Database) -> Iterator[None]:
    """Run one transaction; it takes the write lock at once, for a later upgrade fails instead of waiting."""
    db.execute("BEGIN IMMEDIATE")
    try:
        with db.atomic():
            yield
        db.commit()
    except BaseException:
        db.rollback()
        raise


def connect(path: Path, read_only: bool) -> Database:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise GalleryError(
            f"SQLite {sqlite3.sqlite_version} is too old, expected 3.37 or newer: update the system"
        )
    if not read_only:
        return _connected(path, "mode=rw", read_only)
    try:
        return _connected(path, "mode=ro", read_only)
    except sqlite3.OperationalError as fault:
        if not (any(sign in str(fault) for sign in NO_ROOM) and _is_alone(path)):
            raise
        return _connected(path, "mode=ro&immutable=1", read_only)


def _is_alone(path: Path) -> bool:
    """Say whether the file holds everything, with no write-ahead log beside it."""
    log = path.with_name(f"{path.name}-wal")
    return not log.exists() or not log.stat().st_size


def _connected(path: Path, options: str, read_only: bool) -> Database:
    uri = f"{path.absolute().as_uri()}?{options}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        db = Database(connection, execute_plugins=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM must not spill templates into /tmp
        if read_only:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # finds out whether there is room
        else:
            connection.execute("PRAGMA secure_delete = ON")
            _write_ahead(connection)
            connection.execute(
                "PRAGMA synchronous = FULL"
            )  # an enrollment survives a power cut right after it
    except BaseException:
        connection.close()
        raise
    return db


def undo_torn(path: Path) -> None:
    """Let SQLite undo what a power cut tore while a new gallery was made; the log that it has later needs no undoing.

    A connection that may not write finds such a file read-only, for good.
    """
    if path.with_name(f"{path.name}-journal").exists():
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S)
        ) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the first look undoes it


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


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """See one state of the file throughout, whatever another program commits meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()
