"""What a restart remembers of refused approaches, and what a damaged, deleted or older file is worth."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from device.decide import backoff_file
from device.decide.backoff import Count
from device.decide.backoff_file import BackoffFile
from device.types import Reason
from tests.support.doors.refusing import Door
from tests.support.kept import kept_alone


def test_a_restart_of_the_program_goes_on_waiting(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db.refusals"
    door = Door(BackoffFile(kept_alone(path)))
    door.fail(5)
    again = Door(BackoffFile(kept_alone(path)), now_s=door.now_s + 12)
    assert again.left_s == pytest.approx(18)
    assert again.refusals.count.wrong == 5
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        ".anchor",
        path.name,
    ]  # no half of a file is left


def test_a_restart_of_the_machine_waits_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(BackoffFile(kept_alone(tmp_path / "x")))
    door.fail(7)
    (tmp_path / "boot").write_text("another start\n")
    monkeypatch.setattr(backoff_file, "BOOT_ID", tmp_path / "boot")
    for now_s in (3.0, door.now_s + 1e6):  # its clock began anew, and may say anything
        again = Door(BackoffFile(kept_alone(tmp_path / "x")), now_s=now_s)
        assert again.left_s == 120
        again.now_s += 121
        assert again.left_s == 0
        assert again.refusals.count.wrong == 7


def test_without_a_boot_id_the_wait_is_never_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff_file, "BOOT_ID", tmp_path / "missing")
    door = Door(BackoffFile(kept_alone(tmp_path / "x")))
    door.fail(5)
    assert Door(BackoffFile(kept_alone(tmp_path / "x")), now_s=door.now_s + 1e6).left_s == 30


BROKEN = {
    "empty": "",
    "half": '{"refusals": 5, "wai',
    "a list": "[]",
    "no key": '{"refusals": 5}',
    "text": '{"refusals": "many", "wait_s": 30.0, "until_s": 1.0, "boot_id": "x"}',
    "NaN": '{"refusals": 5, "wait_s": NaN, "until_s": 1.0, "boot_id": "x"}',
    "a wait too long": '{"refusals": 5, "wait_s": 1e9, "until_s": 1e9, "boot_id": "x"}',
    "no wait after many": '{"refusals": 9, "wait_s": 0.0, "until_s": 0.0, "boot_id": "x"}',
    "less than nothing": '{"refusals": -1, "wait_s": 0.0, "until_s": 0.0, "boot_id": "x"}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_file_waits_the_longest_time_once(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x"
    path.write_text(BROKEN[case])
    door = Door(BackoffFile(kept_alone(path)))
    assert door.file.fault is not None
    assert str(path) in door.file.fault
    assert "\n" not in door.file.fault
    assert door.left_s == 900
    door.now_s += 901
    assert door.left_s == 0
    door.see(Reason.GRANTED)
    assert Door(BackoffFile(kept_alone(path))).refusals.count == Count()
    assert door.file.fault is None


@pytest.mark.parametrize("refusals", [1, 4, 6, 12])
def test_deleting_the_file_forgives_nothing(tmp_path: Path, refusals: int) -> None:
    path = tmp_path / "x"
    door = Door(BackoffFile(kept_alone(path)))
    door.fail(refusals)
    left_s = door.left_s
    path.unlink()
    again = Door(BackoffFile(kept_alone(path)), now_s=door.now_s)
    assert again.left_s >= left_s
    assert again.refusals.count.wrong >= min(refusals, 10)  # from there on every wait is the longest
    assert "x: is missing" in (again.file.fault or "")
    assert "keys accept" in (again.file.fault or "")


def test_an_older_file_put_back_forgives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    door = Door(BackoffFile(kept_alone(path)))
    door.fail(1)
    before = path.read_bytes()
    door.fail(5)
    path.write_bytes(before)
    again = Door(BackoffFile(kept_alone(path)), now_s=door.now_s)
    assert (again.left_s, "is older" in (again.file.fault or "")) == (900, True)


def test_a_file_that_may_not_be_read_waits_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.mkdir()  # also for root, who may read everything
    door = Door(BackoffFile(kept_alone(path)))
    assert (door.left_s, door.file.fault is None) == (900, False)


def test_a_folder_that_cannot_be_written_counts_in_memory_and_says_so(tmp_path: Path) -> None:
    door = Door(BackoffFile(kept_alone(tmp_path / "gone" / "x")))
    door.fail(5)
    assert door.left_s == pytest.approx(30)
    assert "until the next start only" in (door.file.fault or "")


def test_a_power_cut_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    Door(BackoffFile(kept_alone(path))).fail(4)

    def cut(_: int) -> None:
        raise OSError(5, "the test's own power cut")

    monkeypatch.setattr(os, "fsync", cut)
    door = Door(BackoffFile(kept_alone(path)))
    door.fail(1)
    monkeypatch.undo()
    assert BackoffFile(kept_alone(path)).load()[""].wrong == 4
    assert door.left_s == pytest.approx(30)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".anchor", "x"]


def test_no_file_is_a_new_door_and_none_is_made_before_a_refusal(tmp_path: Path) -> None:
    door = Door(BackoffFile(kept_alone(tmp_path / "x")))
    door.see(Reason.CONFIRMING, 5)
    door.see(Reason.GRANTED)
    assert (door.left_s, math.isclose(door.now_s, 1000.6)) == (0, True)
    assert list(tmp_path.iterdir()) == []
