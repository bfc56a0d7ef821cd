"""The model of a disk: what a power cut may leave of a program's writes, and what never."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from scripts.prove.disk import Call, Disk, File, has_strace, put_back, read_calls, watched
from tests.support.checkout import ROOT

WATCHED = pytest.mark.skipif(not has_strace(), reason="no strace here, or it may not watch programs")
HEAD = "import os, sys; from pathlib import Path; f = Path(sys.argv[1]); sys.path.insert(0, sys.argv[2])\n"


def states(tmp_path, program):
    """Run a program on a folder with a file `old`, and return all that a cut at the end may leave."""
    folder = (tmp_path / "state").resolve()
    folder.mkdir()
    (folder / "old").write_bytes(b"first")
    disk, log = Disk(folder), tmp_path / "calls"
    command = [sys.executable, "-c", HEAD + program, str(folder), str(ROOT)]
    subprocess.run(watched(command, log), check=True)
    for call in read_calls(log, folder):
        disk.play(call)
    assert disk.cut(random.Random(0), "all") == {path.name: path.read_bytes() for path in folder.iterdir()}
    return [disk.cut(random.Random(seed), keep) for seed in range(100) for keep in ("none", "any")]


@WATCHED
def test_what_was_not_synced_may_be_gone_or_torn(tmp_path):
    left = {each["old"] for each in states(tmp_path, '(f / "old").write_bytes(b"second")')}
    assert {b"first", b"", b"second"} <= left
    assert {b"s", b"sec"} & left


@WATCHED
def test_a_name_is_kept_with_its_folders_sync_only(tmp_path):
    program = 'd = os.open(f / "new", os.O_CREAT | os.O_WRONLY); os.write(d, b"x"); os.fsync(d)'
    assert {"new" in each for each in states(tmp_path, program)} == {True, False}


@WATCHED
def test_a_private_file_is_the_old_or_the_new_one_and_kept_once_replaced(tmp_path):
    program = 'from device.vault.files import replace_private; replace_private(f / "old", b"second")'
    assert all(each == {"old": b"second"} for each in states(tmp_path, program))


@WATCHED
def test_a_private_file_that_was_made_keeps_its_name(tmp_path):
    program = 'from device.vault.files import create_private; create_private(f / "new")'
    assert all(each == {"old": b"first", "new": b""} for each in states(tmp_path, program))


def test_a_cut_keeps_what_was_synced_and_any_of_the_rest():
    file = File(b"abcd", [(4, b"ef"), (0, b"X"), (2, None)])
    assert file.now() == b"Xb"
    left = {file.cut(random.Random(seed)) for seed in range(300)}
    assert {b"abcd", b"abcde", b"abcdef", b"Xbcd", b"Xbcdef", b"ab"} <= left
    file.sync()
    assert (file.synced, file.cut(random.Random(1))) == (b"Xb", b"Xb")


def test_a_write_that_the_program_died_in_may_have_happened(tmp_path):
    disk = Disk(tmp_path)
    path = str(tmp_path / "log")
    disk.play(Call(1.0, "openat", 'x, "x", O_CREAT|O_WRONLY', (), (path.encode(),), 3))
    disk.play(Call(2.0, "fsync", "", (str(tmp_path),), (), 0))
    disk.play(Call(3.0, "write", "x, x, 2", (path,), (b"ab",), None))
    disk.play(Call(4.0, "fsync", "", (path,), (), None))
    assert {disk.cut(random.Random(seed))["log"] for seed in range(100)} == {b"", b"a", b"ab"}


def test_files_are_put_back_and_others_taken_away(tmp_path):
    (tmp_path / "other").touch()
    put_back(tmp_path, {"log": b"ab"})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("log", b"ab")]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
