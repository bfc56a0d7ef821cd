"""The budget: at most half of any minute, at most ten pulses, whatever the pattern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.lock.budget import OPEN_S, PULSES, WINDOW_S, Budget


def test_one_pulse_after_the_other_is_allowed_until_half_a_minute_is_used():
    budget = Budget(5.0)
    for number in range(6):
        assert budget.allows(6.0 * number)
        budget.begin(6.0 * number)
    assert not budget.allows(36.0)
    assert budget.allows(61.0)


def test_a_pulse_that_was_ended_early_gives_the_rest_back():
    budget = Budget(30.0)
    budget.begin(0.0)
    assert not budget.allows(3.0)
    budget.end(2.0)
    assert not budget.allows(3.0)  # 2 s are used, and 30 would make 32
    budget = Budget(14.0)
    budget.begin(0.0)
    budget.end(2.0)
    assert budget.allows(3.0)


def test_half_a_minute_is_not_a_moment_more():
    budget = Budget(30.0)
    budget.begin(0.0)
    budget.end(0.05)
    assert not budget.allows(1.0)


def test_a_pulse_that_another_one_restarts_is_counted_once():
    budget = Budget(14.0)
    budget.begin(0.0)
    budget.begin(7.0)
    assert budget.allows(14.0)  # 14 s are used, and 14 make 28
    budget.begin(14.0)
    assert not budget.allows(17.0)  # 17 and 14 make 31


def test_many_short_pulses_are_too_many():
    budget = Budget(0.1)
    for number in range(10):
        assert budget.allows(100.0 + number)
        budget.begin(100.0 + number)
    assert not budget.allows(159.9)
    assert budget.allows(160.0)


@pytest.mark.parametrize("pulse_s", [0.1, 30.0])
def test_the_first_pulse_is_always_allowed(pulse_s):
    assert Budget(pulse_s).allows(0.0)


steps = st.lists(st.tuples(st.floats(0.0, 40.0), st.sampled_from(["ask", "ask", "end"])), max_size=60)


@given(st.floats(0.1, 30.0), steps)
def test_whatever_the_pattern_no_minute_is_open_for_more_than_half(pulse_s, pattern):
    budget, now_s, open_s = Budget(pulse_s), 0.0, []
    for wait_s, what in pattern:
        now_s += wait_s
        if open_s and (what == "end" or budget.allows(now_s)):
            open_s[-1][1] = min(open_s[-1][1], now_s)
        if what == "end":
            budget.end(now_s)
        elif budget.allows(now_s):
            budget.begin(now_s)
            open_s.append([now_s, now_s + pulse_s])
    for _, end_s in open_s:
        used_s = sum(max(0.0, min(e, end_s) - max(s, end_s - WINDOW_S)) for s, e in open_s)
        assert used_s <= OPEN_S + 1e-3
        assert sum(end_s - WINDOW_S < s <= end_s for s, _ in open_s) <= PULSES + 1
