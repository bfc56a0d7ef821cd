"""Forget a subject: out of the gallery, its files and the backups it knows, and say what was done."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from device.errors import FaceUnlockError, GalleryError
from device.gallery.backup import purge
from device.gallery.gallery import Gallery


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was deleted of a subject; `left` are backups that could not be purged, each with its cause."""

    subject_id: str
    alias: str
    templates: int
    purged: Sequence[str]
    left: Sequence[str]

    def lines(self) -> list[str]:
        """Say it to a person."""
        deleted = f"{self.templates} template{'' if self.templates == 1 else 's'} deleted"
        told = [f"{deleted}, the file rewritten and read again: nothing of them is left"]
        told += [f"purged: backup {path}" for path in self.purged]
        return told + [f"not purged: backup {cause}" for cause in self.left]


def forget(gallery: Gallery, path: Path, subject_id: str) -> Receipt:
    """Remove a subject for good; GalleryError where anything of it is left in the gallery's own files."""
    alias = gallery.profile(subject_id).alias
    sealed = _sealed_rows(path, subject_id)
    removed = gallery.remove(subject_id)
    _check_gone(path, subject_id, sealed)
    purged, left = [], []
    for backup in gallery.state().backups:
        try:
            if purge(Path(backup), subject_id, gallery.seal.sealer):
                purged.append(backup)
        except (FaceUnlockError, OSError) as fault:
            left.append(str(fault) if backup in str(fault) else f"{backup}: {fault}")
    return Receipt(subject_id, alias, removed, purged, left)


def _sealed_rows(path: Path, subject_id: str) -> list[bytes]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT sealed FROM templates WHERE subject_id = ?", [subject_id]
        ).fetchall()
        rows += connection.execute(
            "SELECT sealed FROM profiles WHERE subject_id = ?", [subject_id]
        ).fetchall()
    return [row[0] for row in rows]


def _check_gone(path: Path, subject_id: str, sealed: list[bytes]) -> None:
    """Look for the subject over a new connection, and for the sealed bytes in the files themselves."""
    files = [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")]
    raw = b"".join(file.read_bytes() for file in files if file.exists())
    if _sealed_rows(path, subject_id) or any(row in raw for row in sealed):
        raise GalleryError(
            f"gallery {path} still holds bytes of {subject_id!r}: stop the door and remove it again"
        )
