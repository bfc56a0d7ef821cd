"""Backups: what opens them, what forgetting does to them, and what a restore never brings back."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.access.policy import Policy
from device.access.profile import Profile
from device.errors import FaceUnlockError, GalleryError, GalleryKeyError, GallerySealError
from device.gallery import backup
from device.gallery.forget import forget
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike
from device.vault import sealing
from scripts import backup as backup_program
from tests.support.galleries import PASSPHRASE, open_gallery, units


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gallery of alice, who has rules, and bob, whom she looks like."""
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        gallery.enroll("bob", units(3, 2), replace=False)
        alike = [LookAlike("bob", 0.7, 0.8, 0.6, 0.6)]
        rules = Profile(pin_hash="$argon2id$x", policy=Policy(hours="Mon-Fri 08:00-18:00"))
        gallery.enroll("alice", units(4, 1), replace=False, look_alikes=alike, profile=rules)
    return path


@pytest.fixture
def secret(tmp_path: Path) -> list[str]:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    return ["--passphrase-file", str(tmp_path / "passphrase")]


def run(path: Path, *arguments: str) -> int:
    return backup_program.main([*arguments, "--gallery", str(path), "--config", "/dev/null"])


def content(path: Path) -> dict:
    with open_gallery(path, read_only=True) as gallery:
        names = [subject.subject_id for subject in gallery.subjects()]
        return {
            "templates": {name: gallery.templates(name).tolist() for name in names},
            "profiles": {name: gallery.profile(name) for name in names},
            "needs": dict(gallery.needs()),
        }


def test_a_backup_brings_everything_back(path, tmp_path, secret):
    before, file = content(path), tmp_path / "b.backup"
    assert run(path, "create", str(file), *secret) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    raw = file.read_bytes()
    assert not any(word in raw for word in (b"alice", b"argon2id$x", units(1, 1)[0].tobytes()[:12]))
    with open_gallery(path) as gallery:
        gallery.enroll("carol", units(1, 3), replace=False)
    assert run(path, "restore", str(file), *secret, "--yes") == 0
    assert content(path) == before


def test_a_restore_names_who_would_be_lost_and_keeps_what_was_there(
    path, tmp_path, secret, capsys, monkeypatch
):
    file = tmp_path / "b.backup"
    assert run(path, "create", str(file), *secret) == 0
    with open_gallery(path) as gallery:
        gallery.enroll("carol", units(1, 3), replace=False)
    before = content(path)
    for answer in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run(path, "restore", str(file), *secret) == 2
        assert "is without carol, who would be lost" in capsys.readouterr().err
        assert content(path) == before
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(path, "restore", str(file), *secret) == 0
    kept = path.with_name("gallery.db.before-restore")
    assert str(kept) in capsys.readouterr().out
    assert run(path, "restore", str(kept), "--no-passphrase") == 0
    assert content(path) == before
    with open_gallery(path) as gallery:
        assert str(kept) in gallery.state().backups


@pytest.mark.parametrize("command", ["create", "restore"])
def test_a_closed_stdin_before_a_passphrase_is_one_line(path, tmp_path, command, capsys, monkeypatch):
    file = tmp_path / "b.backup"
    if command == "restore":
        assert run(path, "create", str(file), "--no-passphrase") == 0
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", None)
    assert run(path, command, str(file)) == 2
    told = capsys.readouterr().err
    assert "passphrase: no answer came" in told
    assert "--passphrase-file" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("by", ["passphrase", "key"])
def test_a_backup_opens_with_the_passphrase_or_with_the_key(path, tmp_path, secret, by):
    before, file = content(path), tmp_path / "b.backup"
    assert run(path, "create", str(file), *secret) == 0
    if by == "passphrase":  # another board: no gallery, no key
        for each in tmp_path.glob("gallery.db*"):
            each.unlink()
    how = secret if by == "passphrase" else ["--no-passphrase"]
    assert run(path, "restore", str(file), *how) == 0
    assert content(path) == before


def test_what_does_not_open_a_backup_is_one_line_and_changes_nothing(path, tmp_path, secret, capsys):
    file, before = tmp_path / "b.backup", content(path)
    assert run(path, "create", str(file), "--no-passphrase") == 0
    assert run(path, "create", str(file), "--no-passphrase") == 5
    assert "one that is there" in capsys.readouterr().err
    assert run(path, "restore", str(file), *secret) == 5
    assert "has no passphrase" in capsys.readouterr().err
    other = tmp_path / "c.backup"
    assert run(path, "create", str(other), *secret) == 0
    (tmp_path / "passphrase").write_text("another passphrase\n")
    assert run(path, "restore", str(other), *secret) == 5
    assert "does not open with this passphrase" in capsys.readouterr().err
    (tmp_path / "passphrase").write_text("short\n")
    assert run(path, "create", str(tmp_path / "d.backup"), *secret) == 5
    told = capsys.readouterr().err
    assert "expected at least 12" in told
    assert "short" not in told.replace("passphrase", "")
    assert content(path) == before


def test_a_damaged_gallery_is_set_aside_for_the_backup(path, tmp_path, capsys):
    before, file = content(path), tmp_path / "b.backup"
    assert run(path, "create", str(file), "--no-passphrase") == 0
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM templates WHERE subject_id = 'bob'")
        db.commit()
    damaged = path.read_bytes()
    with pytest.raises(GallerySealError):
        content(path)
    assert run(path, "restore", str(file), "--no-passphrase") == 0
    assert "set aside" in capsys.readouterr().err
    assert content(path) == before
    assert path.with_name("gallery.db.refused").read_bytes() == damaged


def test_an_older_copy_of_the_file_is_restored_with_a_new_number(path, tmp_path):
    before, copy = content(path), tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    with open_gallery(path) as gallery:
        gallery.enroll("carol", units(1, 3), replace=False)
        newest = gallery.state().generation
    assert run(path, "restore", str(copy), "--yes") == 0
    assert content(path) == before
    with open_gallery(path, read_only=True) as gallery:
        assert gallery.state().generation > newest


# Forgetting


def test_removing_a_subject_purges_the_backups_it_knows(path, tmp_path, secret):
    file, key_only = tmp_path / "b.backup", tmp_path / "k.backup"
    assert run(path, "create", str(file), *secret) == 0
    assert run(path, "create", str(key_only), "--no-passphrase") == 0
    before = [file.read_bytes(), key_only.read_bytes()]
    with open_gallery(path) as gallery:
        receipt = forget(gallery, path, "alice")
        sealer = gallery.seal.sealer
    assert (receipt.templates, receipt.purged, receipt.left) == (4, [str(file), str(key_only)], [])
    for old, now in zip(before, (file, key_only), strict=True):
        dump = backup.read(now, sealer, None)
        assert "alice" not in str(dump)
        assert len(dump["tables"]["templates"]) == 3
        assert old[-200:] not in now.read_bytes()
    assert "alice" not in str(backup.read(file, None, PASSPHRASE))  # its passphrase still opens it
    raw = b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())
    assert b"alice" not in raw
    assert [each.name for each in tmp_path.glob("*.old")] == []


def test_a_backup_that_is_not_here_is_on_the_receipt(path, tmp_path):
    file, stick = tmp_path / "b.backup", tmp_path / "stick"
    assert run(path, "create", str(file), "--no-passphrase") == 0
    file.rename(stick)
    with open_gallery(path) as gallery:
        receipt = forget(gallery, path, "alice")
    assert receipt.purged == []
    assert str(file) in receipt.left[0]
    assert "not purged" in "\n".join(receipt.lines())
    assert run(path, "purge", str(stick), "alice") == 0
    with open_gallery(path) as gallery:
        assert "alice" not in str(backup.read(stick, gallery.seal.sealer, None))


def test_a_backup_never_brings_back_who_was_removed_since(path, tmp_path, secret, capsys):
    file, stick = tmp_path / "b.backup", tmp_path / "stick"
    assert run(path, "create", str(file), *secret) == 0
    file.rename(stick)
    with open_gallery(path) as gallery:
        forget(gallery, path, "alice")
    assert run(path, "restore", str(stick), *secret) == 0
    assert "left out, because they were removed since: 1" in capsys.readouterr().out
    assert list(content(path)["templates"]) == ["bob"]
    assert content(path)["needs"] == {}
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(2, 9), replace=False)  # who comes back may be restored again
    assert run(path, "restore", str(stick), *secret) == 0
    assert len(content(path)["templates"]["alice"]) == 4


def test_forgetting_looks_at_the_bytes_of_the_files(path, monkeypatch):
    monkeypatch.setattr(Gallery, "remove", lambda self, name: 4)  # as if it only said so
    with open_gallery(path) as gallery, pytest.raises(GalleryError, match="still holds bytes of 'alice'"):
        forget(gallery, path, "alice")


def test_a_purge_that_is_cut_off_is_taken_up_again(path, tmp_path):
    file = tmp_path / "b.backup"
    assert run(path, "create", str(file), "--no-passphrase") == 0
    file.rename(tmp_path / "b.backup.old")  # the power went in between
    with open_gallery(path) as gallery:
        assert forget(gallery, path, "alice").purged == [str(file)]
    assert not (tmp_path / "b.backup.old").exists()


# Fuzz


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Gallery]:
    folder = tmp_path_factory.mktemp("backup")
    gallery = open_gallery(folder / "gallery.db")
    gallery.enroll("alice", units(2, 1), replace=False)
    backup.create(folder / "b", gallery.dump(), gallery.seal.sealer, None)
    return folder / "b", gallery


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_backup_is_one_line_or_the_very_same(made, data):
    file, gallery = made
    whole = file.read_bytes()
    changed = bytearray(whole)
    where = data.draw(st.integers(0, len(whole) - 1))
    changed[where] ^= data.draw(st.integers(1, 255))
    file.write_bytes(changed[: data.draw(st.one_of(st.none(), st.integers(0, len(whole))))])
    told, read = "", None
    try:
        read = backup.read(file, gallery.seal.sealer, None)
    except FaceUnlockError as fault:
        told = str(fault)
    finally:
        file.write_bytes(whole)
    assert (read is None) == bool(told)
    assert read is None or read == backup.read(file, gallery.seal.sealer, None)
    assert "\n" not in told


def test_a_passphrase_is_stretched(path, tmp_path, secret, full_cost):
    """RFC 9106: with 64 MiB three passes; and what it opens without them is not the backup."""
    file = tmp_path / "b.backup"
    assert run(path, "create", str(file), *secret) == 0
    assert (backup.PASSES, sealing.MEMORY_KIB) >= (3, 65_536)
    assert backup.read(file, None, PASSPHRASE)["tables"]["templates"]
    with pytest.raises(GalleryKeyError):
        backup.read(file, None, "x" * 20)


def test_a_purged_backup_is_overwritten_not_only_unlinked(path, tmp_path):
    file, link = tmp_path / "b.backup", tmp_path / "link"
    assert run(path, "create", str(file), "--no-passphrase") == 0
    link.hardlink_to(file)  # what a card's file system still knows of the old file
    size = link.stat().st_size
    with open_gallery(path) as gallery:
        forget(gallery, path, "alice")
    assert link.read_bytes() == bytes(size)
