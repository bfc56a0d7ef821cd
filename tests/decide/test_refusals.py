"""Refused approaches: what counts as one, how long the door waits, and what a restart remembers."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decide import backoff_file
from device.decide.backoff import Count, wait_after_refusals
from device.decide.backoff_file import BackoffFile
from device.decide.refusals import LOOKS, Refusals
from device.types import Reason
from tests.support.kept import kept_alone


class Door:
    """Refusals fed ten frames a second."""

    def __init__(self, file: BackoffFile | None = None, now_s: float = 1000.0) -> None:
        self.file = file or BackoffFile(None)
        self.refusals = Refusals.kept_in(self.file)
        self.now_s = now_s

    def see(self, reason: Reason, frames: int = 1) -> int:
        for _ in range(frames):
            self.now_s += 0.1
            if reason is Reason.GRANTED:
                self.refusals.opened()
            else:
                self.refusals.see(reason, self.now_s)
        return self.refusals.count.wrong

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.now_s += self.refusals.left_s(self.now_s) + 0.1
            self.see(Reason.CHALLENGE_FAILED)

    @property
    def left_s(self) -> float:
        return self.refusals.left_s(self.now_s)


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    waits = [wait_after_refusals(refusals) for refusals in (0, 4, 5, 6, 7, 8, 9, 10, 11, 10**6)]
    assert waits == [0, 0, 30, 60, 120, 240, 480, 900, 900, 900]


@pytest.mark.parametrize("reason", [Reason.BELOW_THRESHOLD, Reason.SPOOF_SUSPECTED, Reason.LIVENESS_UNSURE])
def test_an_approach_is_refused_once_however_many_frames_it_has(reason: Reason) -> None:
    door = Door()
    assert door.see(reason, LOOKS - 1) == 0
    assert door.see(reason) == 1
    assert door.see(reason, 50) == 1


def test_the_eighth_look_that_is_turned_away_is_a_refusal() -> None:
    door = Door()
    assert [door.see(Reason.BELOW_THRESHOLD) for _ in range(8)] == [0] * 7 + [1]


@pytest.mark.parametrize("reason", [Reason.BELOW_THRESHOLD, Reason.CONFIRMING])
def test_one_look_and_away_is_a_refusal_after_eight_times(reason: Reason) -> None:
    """Looks are carried over, and none is counted twice; what is forgotten in the meantime is less than one."""
    door, counts = Door(), []
    for _ in range(9):
        door.see(reason)
        counts.append(door.see(Reason.NO_FACE, 21))
    assert counts == [0] * 8 + [1]


def test_whoever_stays_is_another_approach_after_ten_seconds() -> None:
    door = Door()
    assert door.see(Reason.BELOW_THRESHOLD, 95) == 1
    assert door.see(Reason.BELOW_THRESHOLD, 100) == 2


def test_whoever_comes_back_after_two_seconds_is_another_approach() -> None:
    door = Door()
    door.see(Reason.BELOW_THRESHOLD, LOOKS)
    door.see(Reason.NO_FACE, 15)
    assert door.see(Reason.BELOW_THRESHOLD, LOOKS) == 1
    door.see(Reason.NO_FACE, 21)
    assert door.see(Reason.BELOW_THRESHOLD, LOOKS) == 2


@pytest.mark.parametrize("reason", [Reason.SAME_FRAME, Reason.CAMERA_COVERED, Reason.STALE_FRAME])
def test_frames_that_show_nobody_keep_no_approach_alive(reason: Reason) -> None:
    door = Door()
    door.see(Reason.BELOW_THRESHOLD, LOOKS)
    door.see(reason, 25)
    assert door.see(Reason.BELOW_THRESHOLD, LOOKS) == 2


PATTERNS: dict[str, list[tuple[Reason, int]]] = {
    "seven looks, then away": [(Reason.BELOW_THRESHOLD, LOOKS - 1), (Reason.NO_FACE, 21)],
    "one look, then away": [(Reason.BELOW_THRESHOLD, 1), (Reason.NO_FACE, 21)],
    "another reason each time": [
        (Reason.BELOW_THRESHOLD, 4),
        (Reason.SPOOF_SUSPECTED, 3),
        (Reason.NO_FACE, 21),
    ],
    "away before it is judged": [(Reason.CONFIRMING, 2), (Reason.NO_FACE, 21)],
    "never still enough to be asked": [(Reason.CONFIRMING, 2), (Reason.CHALLENGE, 55), (Reason.NO_FACE, 21)],
    "somebody whose rules say no": [(Reason.CONFIRMING, 2), (Reason.DISABLED, 1), (Reason.COOLDOWN, 50)],
    "somebody disabled in between": [(Reason.BELOW_THRESHOLD, 7), (Reason.DISABLED, 1), (Reason.NO_FACE, 21)],
    "the lens covered in between": [(Reason.BELOW_THRESHOLD, 7), (Reason.CAMERA_COVERED, 21)],
    "frames too dark in between": [(Reason.SPOOF_SUSPECTED, 2), (Reason.TOO_DARK, 9)],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_whatever_the_pattern_an_hour_holds_few_looks_and_fewer_the_next_one(pattern: str) -> None:
    """As many as twelve approaches in the first hour, each of eight looks or ten seconds; four in the next."""
    door = Door()
    looks = []
    for hour in (1, 2):
        end_s, seen = 1000.0 + 3600 * hour, 0
        while door.now_s < end_s:
            if left_s := door.left_s:
                door.now_s += left_s
            for reason, frames in PATTERNS[pattern]:
                for _ in range(frames):
                    if not door.left_s:
                        door.see(reason)
                        seen += reason not in (Reason.NO_FACE, Reason.CAMERA_COVERED, Reason.COOLDOWN)
        looks.append(seen)
    assert door.refusals.count.wrong >= 12
    assert looks[0] < 12 * 100
    assert looks[1] < looks[0] / 2


def test_the_rules_of_an_enrolled_person_forgive_nothing() -> None:
    door = Door()
    door.fail(4)
    for reason in (
        Reason.DISABLED,
        Reason.OUTSIDE_HOURS,
        Reason.PIN_NEEDED,
        Reason.WRONG_PIN,
        Reason.COOLDOWN,
    ):
        assert door.see(reason) >= 4


def test_whoever_is_asked_for_a_pin_is_not_refused_by_that() -> None:
    door = Door()
    for _ in range(4):  # the face is granted every five seconds, and its PIN is awaited for twenty
        door.see(Reason.CONFIRMING, 2), door.see(Reason.PIN_NEEDED), door.see(Reason.COOLDOWN, 20)
    assert door.see(Reason.GRANTED) == 0


def test_a_slow_frame_before_a_quick_one_ends_no_approach() -> None:
    """A busy machine decides about one frame late: the next one is decided at an earlier time of the recording."""
    door = Door()
    for number in range(40):
        late_s = 0.8 * (number % 3 == 0)
        door.refusals.see(Reason.CHALLENGE, door.now_s + number / 10 + late_s, in_progress=True)
    assert door.refusals.count == Count()


def test_a_challenge_that_runs_is_not_cut_by_the_time_of_an_approach() -> None:
    door = Door()
    door.fail(4)
    for _ in range(150):
        door.now_s += 0.1
        door.refusals.see(Reason.CHALLENGE, door.now_s, in_progress=True)
    assert door.left_s == 0
    assert door.see(Reason.GRANTED) == 0


def test_a_passer_by_now_and_then_and_bad_light_refuse_nothing() -> None:
    door = Door()
    for _ in range(60):
        door.see(Reason.BELOW_THRESHOLD, 4)
        for reason in (Reason.TOO_FAR, Reason.NOT_FACING, Reason.TOO_DARK, Reason.COOLDOWN):
            door.see(reason, 10)
        door.see(Reason.NO_FACE, 30)
        door.now_s += 300
    assert door.left_s == 0
    assert door.refusals.count == Count()


def test_each_failed_challenge_counts() -> None:
    door = Door()
    assert [door.see(Reason.CHALLENGE_FAILED) for _ in range(3)] == [1, 2, 3]
    door.refusals.refuse(door.now_s)
    assert door.refusals.count.wrong == 4


def test_five_refusals_wait_30_s_and_a_grant_forgets_all() -> None:
    door = Door()
    door.fail(4)
    assert door.left_s == 0
    door.fail(1)
    assert door.left_s == pytest.approx(30)
    door.now_s += 29.9
    assert door.left_s > 0
    door.now_s += 0.2
    assert door.left_s == 0
    door.fail(1)
    assert door.left_s == pytest.approx(60)
    door.now_s += 61
    door.see(Reason.GRANTED)
    assert door.refusals.count == Count()


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


@settings(max_examples=200, deadline=None)
@given(st.floats(), st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_no_clock_locks_out_for_longer_than_the_wait(until_s: float, now_s: float) -> None:
    refusals = Refusals(Count(6, 60.0, until_s), lambda _: None)
    first_s = refusals.left_s(now_s)
    assert 0 <= first_s <= 60
    assert refusals.left_s(now_s + 61) == 0 or abs(now_s) > 1e12


def test_a_clock_that_is_set_back_in_the_wait_waits_the_whole_time(tmp_path: Path) -> None:
    door = Door()
    door.fail(5)
    door.now_s -= 500
    assert door.left_s == 30
    door.now_s += 31
    assert door.left_s == 0


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
    assert "scripts/gallery_keys.py accept" in (again.file.fault or "")


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


def test_the_total_grows_by_one_with_each_refused_approach() -> None:
    door, totals = Door(), []
    for _ in range(3):
        door.fail(1)
        totals.append(door.refusals.total)
    assert totals == [1, 2, 3]
