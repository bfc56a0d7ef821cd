"""Full disks, other programs, and files that are no gallery: one line, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.errors import GalleryError
from device.gallery import schema
from device.gallery.gallery import Gallery
from tests.support.galleries import (
    MODEL,
    D,
    filled,
    one_line,
    open_gallery,
    say,
    units,
)


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
