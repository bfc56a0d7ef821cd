"""Private files: nobody else reads them, and a write that is cut off leaves nothing half and nothing in the way."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from device.vault import files
from device.vault.files import (
    add_private,
    create_private,
    erase,
    hold,
    make_folder,
    replace_private,
    sync_folder,
    update_private,
)


def test_a_new_file_and_its_folder_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "var" / "state" / "key"
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


class Clock:
    """A monotonic clock that moves only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.naps_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.naps_s.append(seconds)


def test_a_program_that_never_lets_go_is_waited_for_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks again a hundred times a second: nobody waits longer than the other program needs."""
    clock = Clock()
    monkeypatch.setattr(files, "time", clock)
    mine, others = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    try:
        fcntl.flock(others, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="for more than 2 s"):
            hold(mine, tmp_path)
        assert clock.now_s == pytest.approx(102.0, abs=0.05)
        assert max(clock.naps_s) <= 0.02
        fcntl.flock(others, fcntl.LOCK_UN)
        hold(mine, tmp_path)
    finally:
        os.close(mine), os.close(others)


WRITES = {
    "create": create_private,
    "replace": lambda path: replace_private(path, b"new"),
    "update": lambda path: update_private(path, lambda: b"new"),
    "add": lambda path: add_private(path, b"new"),
    "erase": lambda path: (path.touch(), erase(path)),
    "sync": sync_folder,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_the_name_of_a_file_outlives_a_power_cut_and_no_descriptor_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()))
    write(tmp_path / "key")
    assert [each.name.removesuffix(".new") for each in synced] in (["key", tmp_path.name], [tmp_path.name])
    assert synced[0].name.startswith("key") == (write not in (create_private, sync_folder))
    opened = {each.resolve() for each in Path("/proc/self/fd").iterdir()}
    assert not [each for each in opened if each.is_relative_to(tmp_path)]


@pytest.mark.parametrize(("user", "handed_over"), [(0, True), (1, False), (1000, False)])
def test_what_root_makes_belongs_to_the_owner_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, handed_over: bool
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "fchown", lambda _, owner, group: given.append((owner, group)))
    create_private(tmp_path / "key")
    folder = tmp_path.stat()
    assert given == ([(folder.st_uid, folder.st_gid)] if handed_over else [])


def test_what_is_erased_is_zeros_on_the_disk_before_it_is_gone(tmp_path: Path) -> None:
    """A second name of the same file shows what is left on the disk."""
    path, other = tmp_path / "key", tmp_path / "other"
    path.write_bytes(b"secret")
    other.hardlink_to(path)
    erase(path)
    assert not path.exists()
    assert other.read_bytes() == bytes(6)


def test_an_update_is_made_of_what_is_there_and_only_while_nobody_else_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "count"
    path.write_bytes(b"1")
    update_private(path, lambda: path.read_bytes() + b"2")
    assert path.read_bytes() == b"12"
    monkeypatch.setattr(files, "time", Clock())
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        for write in (replace_private, add_private):
            with pytest.raises(OSError, match="another program holds"):
                write(path, b"3")
    finally:
        os.close(other)
    assert path.read_bytes() == b"12"


@pytest.mark.parametrize("write", [create_private, lambda path: replace_private(path, b"")])
def test_no_umask_takes_rights_away_or_adds_some(tmp_path: Path, write) -> None:
    folder = tmp_path / "state"
    before = os.umask(0o777)
    try:
        make_folder(folder / "key")
        write(folder / "key")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder / "key")] == [0o700, 0o600]
