"""What repeats itself is told less and less, and nothing of it is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from device.journal.damper import Damper


def test_the_first_is_told_at_once_and_the_others_stand_together():
    damper: Damper[str] = Damper()
    told = [(second / 10, damper.see("a", second / 10)) for second in range(1200)]
    assert [at_s for at_s, count in told if count] == [0.0, 5.0, 15.0, 35.0, 75.0]
    assert [count for _, count in told if count] == [1, 50, 100, 200, 400]


def test_two_kinds_in_turn_are_damped_as_one_is():
    """Two reasons in turn at ten frames a second were a record a frame."""
    damper: Damper[str] = Damper()
    told = sum(damper.see("ab"[number % 2], number / 10) > 0 for number in range(36_000))
    assert told < 2 * 25


def test_what_was_quiet_for_long_is_news_again():
    damper: Damper[str] = Damper()
    assert [damper.see("a", at_s) for at_s in (0.0, 1.0, 2.0)] == [1, 0, 0]
    assert list(damper.quiet(20.0)) == []
    assert list(damper.quiet(33.0)) == [("a", 2)]
    assert damper.see("a", 33.0) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=60))
def test_no_frame_is_lost_or_counted_twice(seen):
    damper: Damper[str] = Damper()
    now_s, counted = 0.0, 0
    for key, pause_s in seen:
        now_s += pause_s
        counted += sum(count for _, count in damper.quiet(now_s)) + damper.see(key, now_s)
    assert counted + sum(count for _, count in damper.end()) == len(seen)
