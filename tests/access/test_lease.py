"""The lease of people who came from a keeper: how long the keeper's last word is good for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from device.access.lease import Lease, lease_at

SIGNED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("age", "lease"),
    [
        (timedelta(0), Lease.HOLDS),
        (timedelta(days=7) - MOMENT, Lease.HOLDS),
        (timedelta(days=7), Lease.STALE),
        (timedelta(days=30) - MOMENT, Lease.STALE),
        (timedelta(days=30), Lease.OVER),
        (timedelta(days=4000), Lease.OVER),
        (-timedelta(hours=2), Lease.HOLDS),
        (-timedelta(hours=2) - MOMENT, Lease.STALE),
    ],
)
def test_a_word_grows_old_and_one_from_far_ahead_is_not_believed(age: timedelta, lease: Lease) -> None:
    assert lease_at(SIGNED, SIGNED + age) is lease


def test_without_a_clock_the_pin_is_needed_and_without_a_word_nobody_is_let_in() -> None:
    assert lease_at(SIGNED, None) is Lease.STALE
    assert lease_at(None, SIGNED) is Lease.OVER
    assert lease_at(None, None) is Lease.OVER
