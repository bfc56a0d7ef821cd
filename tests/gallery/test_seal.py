"""Rows that somebody else changed, keys that are wrong, older copies: refused, and plain galleries are sealed."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import pytest

from device.access.profile import Profile
from device.errors import GalleryError, GalleryKeyError, GallerySealError
from device.gallery.gallery import Gallery
from device.gallery.seal import GallerySeal, State
from device.gallery.store import Store
from device.vault.anchor import Anchor
from tests.support.galleries import (
    MODEL,
    D,
    before_anchors,
    files_of,
    filled,
    one_line,
    open_gallery,
    plain,
    say,
    sealed_of,
    units,
)

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
        with pytest.raises(GalleryKeyError, match=r"keys accept"):
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
        assert "keys accept" in one_line(caught)
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
    with pytest.raises(GalleryError, match=r"not sealed: bring it up to date \(.+ keys seal\)"):
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
