from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.numeric.intervals import clopper_pearson

# R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I
PUBLISHED = {
    (81, 263): (0.2527, 0.3676),
    (15, 148): (0.0578, 0.1617),
    (0, 20): (0.0, 0.1684),
    (1, 29): (0.0009, 0.1776),
}


@pytest.mark.parametrize("seen", PUBLISHED)
def test_published_intervals(seen):
    assert clopper_pearson(*seen) == pytest.approx(PUBLISHED[seen], abs=5e-5)


def test_none_of_twenty_proves_only_17_percent():
    low, high = clopper_pearson(0, 20)
    assert low == 0
    assert f"{100 * high:.1f}" == "16.8"


@pytest.mark.parametrize("total", [1, 20, 300])
def test_none_and_all_have_a_closed_form(total):
    edge = 1 - 0.025 ** (1 / total)
    assert clopper_pearson(0, total) == pytest.approx((0, edge), abs=1e-12)
    assert clopper_pearson(total, total) == pytest.approx((1 - edge, 1), abs=1e-12)


def at_most(count: int, total: int, rate: float) -> float:
    return sum(math.comb(total, i) * rate**i * (1 - rate) ** (total - i) for i in range(count + 1))


@settings(deadline=None)
@given(st.data(), st.integers(1, 60), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_each_end_leaves_half_of_the_doubt(data, total, confidence):
    count = data.draw(st.integers(0, total))
    low, high = clopper_pearson(count, total, confidence)
    tail = (1 - confidence) / 2
    assert low <= count / total <= high
    if count < total:
        assert at_most(count, total, high) == pytest.approx(tail, rel=1e-6)
    if count:
        assert 1 - at_most(count - 1, total, low) == pytest.approx(tail, rel=1e-6)


def test_millions_of_pairs():
    low, high = clopper_pearson(74, 7_400_000)
    assert (low, high) == pytest.approx((7.852e-6, 1.2554e-5), rel=1e-3)


@pytest.mark.parametrize("wrong", [(-1, 5), (6, 5), (0, 0), (1, 5, 0.0), (1, 5, 1.0)])
def test_what_is_no_count(wrong):
    with pytest.raises(ValueError, match="expected 0 <= count <= total"):
        clopper_pearson(*wrong)
