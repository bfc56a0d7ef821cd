"""The seal over a whole gallery: a sealed state with a digest of every row and a generation.

Each template is sealed on its own (sealing.py), so it opens only for its subject and model. That alone would not show a
row that was deleted, an old one that was put back, a changed column in the clear, or a trigger that somebody added.
So one sealed record holds the digest of the whole content, tables' definitions included, and the number of changes;
the number is kept beside the key too (generation.py), and in the anchor (anchor.py).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from device.command import owner_command
from device.errors import GalleryKeyError, GallerySealError
from device.vault.anchor import Anchor, AnchorFile
from device.vault.generation import GenerationFile
from device.vault.keys import KeyRing, KeyStore
from device.vault.sealing import TAG_BYTES, SealBroken, Sealer, place_of, version_of

STATE_PLACE = place_of("state")


@dataclass(frozen=True, slots=True)
class State:
    """The sealed state of a gallery.

    `backups` are the files that `--remove` purges; `forgotten` maps the mark of a removed subject to the day, so that
    an older backup does not bring the subject back. `fleet` is what device/fleet keeps here: as `keeper` all that signs
    for the doors, as `member` what this door took over last.
    """

    generation: int = 0
    digest: str = ""
    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    backups: tuple[str, ...] = ()
    forgotten: dict[str, str] = field(default_factory=dict)
    fleet: dict[str, Any] = field(default_factory=dict, repr=False)

    def forgetting(self, subject_id: str, at: datetime) -> State:
        return replace(self, forgotten={**self.forgotten, self._mark(subject_id): at.isoformat()})

    def remembering(self, subject_id: str) -> State:
        mark = self._mark(subject_id)
        return replace(self, forgotten={m: at for m, at in self.forgotten.items() if m != mark})

    def was_forgotten(self, subject_id: str, since: datetime) -> bool:
        """Say whether a subject was removed after a time, and not enrolled again."""
        at = self.forgotten.get(self._mark(subject_id))
        return at is not None and datetime.fromisoformat(at) >= since

    def _mark(self, subject_id: str) -> str:
        """Return the mark of a removed name; without the key it does not reveal the name."""
        return hmac.digest(bytes.fromhex(self.salt), subject_id.encode(), "sha256").hex()[:32]


class GallerySeal:
    """The keys of one gallery, and what they are used for."""

    def __init__(self, path: Path, store: KeyStore, ring: KeyRing, after: GallerySeal | None = None) -> None:
        self._path, self._store, self.ring = path, store, ring
        self.sealer = Sealer(ring.keys, "gallery")
        self.generation = GenerationFile(generation_path(path, store), self.sealer)
        self.anchor = AnchorFile(self.generation, self.sealer)
        self._newest_seen: int = after._newest_seen if after else 0
        self._places: dict[tuple[str, str], bytes] = {}

    def seal_template(self, embedding: bytes, subject_id: str, model_id: str) -> bytes:
        return self.sealer.seal(embedding, self._template_place(subject_id, model_id))

    def open_template(self, sealed: bytes, subject_id: str, model_id: str) -> bytes:
        """Return the bytes of an embedding; a row of another subject, model or key is a GallerySealError."""
        try:
            return self.sealer.open(sealed, self._template_place(subject_id, model_id))
        except SealBroken as fault:
            raise self.broken(f"a template of {subject_id!r} does not open: {fault}") from None

    def seal_profile(self, profile: dict[str, Any], subject_id: str) -> bytes:
        return self.sealer.seal(json.dumps(profile).encode(), place_of("profile", subject_id))

    def open_profile(self, sealed: bytes, subject_id: str) -> dict[str, Any]:
        """Return what is kept about a subject beside the templates."""
        try:
            return json.loads(self.sealer.open(sealed, place_of("profile", subject_id)))
        except SealBroken as fault:
            raise self.broken(f"the profile of {subject_id!r} does not open: {fault}") from None

    def state(self, connection: sqlite3.Connection) -> State:
        """Open the sealed state; another key and a missing or changed state are named."""
        try:
            row = connection.execute("SELECT sealed FROM seal WHERE id = 1").fetchone()
        except sqlite3.OperationalError as fault:
            if "no such table" not in str(fault):
                raise
            row = None
        if row is None or not isinstance(row[0], bytes):
            raise self.broken("its sealed state is missing")
        try:
            known = json.loads(self.sealer.open(row[0], STATE_PLACE))
        except SealBroken as fault:
            raise GalleryKeyError(
                f"gallery {self._path} does not open with the {self._store}: {fault}: it was sealed with key "
                f"{version_of(row[0])} of another file, or was changed: put the right key back, or restore a backup"
            ) from None
        return State(**{**known, "backups": tuple(known["backups"])})

    def check(self, connection: sqlite3.Connection, *, any_generation: bool = False) -> State:
        """Return the state of a gallery whose every row is the one that was stored last; else GallerySealError.

        `any_generation` takes an older copy as well: its rows are of one moment, whichever. Call it before anything
        else is read in a transaction: a change that is committed meanwhile must not make these rows look old.
        """
        kept = None if any_generation else self.generation.read()
        anchored = 0 if any_generation else self.anchor.read().generation
        state = self.state(connection)
        if not hmac.compare_digest(state.digest, digest(connection)):
            raise self.broken("rows were added, changed, swapped or taken away")
        if any_generation:
            return state
        if kept is None:
            raise GalleryKeyError(
                f"{self.generation.path} is missing, so nobody can tell whether gallery {self._path} is the newest: "
                f"put it back, or accept the gallery as it is ({owner_command('keys accept')})"
            )
        newest = max(kept, anchored, self._newest_seen)
        if state.generation < newest:
            raise GallerySealError(
                f"gallery {self._path} was rolled back: it has change {state.generation}, the newest was {newest}: "
                f"put the newest back, or restore this one as a backup ({owner_command('backup restore')})"
            )
        self._newest_seen = state.generation
        return state

    def store(self, connection: sqlite3.Connection, state: State, **changes: Any) -> State:
        """Seal the content as it is now, within the caller's transaction; `committed` must follow."""
        new = replace(
            state,
            generation=max(state.generation, self._newest_seen) + 1,
            digest=digest(connection),
            **changes,
        )
        sealed = self.sealer.seal(json.dumps(asdict(new)).encode(), STATE_PLACE)
        connection.execute("INSERT OR REPLACE INTO seal (id, sealed) VALUES (1, ?)", [sealed])
        return new

    def committed(self, state: State) -> None:
        """Keep the generation of a change that is on the disk."""
        self._newest_seen = state.generation
        self._keep(state.generation)

    def begin(self, *, fresh: bool) -> int:
        """Return the number of changes before the first commit; from now on a missing file means something.

        `fresh` forgets what an earlier key counted.
        """
        if fresh:
            self.anchor.write(Anchor())
            self.generation.write(0)
        self._keep(0)
        return max(self.generation.read() or 0, self.anchor.read().generation)

    def accept(self, anchor: Anchor) -> None:
        """Take what is there for the newest."""
        self.anchor.write(anchor)
        self.generation.write(anchor.generation)

    def _keep(self, generation: int) -> None:
        """Raise the numbers on the disk; the anchor first, for the generation says that it is there."""
        self.anchor.update(lambda marks: replace(marks, generation=max(generation, marks.generation)))
        self.generation.raise_to(generation)

    def broken(self, what: str) -> GallerySealError:
        return GallerySealError(
            f"gallery {self._path} was changed by another hand, or is damaged: {what}: restore a backup "
            f"({owner_command('backup restore')}), or move it away and enroll again"
        )

    def _template_place(self, subject_id: str, model_id: str) -> bytes:
        who = (subject_id, model_id)
        if who not in self._places:
            self._places[who] = place_of("template", subject_id, model_id)
        return self._places[who]


def generation_path(gallery: Path, store: KeyStore) -> Path:
    """Return where the generation is kept: with the key, or beside the gallery where systemd gives the key."""
    folder = gallery.parent if store.is_credential else store.path.parent
    return folder / f"{gallery.name}.generation"


def digest(connection: sqlite3.Connection) -> str:
    """Return the SHA-256 of all that a gallery holds but its sealed state: definitions, columns, seals."""
    found = hashlib.sha256()
    schema = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    ).fetchall()
    for row in schema:
        found.update(repr(row).encode())
    for kind, table, _, _ in schema:
        if kind == "table" and table != "seal" and not table.startswith("sqlite_"):
            for row in connection.execute(
                f"SELECT {_columns(connection, table)} FROM [{table}] ORDER BY rowid"
            ):
                found.update(repr(row).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _columns(connection: sqlite3.Connection, table: str) -> str:
    """List the columns of a table; of a sealed one its tag will do, for that vouches for the rest."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info([{table}])")]
    return ", ".join(f"substr(sealed, -{TAG_BYTES})" if name == "sealed" else f"[{name}]" for name in names)
