from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.access.policy import Policy
from device.access.profile import Profile
from device.access.selftest import SelfTest, SpeciesCount
from device.decide.decider import DecisionRule, Sight
from device.errors import GalleryError, GalleryKeyError, GalleryModelError, GallerySealError, UsageError
from device.gallery import schema
from device.gallery.gallery import Gallery, check_subject_id
from device.gallery.seal import GallerySeal, State
from device.gallery.store import Store
from device.numeric.similarity import l2_normalize
from device.vault.anchor import Anchor
from tests.support.deciding import make_decider
from tests.support.galleries import (
    MODEL,
    D,
    before_anchors,
    files_of,
    filled,
    one_line,
    open_gallery,
    plain,
    plain_user,
    say,
    sealed_of,
    units,
)

fork = multiprocessing.get_context("fork")


# What a gallery is for


def test_an_empty_gallery_matches_nobody(gallery):
    assert gallery.match(units(1)[0]) is None
    assert gallery.count() == 0
    assert gallery.subjects() == []


def test_enrolled_subjects_are_matched_and_listed(gallery):
    alice, bob = units(5, 1), units(2, 2)
    gallery.enroll("bob", bob, replace=False)
    gallery.enroll("alice", alice, replace=False)
    assert [(s.subject_id, s.template_count) for s in gallery.subjects()] == [("alice", 5), ("bob", 2)]
    assert gallery.subjects()[0].enrolled_at.endswith("Z")
    for template in alice:
        match = gallery.match(template)
        assert match is not None
        assert match.subject_id == "alice"
        assert match.similarity == pytest.approx(1.0, abs=1e-6)


def test_templates_survive_closing_to_the_last_bit(path):
    rows = units(7)
    with open_gallery(path) as gallery:
        gallery.enroll("alice", rows, replace=False)
    with open_gallery(path, read_only=True) as door:
        assert (door.templates("alice") == rows).all()
    assert not any(row.tobytes()[:12] in files_of(path) for row in rows)


def test_enrolling_again_adds_or_replaces(gallery):
    gallery.enroll("alice", units(3, 1), replace=False)
    gallery.enroll("alice", units(2, 2), replace=False)
    assert gallery.count() == 5
    gallery.enroll("alice", units(1, 3), replace=True)
    assert gallery.count() == 1
    assert gallery.match(units(1, 1)[0]).similarity < 0.99


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


@pytest.mark.parametrize("copy", [shutil.copyfile, shutil.copy2])
def test_an_older_copy_over_the_open_file_is_refused_until_the_newest_is_back(path, tmp_path, copy):
    filled(path)
    older = Path(shutil.copy2(path, tmp_path / "older.db"))
    with open_gallery(path) as writer:
        writer.enroll("bob", units(1, 2), replace=False)
    newest = Path(shutil.copy2(path, tmp_path / "newest.db"))
    with open_gallery(path, read_only=True) as door:
        assert door.match(units(1, 2)[0]).subject_id == "bob"
        time.sleep(0.02)  # the clock of some file systems moves every 10 ms
        copy(older, path)  # the same file, other content: SQLite's own counter does not move
        for _ in range(2):
            with pytest.raises(GallerySealError, match="rolled back"):
                door.match(units(1, 2)[0])
    assert path.read_bytes() == older.read_bytes()
    copy(newest, path)
    with open_gallery(path, read_only=True) as door:
        assert door.match(units(1, 2)[0]).subject_id == "bob"


def test_the_templates_of_a_subject(gallery):
    assert gallery.templates("alice").shape == (0, D)
    gallery.enroll("bob", units(2, 2), replace=False)
    gallery.enroll("alice", units(3, 1), replace=False)
    assert (gallery.templates("alice") == units(3, 1)).all()
    assert gallery.templates("carol").shape == (0, D)


def test_a_gallery_that_disappears_grants_nobody(gallery, path):
    gallery.enroll("alice", units(1), replace=False)
    gallery.match(units(1)[0])
    path.unlink()
    with pytest.raises(GalleryError, match="does not exist"):
        gallery.match(units(1)[0])


# Removing


def test_removing_an_unknown_subject_removes_nothing(gallery):
    gallery.enroll("alice", units(2), replace=False)
    assert gallery.remove("nobody") == 0
    assert gallery.count() == 2


@pytest.mark.parametrize("how", ["remove", "replace"])
def test_no_byte_of_a_removed_template_stays_in_the_files(path, how):
    secret, kept = units(40, 1), units(40, 2)
    with open_gallery(path) as gallery, open_gallery(path, read_only=True) as reader:
        gallery.enroll("secretname", secret, replace=False)
        gallery.enroll("kept", kept, replace=False)
        reader.match(secret[0])
        sealed, others = sealed_of(path, "secretname"), sealed_of(path, "kept")
        assert all(row in files_of(path) for row in sealed + others)
        assert not any(row.tobytes()[:12] in files_of(path) for row in secret)
        if how == "remove":
            assert gallery.remove("secretname") == 40
        else:
            gallery.enroll("secretname", units(1, 3), replace=True)
        left = files_of(path)
        assert not any(row[17:33] in left for row in sealed)
        assert (b"secretname" in left) == (how == "replace")
        assert all(row in left for row in others)
    assert not any(row[17:33] in files_of(path) for row in sealed)


def test_a_reader_in_the_way_of_erasing_is_said(path, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.1)
    with open_gallery(path) as gallery, contextlib.closing(sqlite3.connect(path)) as reader:
        gallery.enroll("alice", units(2), replace=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM templates").fetchone()
        with pytest.raises(GalleryError) as caught:
            gallery.remove("alice")
        assert "keeps traces" in one_line(caught)
        assert gallery.count() == 0
        reader.rollback()
        assert gallery.remove("alice") == 0  # the same command again erases
        assert units(2)[0].tobytes() not in files_of(path)


# The model


def test_templates_of_another_model_are_an_error_that_names_both(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    for read_only in (False, True):
        with pytest.raises(GalleryModelError) as caught:
            open_gallery(path, model_id="mobilefacenet-ffffffffffff", read_only=read_only)
        text = one_line(caught)
        assert MODEL in text
        assert "mobilefacenet-ffffffffffff" in text
        assert "enroll" in text


def test_another_model_that_enrolls_meanwhile_is_an_error_not_a_low_similarity(gallery, path):
    gallery.enroll("alice", units(1), replace=False)
    gallery.match(units(1)[0])
    with open_gallery(path, model_id=None) as other:
        other.remove("alice")
    with open_gallery(path, model_id="other") as other:
        other.enroll("alice", units(1), replace=False)
    with pytest.raises(GalleryModelError, match="other"):
        gallery.match(units(1)[0])


def test_without_a_model_a_gallery_lists_and_removes_only(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    with open_gallery(path, model_id=None) as gallery:
        assert [s.subject_id for s in gallery.subjects()] == ["alice"]
        with pytest.raises(GalleryError, match="without a model"):
            gallery.enroll("bob", units(1), replace=False)
        with pytest.raises(GalleryModelError):
            gallery.match(units(1)[0])
        assert gallery.remove("alice") == 3
    with open_gallery(path, model_id="another"):
        pass


def test_a_probe_of_another_dimension_is_an_error(gallery):
    gallery.enroll("alice", units(1), replace=False)
    with pytest.raises(GalleryError, match=r"\(16,\), received \(8,\)"):
        gallery.match(np.ones(8, np.float32))


def test_a_nan_probe_is_not_hidden(gallery):
    gallery.enroll("alice", units(3), replace=False)
    assert np.isnan(gallery.match(np.full(D, np.nan, np.float32)).similarity)


@pytest.mark.parametrize(
    ("templates", "says"),
    [
        (np.zeros((0, D), np.float32), "shape"),
        (units(1)[0], "shape"),
        (np.ones((2, D + 1), np.float32), "shape"),
        (np.zeros((1, D), np.float32), "length 1"),
        (units(1) * 2, "length 1"),
        (np.full((1, D), np.nan, np.float32), "finite"),
    ],
)
def test_bad_templates_are_refused_and_nothing_changes(gallery, templates, says):
    gallery.enroll("alice", units(2), replace=False)
    with pytest.raises(GalleryError, match=says):
        gallery.enroll("alice", templates, replace=True)
    assert gallery.count() == 2


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


def test_a_full_disk_is_one_line_and_loses_nothing(gallery):
    gallery.enroll("alice", units(3, 1), replace=False)
    pages = gallery._store._db.conn.execute("PRAGMA page_count").fetchone()[0]
    gallery._store._db.conn.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
    with pytest.raises(GalleryError) as caught:
        gallery.enroll("bob", units(2000, 2), replace=False)
    assert "no space left" in one_line(caught)
    assert [(s.subject_id, s.template_count) for s in gallery.subjects()] == [("alice", 3)]
    assert gallery.match(units(3, 1)[0]).subject_id == "alice"


def test_a_write_that_the_system_refuses_is_one_line_and_loses_nothing(gallery, path):
    gallery.enroll("alice", units(3, 1), replace=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, hard))
    try:
        with pytest.raises(GalleryError) as caught:
            gallery.enroll("bob", units(4000, 2), replace=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "disk" in one_line(caught)
    assert gallery.count() == 3
    gallery.enroll("bob", units(2, 2), replace=False)
    assert gallery.count() == 5


# Files that are no gallery


def test_another_program_that_holds_the_gallery_is_waited_for_then_named(path, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.1)
    with open_gallery(path) as gallery, contextlib.closing(sqlite3.connect(path)) as other:
        gallery.enroll("alice", units(1), replace=False)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(GalleryError) as caught:
            gallery.enroll("bob", units(1, 2), replace=False)
        assert "another program" in one_line(caught)
        assert gallery.match(units(1)[0]).subject_id == "alice"  # the door goes on meanwhile
        with open_gallery(path, read_only=True) as reader:
            assert reader.count() == 1
        other.rollback()
        gallery.enroll("bob", units(1, 2), replace=False)
        assert gallery.count() == 2


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        b"Dear gallery,\nI am a letter.\n" * 50,
        os.urandom(5000),
        b"SQLite format 3\0" + bytes(range(256)) * 20,
    ],
    ids=["text", "noise", "broken header"],
)
def test_a_file_that_is_no_database_is_one_line_and_stays_as_it_is(path, content, read_only):
    path.write_bytes(content)
    with pytest.raises(GalleryError) as caught:
        open_gallery(path, read_only=read_only)
    assert str(path) in one_line(caught)
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [False, True])
def test_a_truncated_gallery_is_one_line(path, read_only):
    content = filled(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(GalleryError, match="damaged"):
        open_gallery(path, read_only=read_only)


def test_a_gallery_with_overwritten_pages_is_one_line(path):
    content = bytearray(filled(path))
    content[8192:20480] = os.urandom(12288)
    path.write_bytes(content)
    with pytest.raises(GalleryError) as caught:
        open_gallery(path)
    assert "damaged" in one_line(caught)


def test_a_template_that_is_no_unit_vector_is_damage_not_a_similarity(gallery, path, monkeypatch):
    monkeypatch.setattr(Gallery, "_checked", lambda self, rows: rows)
    for blob in (np.full(D, np.nan, "<f4"), np.full(D, 1e30, "<f4"), np.zeros(D, "<f4")):
        gallery.enroll("alice", blob[None], replace=True)
        with pytest.raises(GalleryError, match="'alice' is not of length 1"):
            gallery.match(units(1)[0])


def test_a_template_of_another_dimension_under_the_same_model_is_damage(gallery, path):
    with Gallery(path, model_id=MODEL, dimension=2, read_only=False) as other:
        other.enroll("alice", np.eye(2, dtype=np.float32)[:1], replace=False)
    with pytest.raises(GalleryError, match="has not 16 values"):
        gallery.match(units(1)[0])


@pytest.mark.parametrize(
    "row", ["'bob', 'm', 16, zeroblob(97)", "'alice', 'm', 16, zeroblob(96)", "'alice', 'm', 16, 'text'"]
)
def test_the_file_itself_refuses_rows_that_make_no_sense(gallery, path, row):
    gallery.enroll("alice", units(1), replace=False)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(f"INSERT INTO templates (subject_id, model_id, dimension, sealed) VALUES ({row})")


def test_the_file_is_in_wal_mode_with_strict_tables(gallery, path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        strict = dict(
            db.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
        )
    assert {strict[name] for name in ("subjects", "templates", "profiles", "seal")} == {1}


def test_a_database_of_another_program_is_not_touched(path):
    say(path, "CREATE TABLE bookmarks (url TEXT)")
    content = path.read_bytes()
    with pytest.raises(GalleryError, match="another program"):
        open_gallery(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert [row[0] for row in db.execute("SELECT name FROM sqlite_master")] == ["bookmarks"]
    assert len(content) == len(path.read_bytes())


def test_a_gallery_of_a_newer_release_is_not_touched(gallery, path):
    say(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('face-unlock-gallery', '0099_from_the_future', '2099-01-01')",
    )
    with pytest.raises(GalleryError, match="newer release"):
        open_gallery(path)


@pytest.mark.parametrize("column", ["name", "applied_at"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_history_with_other_columns_is_damage(path, column, read_only):
    """Two changed bytes in the definition of a table are enough."""
    filled(path)
    say(path, f"ALTER TABLE _sqlite_migrations RENAME COLUMN {column} TO other")
    with pytest.raises(GalleryError) as caught:
        open_gallery(path, read_only=read_only)
    assert "is damaged (its history has no" in one_line(caught)


def test_an_empty_file_is_a_new_gallery_for_a_writer_and_an_error_for_a_reader(path):
    path.touch()
    with pytest.raises(GalleryError, match="enroll somebody first"):
        open_gallery(path, read_only=True)
    with open_gallery(path) as gallery:
        assert gallery.count() == 0


def test_a_missing_gallery_is_an_error_for_a_reader_who_makes_no_file(path):
    with pytest.raises(GalleryError, match="does not exist: enroll"):
        open_gallery(path, read_only=True)
    assert not path.exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_a_pipe_and_impossible_names_are_one_line(tmp_path, read_only):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for wrong in (
        tmp_path,
        tmp_path / "pipe",
        tmp_path / ("x" * 10_000),
        tmp_path / "a\0b",
        tmp_path / "file" / "g",
    ):
        with pytest.raises(GalleryError) as caught:
            open_gallery(wrong, read_only=read_only)
        one_line(caught)


def test_a_reader_writes_nothing(path):
    filled(path)
    with open_gallery(path, read_only=True) as reader:
        with pytest.raises(GalleryError, match="read-only"):
            reader.enroll("bob", units(1), replace=False)
        with pytest.raises(GalleryError, match="read-only"):
            reader.remove("alice")
        assert reader.count() == 500


def test_a_closed_gallery_says_so_in_one_line(path):
    gallery = open_gallery(path)
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError, match="closed"):
        gallery.match(units(1)[0])


def test_odd_characters_in_the_path_are_only_a_path(tmp_path):
    path = tmp_path / "a?mode=memory&x#y %41.db"
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(1), replace=False)
    assert path.stat().st_size > 0


# Sealed: other hands


HANDS = {
    "a template moved to another subject": "UPDATE templates SET subject_id = 'bob' WHERE subject_id = 'alice'",
    "two templates swapped": """UPDATE templates SET sealed = (SELECT sealed FROM templates other
        WHERE other.subject_id != templates.subject_id)""",
    "a template moved to another model": "UPDATE templates SET model_id = 'other' WHERE subject_id = 'bob'",
    "a template taken away": "DELETE FROM templates WHERE subject_id = 'bob'",
    "a template copied": """INSERT INTO templates (subject_id, model_id, dimension, sealed)
        SELECT subject_id, model_id, dimension, sealed FROM templates WHERE subject_id = 'bob'""",
    "noise": "UPDATE templates SET sealed = randomblob(97) WHERE subject_id = 'bob'",
    "a name changed": "UPDATE subjects SET enrolled_at = '2020-01-01' WHERE subject_id = 'bob'",
    "profiles swapped": """UPDATE profiles SET sealed = (SELECT sealed FROM profiles other
        WHERE other.subject_id != profiles.subject_id)""",
    "a profile taken away": "DELETE FROM profiles WHERE subject_id = 'bob'",
    "a threshold lowered": "INSERT INTO look_alikes VALUES ('alice', 'bob', -1.0, 0)",
    "a self-test made up": "INSERT INTO selftest VALUES ('print', 99, 0, '2026-01-01', 'x', 'y')",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON templates BEGIN DELETE FROM look_alikes; END",
    "another table": "CREATE TABLE t (x)",
    "the state taken away": "DELETE FROM seal",
    "the state's table dropped": "DROP TABLE seal",
    "the state changed": "UPDATE seal SET sealed = randomblob(300)",
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_another_hand_changes_is_refused_and_left_as_it_is(path, hand):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(1, 1), replace=False)
        gallery.enroll("bob", units(1, 2), replace=False)
    with open_gallery(path, read_only=True) as door, open_gallery(path) as writer:
        assert door.match(units(1, 2)[0]).subject_id == "bob"
        say(path, HANDS[hand])
        for call in (
            lambda: door.match(units(1, 2)[0]),
            lambda: writer.enroll("carol", units(1, 3), replace=False),
            lambda: writer.remove("alice"),
            lambda: writer.dump(),
        ):
            with pytest.raises(GalleryError) as caught:
                call()
            one_line(caught)
    content = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(GalleryError) as caught:
            open_gallery(path, read_only=read_only)
        assert "restore a backup" in one_line(caught)
    assert path.read_bytes() == content


def test_a_row_of_an_older_copy_is_refused(path, tmp_path):
    """The attack that single sealed rows allow: who was removed is put back, row by row."""
    with open_gallery(path) as gallery:
        gallery.enroll("mallory", units(1, 1), replace=False)
        shutil.copy(path, tmp_path / "old.db")
        rows = sealed_of(path, "mallory")
        gallery.remove("mallory")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO subjects (subject_id) VALUES ('mallory')")
        db.execute("INSERT INTO templates VALUES (1, 'mallory', ?, ?, ?)", [MODEL, D, rows[0]])
        db.commit()
    with pytest.raises(GallerySealError, match="added, changed, swapped or taken away"):
        open_gallery(path, read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("what", ["missing", "another", "others may read it", "short"])
def test_a_key_that_is_wrong_is_one_line_and_the_gallery_stays_as_it_is(path, what, read_only):
    content, key = filled(path), path.with_name("gallery.db.key")
    text = key.read_bytes()
    if what == "missing":
        key.unlink()
    elif what == "others may read it":
        key.chmod(0o644)
    else:
        key.write_bytes(text[:-4] + b"\n" if what == "short" else text[:-9] + b"00000000\n")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(GalleryKeyError) as caught:
        open_gallery(path, read_only=read_only)
    assert caught.value.exit_code == 5
    assert "gallery.db" in one_line(caught)
    assert path.read_bytes() == content
    assert {n: f for n, f in before.items() if not n.endswith("-shm")}.items() <= {
        file.name: file.read_bytes() for file in path.parent.iterdir()
    }.items()
    key.write_bytes(text)
    key.chmod(0o600)
    assert open_gallery(path, read_only=True).count() == 500


def test_a_generation_that_is_missing_is_refused_until_it_is_accepted(path):
    filled(path)
    path.with_name("gallery.db.generation").unlink()
    for read_only in (True, False):
        with pytest.raises(GalleryKeyError, match=r"gallery_keys\.py accept"):
            open_gallery(path, read_only=read_only)
    with Gallery(path, model_id=None, dimension=1, read_only=True, any_generation=True) as gallery:
        gallery.seal.accept(Anchor(gallery.state().generation))
    assert open_gallery(path, read_only=True).count() == 500


def test_an_anchor_that_is_missing_is_refused_until_it_is_accepted(path):
    filled(path)
    path.with_name("gallery.db.anchor").unlink()
    for read_only in (True, False):
        with pytest.raises(GalleryKeyError) as caught:
            open_gallery(path, read_only=read_only)
        assert "gallery.db.anchor: is missing" in one_line(caught)
        assert "gallery_keys.py accept" in one_line(caught)
    with Gallery(path, model_id=None, dimension=1, read_only=True, any_generation=True) as gallery:
        gallery.seal.accept(Anchor(gallery.state().generation))
    assert open_gallery(path, read_only=True).count() == 500


def test_gallery_and_generation_put_back_together_are_refused(path, tmp_path):
    filled(path)
    shutil.copytree(path.parent, tmp_path / "before")
    with open_gallery(path) as gallery:
        gallery.remove("alice")
    for name in ("gallery.db", "gallery.db.generation"):
        shutil.copy(tmp_path / "before" / name, path.with_name(name))
    for log in path.parent.glob("gallery.db-*"):
        log.unlink()
    for read_only in (True, False):
        with pytest.raises(GallerySealError, match="rolled back"):
            open_gallery(path, read_only=read_only)


def test_a_gallery_of_a_release_without_anchors_opens_and_gets_one_with_its_next_change(path):
    filled(path)
    before_anchors(path)
    with open_gallery(path, read_only=True) as door:
        assert door.count() == 500
    assert not path.with_name("gallery.db.anchor").exists()
    with open_gallery(path) as gallery:
        gallery.enroll("bob", units(1), replace=False)
    path.with_name("gallery.db.anchor").unlink()
    with pytest.raises(GalleryKeyError, match="anchor: is missing"):
        open_gallery(path, read_only=True)


def test_a_power_cut_between_the_gallery_and_its_generation_is_no_fault(path):
    filled(path)
    generation = path.with_name("gallery.db.generation")
    before = generation.read_bytes()
    with open_gallery(path) as gallery:
        gallery.enroll("bob", units(1), replace=False)
    assert generation.read_bytes() != before
    generation.write_bytes(before)  # it was not written any more
    with open_gallery(path) as gallery:
        assert gallery.count() == 501
        gallery.enroll("carol", units(1), replace=False)
    with pytest.raises(AssertionError):
        assert generation.read_bytes() == before


def test_a_generation_that_cannot_be_written_is_one_line_and_the_change_stands(path):
    filled(path)
    blocked = path.with_name("gallery.db.generation.new")
    blocked.mkdir()
    with open_gallery(path) as gallery, pytest.raises(GalleryError) as caught:
        gallery.enroll("bob", units(1), replace=False)
    assert "the change itself is stored" in one_line(caught)
    blocked.rmdir()
    with open_gallery(path, read_only=True) as gallery:
        assert gallery.count() == 501


def test_a_change_while_the_rows_are_checked_is_no_rollback(path, monkeypatch):
    filled(path)
    with open_gallery(path, read_only=True) as door, open_gallery(path) as writer:
        state, changed = GallerySeal.state, []

        def meanwhile(self: GallerySeal, connection: sqlite3.Connection) -> State:
            found = state(self, connection)  # from here on the door sees one state of the file
            if not changed:
                changed.append(True)
                writer.set_profile("alice", Profile())
            return found

        monkeypatch.setattr(GallerySeal, "state", meanwhile)
        monkeypatch.setattr(Gallery, "_read_twice", Gallery._read)  # at the first try
        assert door.match(units(500, 1)[3]).subject_id == "alice"
    assert changed


def test_a_log_that_was_deleted_is_a_rollback(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(1), replace=False)
        shutil.copy(path, path.with_name("copy"))  # as a card pulled out: the last commit is in the log only
    shutil.copy(path.with_name("copy"), path)
    with pytest.raises(GalleryError):
        open_gallery(path, read_only=True)


def test_the_log_holds_no_template_in_the_clear(path):
    rows = units(20)
    with open_gallery(path) as gallery:
        gallery.enroll("alice", rows, replace=False)
        assert path.with_name("gallery.db-wal").stat().st_size > 0
        assert not any(row.tobytes()[:12] in files_of(path) for row in rows)


def test_a_plain_gallery_is_sealed_by_the_next_writer(path):
    rows = units(40)
    plain(path, rows)
    assert rows[3].tobytes() in files_of(path)
    with pytest.raises(
        GalleryError, match=r"not sealed: bring it up to date \(scripts/gallery_keys\.py seal\)"
    ):
        open_gallery(path, read_only=True)
    assert rows[3].tobytes() in files_of(path)
    with open_gallery(path) as gallery:
        assert gallery.newly_sealed == 40
        assert (gallery.templates("alice") == rows).all()
        assert not any(row.tobytes()[:12] in files_of(path) for row in rows)
    with open_gallery(path) as gallery:
        assert gallery.newly_sealed == 0
    with open_gallery(path, read_only=True) as door:
        assert door.match(rows[7]).subject_id == "alice"


def test_a_plain_gallery_in_the_place_of_a_sealed_one_is_refused(path):
    filled(path)
    path.unlink()
    for log in path.parent.glob("gallery.db-*"):
        log.unlink()
    plain(path, units(3))
    content = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(GalleryError):
            open_gallery(path, read_only=read_only)
    with pytest.raises(GallerySealError, match="was sealed before"):
        open_gallery(path)
    assert units(3)[0].tobytes() in files_of(path)
    assert len(path.read_bytes()) == len(content)


def test_a_migration_that_is_interrupted_leaves_the_plain_gallery(path, monkeypatch):
    plain(path, units(3))
    monkeypatch.setattr(Store, "_seal_plain", lambda self, seal: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_gallery(path)
    monkeypatch.undo()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM templates WHERE length(embedding) = 64").fetchone() == (3,)


# The end of a consent


def test_who_is_over_never_matches_even_while_the_door_runs(path):
    clock = [1_800_000_000.0]
    until = datetime.fromtimestamp(clock[0] + 100, timezone.utc)

    def at_clock(read_only: bool) -> Gallery:
        return Gallery(path, model_id=MODEL, dimension=D, read_only=read_only, now=lambda: clock[0])

    with at_clock(False) as gallery, at_clock(True) as door:
        gallery.enroll("alice", units(2, 1), replace=False, profile=Profile(retain_until=until))
        gallery.enroll("bob", units(2, 2), replace=False)
        assert door.match(units(2, 1)[0]).subject_id == "alice"
        assert gallery.expired_subjects() == []
        clock[0] += 99
        assert door.match(units(2, 1)[0]).subject_id == "alice"
        clock[0] += 1
        assert door.match(units(2, 1)[0]).subject_id == "bob"
        assert door.templates("alice").shape == (0, D)
        assert gallery.expired_subjects() == ["alice"]


def test_a_profile_stays_with_an_enrollment_and_goes_with_the_subject(gallery):
    gallery.enroll("alice", units(2), replace=False)
    alias = gallery.profile("alice").alias
    assert gallery.aliases() == {alias: "alice"}
    gallery.set_profile("alice", replace(gallery.profile("alice"), policy=Policy(access="disabled")))
    gallery.enroll("alice", units(2, 5), replace=True)
    assert gallery.profile("alice").policy.access == "disabled"
    assert gallery.profile("alice").alias == alias
    gallery.remove("alice")
    assert gallery.aliases() == {}
    with pytest.raises(GalleryError, match="no profile"):
        gallery.profile("alice")
    gallery.enroll("alice", units(2), replace=False)
    assert gallery.profile("alice").alias != alias


def test_reading_one_profile_opens_one_profile(gallery, monkeypatch):
    """At every grant: 5,000 people cost no more than one."""
    for seed, name in enumerate(("alice", "bob", "carol")):
        gallery.enroll(name, units(2, seed), replace=False)
    opened, unseal = [], GallerySeal.open_profile

    def count(self: GallerySeal, sealed: bytes, subject_id: str) -> dict[str, object]:
        opened.append(subject_id)
        return unseal(self, sealed, subject_id)

    monkeypatch.setattr(GallerySeal, "open_profile", count)
    monkeypatch.setattr(GallerySeal, "open_template", lambda *_: pytest.fail("no template is needed"))
    assert gallery.profile("bob").policy == Policy()
    assert opened == ["bob"]
    with pytest.raises(GalleryError, match="no profile of 'dave'"):
        gallery.profile("dave")
    assert opened == ["bob"]
    monkeypatch.undo()
    monkeypatch.setattr(GallerySeal, "open_profile", count)
    gallery.enroll("alice", units(2, 7), replace=True)  # the profile that stays, no other
    assert opened == ["bob", "alice"]


def test_a_pin_and_a_policy_are_not_in_the_file(gallery, path):
    secret = Profile(pin_hash="$argon2id$secret", policy=Policy(hours="Mon-Fri 08:00-18:00"))
    gallery.enroll("alice", units(2), replace=False, profile=secret)
    assert gallery.profile("alice") == secret
    for word in (b"argon2id", b"Mon-Fri", secret.alias.encode()):
        assert word not in files_of(path)


# Fuzz


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "gallery.db"
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(30, 1), replace=False)
        gallery.enroll("bob", units(30, 2), replace=False)
    return path


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_file_with_changed_bytes_never_matches_anybody_else(fuzzed, data):
    """Whatever a few changed bytes do: one line, or the very same answers; never another subject or similarity."""
    whole = fuzzed.read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    fuzzed.write_bytes(content[:cut])
    told = ""
    try:
        with open_gallery(fuzzed, read_only=True) as door:
            match = door.match(units(30, 1)[5])
            assert match is not None
            assert (match.subject_id, match.similarity) == ("alice", pytest.approx(1.0, abs=1e-6))
    except GalleryError as fault:
        told = str(fault)
    finally:
        fuzzed.write_bytes(whole)
        for log in fuzzed.parent.glob("gallery.db-*"):
            log.unlink()
    assert "\n" not in told


# Rights


def test_the_files_are_private_whatever_the_umask(tmp_path):
    for index, mask in enumerate((0o000, 0o022, 0o277)):
        old = os.umask(mask)
        try:
            with open_gallery(tmp_path / f"new{index}" / "gallery.db") as gallery:
                gallery.enroll("alice", units(1), replace=False)
                modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / f"new{index}").iterdir()}
        finally:
            os.umask(old)
        assert set(modes.values()) == {0o600}
        assert sorted(modes) == [
            f"gallery.db{end}" for end in ("", "-shm", "-wal", ".anchor", ".generation", ".key")
        ]
        assert stat.S_IMODE((tmp_path / f"new{index}").stat().st_mode) == 0o700


def test_a_gallery_that_exists_keeps_its_rights(path):
    filled(path)
    path.chmod(0o640)
    with open_gallery(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_read_only_file_is_one_line_and_loses_nothing():
    with plain_user() as folder:
        path = folder / "gallery.db"
        content = filled(path)
        path.chmod(0o400)
        with pytest.raises(GalleryError) as caught, open_gallery(path) as gallery:
            gallery.enroll("bob", units(1), replace=False)
        assert "read" in one_line(caught)
        assert path.read_bytes() == content


def test_a_read_only_folder_is_one_line_and_loses_nothing():
    with plain_user() as folder:
        path = folder / "gallery.db"
        content = filled(path)
        folder.chmod(0o500)
        for read_only in (False, True):
            with pytest.raises(GalleryError) as caught, open_gallery(path, read_only=read_only) as gallery:
                gallery.enroll("bob", units(1), replace=False)
            one_line(caught)
        with pytest.raises(GalleryError) as caught:
            open_gallery(folder / "new.db")
        assert "rights" in one_line(caught)
        assert path.read_bytes() == content


def test_a_reader_needs_no_room_beside_the_file():
    """A card that has become read-only must not lock everybody out at the next start."""
    with plain_user() as folder:
        path = folder / "gallery.db"
        filled(path)
        listed = sorted(folder.iterdir())
        folder.chmod(0o500)
        with open_gallery(path, read_only=True) as gallery:
            assert gallery.match(units(3)[0]).subject_id == "alice"
            assert sorted(folder.iterdir()) == listed
            folder.chmod(0o700)
            with open_gallery(path) as writer:  # the card is back
                writer.remove("alice")
            assert gallery.match(units(3)[0]) is None


def test_without_room_beside_the_file_a_log_that_holds_something_is_not_ignored():
    with plain_user() as folder:
        path = folder / "gallery.db"
        filled(path)
        path.with_name("gallery.db-wal").write_bytes(b"x" * 100)
        folder.chmod(0o500)
        with pytest.raises(GalleryError) as caught:
            open_gallery(path, read_only=True)
        one_line(caught)


def test_a_file_that_may_not_be_read_is_one_line():
    with plain_user() as folder:
        path = folder / "gallery.db"
        filled(path)
        path.chmod(0o000)
        with pytest.raises(GalleryError) as caught:
            open_gallery(path, read_only=True)
        assert "rights" in one_line(caught)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can enroll for the service's user")
def test_a_gallery_made_by_root_belongs_to_the_owner_of_its_folder(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with open_gallery(folder / "gallery.db") as gallery:
        gallery.enroll("alice", units(1), replace=False)
        assert {f.stat().st_uid for f in folder.iterdir()} == {65534}


# Names


@pytest.mark.parametrize(
    "name",
    ["alice", "Alice B. Cooper", "a", "x" * 64, "Zoë", "李小龍", "प्रिया", "7-of-9", "O'Brien", "D\u2019Angelo",
     "Gal·la", "ジョン・スミス", "\u0645\u0647\u200c\u0646\u0627\u0632",
     "\u0dc1\u0dca\u200d\u0dbb\u0dd3 \u0dbd\u0d82\u0d9a\u0dcf", "\u0d9a\u0dca\u200d\u0dc2"],
)  # fmt: skip
def test_names_of_people_are_accepted(name):
    assert check_subject_id(name) == unicodedata.normalize("NFC", name)


def test_the_same_name_in_two_encodings_is_one_subject(gallery):
    gallery.enroll("Zoe\u0308", units(1), replace=False)
    gallery.enroll("Zo\u00eb", units(1, 2), replace=False)
    assert [s.template_count for s in gallery.subjects()] == [2]
    assert gallery.remove("Zoe\u0308") == 2


@pytest.mark.parametrize(
    "name",
    ["", " ", "x" * 65, "x" * 10_000, "../etc/passwd", "a/b", "a\\b", ".hidden", "..", "a\nb", "a\0b",
     "\x1b[31mred", "-rf", "_x", " alice", "alice ", "a\u202eb", "\u0301a", "a;b",
     "a\u200cb", "a\u200db", "a\u200d", "\u0645\u200c", "'a", "a\u2028b", "😀", "\ud800"],
)  # fmt: skip
def test_other_names_are_one_short_line(name):
    with pytest.raises(UsageError) as caught:
        check_subject_id(name)
    text = str(caught.value)
    assert len(text) < 140
    assert text.isprintable()
    text.encode("utf-8")


def test_enroll_refuses_a_bad_name(gallery):
    with pytest.raises(UsageError):
        gallery.enroll("../x", units(1), replace=False)
    assert gallery.subjects() == []


# Galleries of older releases


# The self-test

VERDICT = SelfTest(
    "2026-03-01T07:00:00Z",
    "pad-0123456789ab",
    MODEL,
    (SpeciesCount("print", 20, 0), SpeciesCount("phone", 20, 1), SpeciesCount("live", 20, 2)),
)


def test_the_last_verdict_of_a_self_test_is_kept(gallery, path):
    assert gallery.selftest() is None
    gallery.store_selftest(replace(VERDICT, liveness_id="pad-before", counts=(SpeciesCount("tablet", 5, 5),)))
    gallery.store_selftest(VERDICT)
    gallery.enroll("alice", units(1), replace=False)
    gallery.remove("alice")
    with open_gallery(path, model_id=None, read_only=True) as door:
        assert door.selftest() == VERDICT


def test_the_file_refuses_more_wrong_looks_than_were_shown(gallery, path):
    with pytest.raises(GalleryError):
        gallery.store_selftest(replace(VERDICT, counts=(SpeciesCount("print", 1, 2),)))
    assert gallery.selftest() is None


# Templates never update themselves


def test_a_hundred_grants_leave_the_gallery_as_it_was(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    before = path.read_bytes()
    rule = DecisionRule(threshold=0.9, k=1, n=1, cooldown_s=0, max_frame_age_s=1)
    decider, noise = make_decider(rule, "off"), np.random.default_rng(0)
    with open_gallery(path, read_only=True) as door:
        for frame in range(100):  # each look a little further away: what an updating gallery would follow
            probe = l2_normalize(units(3)[0] + 0.004 * frame / 100 * noise.normal(size=D))
            decision = decider.decide(Sight(float(frame), 1, door.match(probe), None), float(frame))
            assert decision.granted
    assert path.read_bytes() == before
    assert not any(log.stat().st_size for log in path.parent.glob("*-wal"))


# A power cut while the very first gallery is made

HALF_MADE = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("CREATE TABLE half (x)")
for _ in range(50):
    db.execute("INSERT INTO half VALUES (randomblob(4000))")
os._exit(0)
"""


def test_a_gallery_that_was_half_made_is_made_anew(path):
    """SQLite's first write to a new file is undone by whoever opens it next, if they may write."""
    path.touch(0o600)
    subprocess.run([sys.executable, "-c", HALF_MADE, str(path)], check=True)
    assert path.stat().st_size
    assert path.with_name("gallery.db-journal").stat().st_size
    with pytest.raises(GalleryError):
        open_gallery(path, read_only=True)
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    with open_gallery(path, read_only=True) as gallery:
        assert gallery.count() == 3
