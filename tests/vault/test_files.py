"""Private files: nobody else reads them, and a write that is cut off leaves nothing half and nothing in the way."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from device.vault import files
from device.vault.files import add_private, create_private, replace_private


def test_a_new_file_and_its_folder_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key"
    create_private(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("write", [replace_private, add_private])
def test_what_a_power_cut_left_beside_a_file_is_in_nobodys_way(tmp_path: Path, write) -> None:
    path, draft = tmp_path / "key", tmp_path / "key.new"
    draft.write_bytes(b"half of it")
    write(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert not draft.exists()


@pytest.mark.parametrize("write", [replace_private, add_private])
def test_a_write_that_fails_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "key"
    path.write_bytes(b"old")
    monkeypatch.setattr(files, "write_all", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["key"]
    assert path.read_bytes() == b"old"


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert add_private(path, b"first")
    assert not add_private(path, b"second")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"first"]
