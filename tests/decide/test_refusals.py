"""Refused approaches: what counts as one, and how long the door waits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decide.backoff import Count, wait_after_refusals
from device.decide.refusals import LOOKS, Refusals
from device.types import Reason
from tests.support.doors.refusing import Door


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


def begin(door: Door) -> None: ...


def go_away(door: Door) -> None:
    door.see(Reason.BELOW_THRESHOLD), door.see(Reason.NO_FACE, 21)


def open_it(door: Door) -> None:
    go_away(door), door.see(Reason.BELOW_THRESHOLD, 7 - 1), door.see(Reason.GRANTED)


def be_refused(door: Door) -> None:
    go_away(door), door.see(Reason.CHALLENGE_FAILED)


@pytest.mark.parametrize("before", [begin, open_it, be_refused])
@pytest.mark.parametrize("now_s", [0.0, 1000.0])
def test_nothing_of_a_look_is_left_after_an_opening_or_a_refusal(before, now_s: float) -> None:
    """Seven looks, and two seconds in which a little of them is forgotten, then an eighth: not quite eight."""
    door = Door(now_s=now_s)
    before(door)
    count = door.refusals.count.wrong
    assert door.see(Reason.BELOW_THRESHOLD, 7) == count
    assert door.see(Reason.NO_FACE, 21) == count
    assert door.see(Reason.BELOW_THRESHOLD) == count
    assert door.see(Reason.BELOW_THRESHOLD) == count + 1


@pytest.mark.parametrize(("looks", "counted"), [(7, 0), (8, 1)])
def test_eight_looks_of_any_kind_are_a_refusal_when_they_end(looks: int, counted: int) -> None:
    door = Door()
    assert door.see(Reason.CONFIRMING, looks) == 0
    assert door.see(Reason.NO_FACE, 21) == counted


def test_the_looks_of_a_stay_that_goes_on_as_another_approach_are_not_forgotten() -> None:
    door = Refusals(Count(), lambda _: None)
    for now_s in (0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0, 10.5):
        assert door.count.wrong == 0
        door.see(Reason.BELOW_THRESHOLD, now_s)
    assert door.count.wrong == 1


def test_an_approach_ends_after_two_seconds_of_nobody_and_ten_in_all_to_the_moment() -> None:
    door = Refusals(Count(), lambda _: None)
    for now_s in (2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0):
        for _ in range(8):
            door.see(Reason.BELOW_THRESHOLD, now_s)
        assert door.count.wrong == 1
    for _ in range(8):
        door.see(Reason.BELOW_THRESHOLD, 12.1)
    assert door.count.wrong == 2


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


def test_the_total_grows_by_one_with_each_refused_approach() -> None:
    door, totals = Door(), []
    for _ in range(3):
        door.fail(1)
        totals.append(door.refusals.total)
    assert totals == [1, 2, 3]
