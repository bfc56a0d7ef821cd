"""A gallery's file, opened and checked: what another hand changed is refused before anything is read or written."""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from sqlite_utils import Database

from device.access.profile import Profile, profile_from_json, profile_to_json
from device.errors import GalleryError, GalleryKeyError, GalleryModelError, GallerySealError
from device.gallery.schema import APPLICATION_ID, connect, explain, migrations, reading, undo_torn, writing
from device.gallery.seal import GallerySeal, State, generation_path
from device.vault.files import create_private
from device.vault.keys import KeyStore

Self = TypeVar("Self", bound="SealedFile")


@dataclass(slots=True)
class Change:
    """A change under way: the state before, and what it becomes with the commit."""

    state: State


class SealedFile:
    """One gallery file with its key: opening, checking, changing, erasing; `Gallery` knows what is in it."""

    def __init__(
        self,
        path: Path,
        *,
        model_id: str | None,
        read_only: bool,
        keys: KeyStore | None,
        any_generation: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path)
        self._model_id = model_id
        self._read_only = read_only
        self._keys = keys or KeyStore.of(self._path)
        self._any_generation, self._now = any_generation, now
        self._opened: tuple[int, ...] | None = None  # what the file was when it was opened; None is closed
        self._seal: GallerySeal | None = None
        self.newly_sealed = 0  # templates that were found in the clear, and sealed, when it was opened
        self._open()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._drop_loaded()
        self._opened = None
        with suppress(sqlite3.Error):
            self._db.close()

    @property
    def seal(self) -> GallerySeal:
        """The keys that this gallery is sealed with."""
        return self._sealed()

    def state(self) -> State:
        """Return the sealed state: change number, known backups, marks of those who were forgotten."""
        with self._faults("read"), reading(self._db.conn):
            return self._check_seal()

    def scrub(self) -> None:
        """Rewrite the file without what was deleted from it."""
        if not self._scrub():
            raise GalleryError(
                f"{self._path}-wal keeps traces while another program reads the gallery: stop it and try again"
            )

    def _drop_loaded(self) -> None:
        """Forget what was read of the file: it is another one now."""

    def _open(self) -> None:
        with self._faults("open"):
            if not self._read_only:
                self._check_before_writing()
                create_private(self._path)
            self._opened = self._identity()
            self._db = connect(self._path, self._read_only)
            try:
                self._check_file()
                self._check_release()
                self._migrate()
                with reading(self._db.conn):
                    self._check_seal()
                    if self._model_id is not None:
                        self._check_model()
            except BaseException:
                self._db.close()
                self._opened = ()  # tried again at the next call: the right file may be back by then
                raise

    def _check_before_writing(self) -> None:
        """Refuse what is wrong over a connection that cannot write: even opening another way changes bytes."""
        self._keys.read()
        if self._path.exists():
            undo_torn(self._path)
        if not self._path.exists() or not self._path.stat().st_size:
            return
        self._identity()
        self._db = connect(self._path, read_only=True)
        try:
            self._check_file()
            self._check_release()
            if self._is_sealed():
                with reading(self._db.conn):
                    self._check_seal()
        finally:
            self._db.close()

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

    def _check_release(self) -> None:
        known = {migration.name for migration in migrations.pending(Database(memory=True))}
        newer = {migration.name for migration in migrations.applied(self._db)} - known
        if newer:
            raise GalleryError(
                f"gallery {self._path} was written by a newer release ({min(newer)}): update this one"
            )

    def _migrate(self) -> None:
        if not migrations.pending(self._db):
            return
        if self._read_only and not self._db.table_names():
            raise GalleryError(
                f"gallery {self._path} is empty: enroll somebody first (python enroll.py --name NAME)"
            )
        is_plain = bool(self._db.table_names()) and not self._is_sealed()
        if self._read_only:
            what = "its templates are not sealed" if is_plain else "it lacks what this one needs"
            raise GalleryError(
                f"gallery {self._path} is of an older release, {what}: bring it up to date "
                "(scripts/gallery_keys.py seal), or enroll somebody"
            )
        seal = self._seal = self._prepare_seal(is_plain)
        with writing(self._db):  # a second program that opens the file at the same time waits here
            migrations.apply(self._db)
            state = self._seal_plain(seal)
        if state is not None:
            seal.committed(state)
        if self.newly_sealed and not self._scrub():
            raise GalleryError(
                f"gallery {self._path} is sealed now, but its log keeps templates in the clear while another program "
                "reads it: stop that one and run scripts/gallery_keys.py seal"
            )

    def _prepare_seal(self, is_plain: bool) -> GallerySeal:
        """Return the seal of a gallery that has none yet, with a first key where there is none."""
        path, ring = generation_path(self._path, self._keys), self._keys.read()
        if is_plain and path.exists():
            raise GallerySealError(
                f"gallery {self._path} was sealed before (there is {path}), and this one is not: somebody put it "
                "there: restore a backup (scripts/backup.py restore), or move both files away and enroll again"
            )
        seal = GallerySeal(self._path, self._keys, ring or self._keys.create())
        if ring is None:
            seal.generation.write(0)  # whatever an earlier key counted
        seal.generation.raise_to(0)  # before the first commit: from now on a missing file means something
        return seal

    def _seal_plain(self, seal: GallerySeal) -> State | None:
        """Seal the rows that a migration left in the clear; None where another program did so meanwhile."""
        if "plain_templates" not in self._db.table_names():
            return None
        rows = self._db.conn.execute(
            "SELECT subject_id, model_id, dimension, embedding FROM plain_templates ORDER BY id"
        ).fetchall()
        self._insert(rows)
        for (name,) in self._db.conn.execute("SELECT subject_id FROM subjects").fetchall():
            self._store_profile(name, Profile())
        self._db.execute("DROP TABLE plain_templates")
        self.newly_sealed = len(rows)
        return seal.store(self._db.conn, State(generation=seal.generation.read() or 0))

    def _is_sealed(self) -> bool:
        applied = {migration.name for migration in migrations.applied(self._db)}
        return "seal" in self._db.table_names() or "0004_sealed" in applied

    def _check_seal(self) -> State:
        """Return the sealed state of exactly these rows, with the key as it is now: another program may rotate it."""
        ring = self._keys.read()
        if ring is None:
            raise GalleryKeyError(
                f"gallery {self._path} is sealed, and its {self._keys} is missing: put your copy of it back, restore "
                "a backup (scripts/backup.py restore), or move the gallery away and enroll again"
            )
        if self._seal is None or self._seal.ring != ring:
            self._seal = GallerySeal(self._path, self._keys, ring, after=self._seal)
        return self._seal.check(self._db.conn, any_generation=self._any_generation)

    def _sealed(self) -> GallerySeal:
        if self._seal is None:
            raise GalleryError(f"gallery {self._path} is closed: open it again")
        return self._seal

    @contextmanager
    def _changing(self, doing: str) -> Iterator[Change]:
        """Run one transaction on rows that were checked, and seal what it leaves."""
        with self._faults(doing):
            with writing(self._db):
                change = Change(self._check_seal())
                yield change
                state = self._sealed().store(self._db.conn, change.state)
            self._drop_loaded()
            self._sealed().committed(state)

    def _insert(self, rows: Iterable[tuple[str, str, int, bytes]]) -> None:
        seal = self._sealed().seal_template
        self._db.table("templates").insert_all(
            {"subject_id": name, "model_id": model, "dimension": dimension, "sealed": seal(blob, name, model)}
            for name, model, dimension, blob in rows
        )

    def _store_profile(self, name: str, profile: Profile) -> None:
        sealed = self._sealed().seal_profile(profile_to_json(profile), name)
        self._db.execute("INSERT OR REPLACE INTO profiles (subject_id, sealed) VALUES (?, ?)", [name, sealed])

    def _profiles(self) -> dict[str, Profile]:
        rows = self._db.conn.execute("SELECT subject_id, sealed FROM profiles").fetchall()
        return {name: profile_from_json(self._sealed().open_profile(sealed, name)) for name, sealed in rows}

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._now(), timezone.utc)

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
            raise GalleryError(f"cannot {doing} gallery {str(self._path)[:120]}: {explain(fault)}") from fault
