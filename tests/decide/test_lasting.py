"""What flickers is told once, when it has lasted."""

from __future__ import annotations

import pytest

from device.decide.lasting import Lasting


def changes(lasting: Lasting, seen: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    return [(at_s, lasting.on) for at_s, holds in seen if lasting.see(holds, at_s)]


def test_it_begins_and_ends_once_each() -> None:
    seen = [(0.5 * i, 1 <= 0.5 * i < 6) for i in range(20)]
    assert changes(Lasting(2.0, 1.0), seen) == [(3.0, True), (7.0, False)]


def test_a_break_starts_the_count_anew() -> None:
    seen = [(float(i), i != 4) for i in range(9)]
    assert changes(Lasting(5.0, 0.0), seen[:8]) == []
    assert changes(Lasting(3.0, 0.0), [*seen[2:]]) == [(8.0, True)]


def test_without_a_time_to_last_it_changes_at_once() -> None:
    assert changes(Lasting(0.0, 0.0), [(1.0, True), (1.1, True), (1.2, False)]) == [(1.0, True), (1.2, False)]


@pytest.mark.parametrize("back_to_s", [-100.0, 0.0])
def test_time_that_runs_backwards_does_not_shorten_it(back_to_s: float) -> None:
    lasting = Lasting(2.0, 2.0)
    assert changes(lasting, [(50.0, True), (back_to_s, True), (back_to_s + 1.9, True)]) == []
    assert lasting.see(True, back_to_s + 2.0)
