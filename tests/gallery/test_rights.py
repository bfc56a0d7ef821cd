"""Who may read and write the files of a gallery, and what happens to who may not."""

from __future__ import annotations

import os
import stat

import pytest

from device.errors import GalleryError
from tests.support.galleries import (
    filled,
    one_line,
    open_gallery,
    plain_user,
    units,
)


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
