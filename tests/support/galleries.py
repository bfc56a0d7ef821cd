"""Galleries of tests: small ones of random templates, plain ones as 0.1.0 made them, copies of the enrolled one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from device.access.profile import Profile
from device.gallery.gallery import Gallery
from device.gallery.schema import migrations
from device.numeric.similarity import l2_normalize
from device.vault.anchor import Anchor

D = 16
PASSPHRASE = "correct horse battery"
MODEL = "mobilefacenet-0123456789ab"


def copy_gallery(gallery: Path, folder: Path) -> Path:
    """Copy a gallery with its key for a door of its own, without audit and counts, and return the copy's path."""
    for end in ("", ".key"):
        shutil.copy(f"{gallery}{end}", folder)
    copy = folder / gallery.name
    with Gallery(copy, model_id=None, dimension=1, read_only=True, any_generation=True) as opened:
        opened.seal.accept(Anchor(opened.state().generation))
    return copy


def units(count: int, seed: int = 0) -> np.ndarray:
    return l2_normalize(np.random.default_rng(seed).normal(size=(count, D)))


def open_gallery(path: Path, *, model_id: str | None = MODEL, read_only: bool = False) -> Gallery:
    return Gallery(path, model_id=model_id, dimension=D, read_only=read_only)


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def say(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def sealed_of(path: Path, name: str) -> list[bytes]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT sealed FROM templates WHERE subject_id = ? ORDER BY id", [name]).fetchall()
    return [row[0] for row in rows]


def files_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(path.name + "*")))


def before_anchors(path: Path) -> None:
    """Write the number of changes as releases did that had no anchor."""
    with open_gallery(path, read_only=True) as gallery:
        number, sealer = gallery.state().generation, gallery.seal.sealer
    code = sealer.mac(f"generation {number}".encode()).hex()
    path.with_name("gallery.db.generation").write_text(f"{number} {sealer.newest} {code}\n")
    path.with_name("gallery.db.anchor").unlink()


def filled(path: Path) -> bytes:
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(500, 1), replace=False)
    return path.read_bytes()


def plain(path: Path, rows: np.ndarray) -> None:
    """Make a gallery as 0.1.0 did."""
    db = Database(path)
    migrations.apply(db, stop_before="0002_look_alikes")
    db.execute("PRAGMA journal_mode = WAL")
    db.table("subjects").insert({"subject_id": "alice"})
    db.table("templates").insert_all(
        {"subject_id": "alice", "model_id": MODEL, "dimension": D, "embedding": row.tobytes()} for row in rows
    )
    db.close()


@contextlib.contextmanager
def plain_user() -> Iterator[Path]:
    """Give a folder and, where the tests run as root whom no mode bits stop, become somebody else."""
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), os.geteuid() == 0
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o700)


def two_people(folder: Path) -> Path:
    """Enroll alice and bob, with three random templates each, and return their gallery."""
    path = folder / "gallery.db"
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3, 0), replace=False)
        gallery.enroll("bob", units(3, 1), replace=False)
    return path


def profile(path: Path, name: str = "alice") -> Profile:
    with open_gallery(path, read_only=True) as gallery:
        return gallery.profile(name)
