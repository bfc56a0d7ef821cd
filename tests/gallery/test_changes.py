"""Changes that others make while a gallery is open, and changes that are cut off."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from device.errors import GalleryError, GalleryKeyError
from device.gallery.seal import GallerySeal
from tests.support.galleries import (
    open_gallery,
    units,
)

fork = multiprocessing.get_context("fork")


def test_own_changes_are_seen_at_the_next_match(gallery):
    probe = units(1, 9)[0]
    assert gallery.match(probe) is None
    gallery.enroll("alice", probe[None], replace=False)
    assert gallery.match(probe).subject_id == "alice"
    gallery.remove("alice")
    assert gallery.match(probe) is None


@pytest.mark.parametrize("read_only", [False, True])
def test_changes_of_another_connection_are_seen_at_the_next_match(path, read_only):
    probe = units(1, 9)[0]
    with open_gallery(path) as writer, open_gallery(path, read_only=read_only) as reader:
        assert reader.match(probe) is None
        writer.enroll("alice", probe[None], replace=False)
        assert reader.match(probe).subject_id == "alice"
        writer.remove("alice")
        assert reader.match(probe) is None


def enroll_elsewhere(path: Path, name: str, seed: int) -> None:
    with open_gallery(path) as gallery:
        gallery.enroll(name, units(3, seed), replace=False)


def test_changes_of_another_process_are_seen_at_the_next_match(gallery, path):
    assert gallery.match(units(1, 5)[0]) is None
    process = fork.Process(target=enroll_elsewhere, args=(path, "carol", 5))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert gallery.match(units(3, 5)[2]).subject_id == "carol"


def test_processes_that_enroll_at_the_same_time_lose_nothing(path):
    processes = [fork.Process(target=enroll_elsewhere, args=(path, f"subject {i}", i)) for i in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 6
    with open_gallery(path) as gallery:
        assert gallery.count() == 18


def test_the_matrix_is_read_once_while_nothing_changes(gallery):
    gallery.enroll("alice", units(3), replace=False)
    gallery.match(units(1)[0])
    matrix = gallery._matcher.matrix
    gallery.match(units(1, 4)[0])
    assert gallery._matcher.matrix is matrix
    assert matrix.dtype == np.float32
    assert matrix.flags.f_contiguous


def test_another_gallery_in_its_place_is_refused(gallery, path, tmp_path):
    gallery.enroll("alice", units(1, 1), replace=False)
    assert gallery.match(units(1, 1)[0]).subject_id == "alice"
    other = tmp_path / "other.db"
    with open_gallery(other) as strangers:
        strangers.enroll("bob", units(1, 2), replace=False)
    other.replace(path)
    for log in tmp_path.glob("gallery.db-*"):
        log.unlink()
    with pytest.raises(GalleryKeyError, match="another"):
        gallery.match(units(1, 2)[0])


# A failing call loses nothing


def test_an_enrollment_that_fails_in_the_middle_leaves_the_old_templates(gallery, monkeypatch):
    old = units(3, 1)
    gallery.enroll("alice", old, replace=False)
    seal, sealed = GallerySeal.seal_template, []

    def stop(self: GallerySeal, *row: object) -> bytes:
        if len(sealed) == 4:
            raise sqlite3.OperationalError("stopped in the middle")
        sealed.append(seal(self, *row))
        return sealed[-1]

    for name in ("alice", "bob"):
        sealed.clear()
        monkeypatch.setattr(GallerySeal, "seal_template", stop)
        with pytest.raises(GalleryError, match="stopped in the middle"):
            gallery.enroll(name, units(9, 2), replace=True)
        monkeypatch.undo()
    assert [(s.subject_id, s.template_count) for s in gallery.subjects()] == [("alice", 3)]
    assert gallery.match(old[0]).similarity == pytest.approx(1.0, abs=1e-6)
    gallery.enroll("bob", units(9, 2), replace=False)
    assert gallery.count() == 12


def die_while_enrolling(path: Path) -> None:
    gallery = open_gallery(path)

    def kill(statement: str) -> None:
        if statement.startswith("COMMIT"):
            os.kill(os.getpid(), signal.SIGKILL)

    gallery._store._db.conn.set_trace_callback(kill)
    gallery.enroll("alice", units(50, 2), replace=True)


def test_a_process_killed_before_the_commit_leaves_the_old_templates(gallery, path):
    gallery.enroll("alice", units(3, 1), replace=False)
    process = fork.Process(target=die_while_enrolling, args=(path,))
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert gallery.count() == 3
    assert gallery.match(units(3, 1)[1]).subject_id == "alice"


def test_ctrl_c_in_the_middle_leaves_the_old_templates(gallery, monkeypatch):
    gallery.enroll("alice", units(3, 1), replace=False)

    def interrupt(statement: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(gallery._store._db), "commit", lambda self: interrupt(""))
    with pytest.raises(KeyboardInterrupt):
        gallery.enroll("alice", units(9, 2), replace=True)
    monkeypatch.undo()
    assert gallery.count() == 3
