"""A gallery's file, opened and checked: a file that somebody changed is refused before anything is read or written."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from device.access.profile import Profile
from device.command import owner_command
from device.errors import GalleryError, GalleryKeyError, GalleryModelError, GallerySealError
from device.gallery.dump import Dump, dump_tables, restore_tables
from device.gallery.rows import Rows
from device.gallery.schema import APPLICATION_ID, connect, explain, migrations, reading, undo_torn, writing
from device.gallery.seal import GallerySeal, State, generation_path
from device.vault.files import create_private
from device.vault.keys import KeyStore

Version = tuple[int, int, int]


@dataclass(slots=True)
class Change:
    """A change under way: the rows, the state before, and what it becomes with the commit."""

    rows: Rows
    state: State


class Store:
    """One gallery file with its key: opening, checking, changing, erasing.

    Args:
        path: the SQLite file; made, private to its owner, unless `read_only`.
        model_id: of the configured model; templates of another are a GalleryModelError. None takes any model.
        keys: the place of the key; None looks where KeyStore does.
        any_generation: take an older copy as well, for restoring it.
    """

    def __init__(
        self,
        path: Path,
        *,
        model_id: str | None,
        read_only: bool,
        keys: KeyStore | None,
        any_generation: bool,
    ) -> None:
        self.path = Path(path)
        self._model_id = model_id
        self._read_only = read_only
        self._keys = keys or KeyStore.of(self.path)
        self._any_generation = any_generation
        self._opened: tuple[int, ...] | None = None  # what the file was when it was opened; None is closed
        self._openings = self._changes = 0
        self._seal: GallerySeal | None = None
        self.newly_sealed = 0  # templates that were found in the clear, and sealed, when it was opened
        self._open()

    def close(self) -> None:
        self._opened = None
        with suppress(sqlite3.Error):
            self._db.close()

    @property
    def seal(self) -> GallerySeal:
        """The keys that this gallery is sealed with."""
        if self._seal is None:
            raise GalleryError(f"gallery {self.path} is closed: open it again")
        return self._seal

    def version(self) -> Version:
        """Return what changes with each change of the file, whoever makes it; a replaced file is opened anew."""
        with self._faults("read"):
            if self._opened not in (None, self._identity()):
                self.close()  # replaced or written over, by a restored backup say: what we hold is another one
                self._open()
            data_version = self._db.conn.execute("PRAGMA data_version").fetchone()[0]
        return self._openings, self._changes, data_version

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """Read rows of now; each opens by itself, nobody looks at the others."""
        with self._faults("read"):
            yield Rows(self._db, self.seal)

    @contextmanager
    def checked(self) -> Iterator[tuple[Rows, State]]:
        """Read the rows of one moment, which are exactly those that were stored last."""
        with self._faults("read"), reading(self._db.conn):
            state = self._check_seal()  # first: it knows which change is the newest now
            yield Rows(self._db, self.seal), state

    @contextmanager
    def changing(self, doing: str) -> Iterator[Change]:
        """Run one transaction on rows that were checked, and seal what it leaves."""
        with self._faults(doing):
            with writing(self._db):
                state = self._check_seal()
                change = Change(Rows(self._db, self.seal), state)
                yield change
                state = self.seal.store(self._db.conn, change.state)
            self._changes += 1
            self.seal.committed(state)

    def state(self) -> State:
        """Return the sealed state: change number, known backups, marks of those who were forgotten."""
        with self.checked() as (_, state):
            return state

    def dump(self) -> Dump:
        """Return every row in the clear, and the number of changes."""
        with self.checked() as (_, state):
            tables = dump_tables(self._db.conn, self.seal)
        return {**tables, "generation": state.generation, "fleet": state.fleet}

    def restore(self, dump: Dump, leave_out: list[str]) -> None:
        """Put a dump in the place of all rows; call it within `changing`."""
        restore_tables(self._db, self.seal, dump, leave_out)

    def reseal(self) -> None:
        """Seal every row with the newest key; call it within `changing`."""
        self.restore(dump_tables(self._db.conn, self.seal), [])

    def scrub(self) -> bool:
        """Rewrite the file without free pages and cut its log; False where a reader holds on to the log."""
        with self._faults("erase from"):
            self._db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._db.conn.execute("VACUUM")
            busy, _, _ = self._db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def check_model(self) -> None:
        """Refuse templates of another model than the configured one."""
        others = self._db.conn.execute(
            "SELECT model_id, count(*) FROM templates WHERE model_id IS NOT ? GROUP BY model_id",
            [self._model_id],
        ).fetchall()
        if others:
            raise GalleryModelError(
                f"gallery {self.path} holds {others[0][1]} templates of model {others[0][0]}, the "
                f"configured model is {self._model_id}: remove those subjects and enroll them again "
                f"({owner_command('remove NAME')}), or name another gallery"
            )

    def damaged(self, what: str) -> GalleryError:
        return GalleryError(
            f"gallery {self.path} is damaged ({what}): restore a backup, or move the file away and enroll again"
        )

    def _open(self) -> None:
        with self._faults("open"):
            if not self._read_only:
                self._check_before_writing()
                create_private(self.path)
            self._opened = self._identity()
            self._openings += 1
            self._db = connect(self.path, self._read_only)
            try:
                self._check_file()
                self._check_release()
                self._migrate()
                with reading(self._db.conn):
                    self._check_seal()
                    if self._model_id is not None:
                        self.check_model()
            except BaseException:
                self._db.close()
                self._opened = ()  # tried again at the next call: the right file may be back by then
                raise

    def _check_before_writing(self) -> None:
        """Refuse what is wrong over a connection that cannot write: even opening another way changes bytes."""
        self._keys.read()
        if self.path.exists():
            undo_torn(self.path)
        if not self.path.exists() or not self.path.stat().st_size:
            return
        self._identity()
        self._db = connect(self.path, read_only=True)
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
            state = self.path.stat()
        except FileNotFoundError as fault:
            raise GalleryError(
                f"gallery {self.path} does not exist: enroll somebody first ({owner_command('enroll NAME')}), "
                "or check the path"
            ) from fault
        if not stat.S_ISREG(state.st_mode):
            kind = "folder" if stat.S_ISDIR(state.st_mode) else "device or pipe"
            raise GalleryError(f"gallery {self.path} is a {kind}, expected a file: name a file")
        # `cp backup.db gallery.db` keeps the inode and SQLite's data_version, `cp -p` sets the mtime back.
        return state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns

    def _check_file(self) -> None:
        # The tables first: another program may be making the gallery, and it marks the file in the same transaction.
        tables = self._db.table_names()
        application = self._db.conn.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION_ID and tables:
            raise GalleryError(
                f"{self.path} is a SQLite file of another program, expected a gallery: name another file"
            )
        verdict = self._db.conn.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise self.damaged(" ".join(str(verdict).split())[:80])

    def _check_release(self) -> None:
        known = {migration.name for migration in migrations.pending(Database(memory=True))}
        try:
            applied = [str(migration.name) for migration in migrations.applied(self._db)]
        except LookupError as fault:  # its table of migrations has other columns
            raise self.damaged(f"its history has no {fault}") from fault
        newer = set(applied) - known
        if newer:
            raise GalleryError(
                f"gallery {self.path} was written by a newer release ({min(newer)[:40]!r}): update this one"
            )

    def _migrate(self) -> None:
        if not migrations.pending(self._db):
            return
        if self._read_only and not self._db.table_names():
            raise GalleryError(
                f"gallery {self.path} is empty: enroll somebody first ({owner_command('enroll NAME')})"
            )
        is_plain = bool(self._db.table_names()) and not self._is_sealed()
        if self._read_only:
            what = "its templates are not sealed" if is_plain else "it lacks what this one needs"
            raise GalleryError(
                f"gallery {self.path} is of an older release, {what}: bring it up to date "
                f"({owner_command('keys seal')}), or enroll somebody"
            )
        seal = self._seal = self._prepare_seal(is_plain)
        with writing(self._db):  # a second program that opens the file at the same time waits here
            migrations.apply(self._db)
            state = self._seal_plain(seal)
        if state is not None:
            seal.committed(state)
        if self.newly_sealed and not self.scrub():
            raise GalleryError(
                f"gallery {self.path} is sealed now, but its log keeps templates in the clear while another program "
                f"reads it: stop that one and run {owner_command('keys seal')}"
            )

    def _prepare_seal(self, is_plain: bool) -> GallerySeal:
        """Return the seal of a gallery that has none yet, with a first key where there is none."""
        path, ring = generation_path(self.path, self._keys), self._keys.read()
        if is_plain and path.exists():
            raise GallerySealError(
                f"gallery {self.path} was sealed before (there is {path}), and this one is not: somebody put it "
                f"there: restore a backup ({owner_command('backup restore')}), or move both files away and enroll again"
            )
        seal = GallerySeal(self.path, self._keys, ring or self._keys.create())
        seal.begin(fresh=ring is None)
        return seal

    def _seal_plain(self, seal: GallerySeal) -> State | None:
        """Seal the rows that a migration left in the clear; None where another program did so meanwhile."""
        if "plain_templates" not in self._db.table_names():
            return None
        plain = self._db.conn.execute(
            "SELECT subject_id, model_id, dimension, embedding FROM plain_templates ORDER BY id"
        ).fetchall()
        rows = Rows(self._db, seal)
        rows.add_templates(plain)
        for each in rows.subjects():
            rows.store_profile(each.subject_id, Profile())
        self._db.execute("DROP TABLE plain_templates")
        self.newly_sealed = len(plain)
        return seal.store(self._db.conn, State(generation=seal.begin(fresh=False)))

    def _is_sealed(self) -> bool:
        applied = {migration.name for migration in migrations.applied(self._db)}
        return "seal" in self._db.table_names() or "0004_sealed" in applied

    def _check_seal(self) -> State:
        """Return the sealed state of exactly these rows, with the key as it is now: another program may rotate it."""
        ring = self._keys.read()
        if ring is None:
            raise GalleryKeyError(
                f"gallery {self.path} is sealed, and its {self._keys} is missing: put your copy of it back, restore "
                f"a backup ({owner_command('backup restore')}), or move the gallery away and enroll again"
            )
        if self._seal is None or self._seal.ring != ring:
            self._seal = GallerySeal(self.path, self._keys, ring, after=self._seal)
        return self._seal.check(self._db.conn, any_generation=self._any_generation)

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as fault:
            raise GalleryError(f"cannot {doing} gallery {str(self.path)[:120]}: {explain(fault)}") from fault
