"""Who may enter when: every rule alone, their order, and the clock that nobody set."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.access.policy import (
    Policy,
    Usage,
    clock_is_set,
    judge,
    parse_hours,
    policy_from_json,
    policy_to_json,
    within,
)
from device.errors import UsageError
from device.types import Reason

UTC = timezone.utc
MONDAY = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def verdict(
    policy: Policy, at: datetime | None = MONDAY, *, has_pin: bool = True, failures: int = 0, **usage
):
    return judge(policy, Usage(**usage), at, failures=failures, has_pin=has_pin)


def test_the_default_lets_in_always_even_without_a_clock():
    assert verdict(Policy()) is Reason.GRANTED
    assert verdict(Policy(), None, has_pin=False) is Reason.GRANTED


@pytest.mark.parametrize(
    ("hours", "at", "inside"),
    [
        ("Mon-Fri 08:00-18:00", "2026-11-23 08:00", True),
        ("Mon-Fri 08:00-18:00", "2026-11-23 07:59", False),
        ("Mon-Fri 08:00-18:00", "2026-11-23 17:59", True),
        ("Mon-Fri 08:00-18:00", "2026-11-23 18:00", False),
        ("Mon-Fri 08:00-18:00", "2026-11-28 12:00", False),  # Saturday
        ("sat 10:00-14:00", "2026-11-28 12:00", True),
        ("Mon-Fri 08:00-18:00, Sat 10:00-14:00", "2026-11-28 13:59", True),
        ("Fri-Mon 08:00-18:00", "2026-11-29 12:00", True),  # a range over the week's end
        ("Fri-Mon 08:00-18:00", "2026-11-24 12:00", False),
        ("08:00-18:00", "2026-11-29 12:00", True),
        ("00:00-24:00", "2026-11-29 23:59", True),
        ("Fri 22:00-06:00", "2026-11-27 23:00", True),  # past midnight
        ("Fri 22:00-06:00", "2026-11-28 05:59", True),
        ("Fri 22:00-06:00", "2026-11-28 06:00", False),
        ("Fri 22:00-06:00", "2026-11-27 05:00", False),  # the night before is Thursday's
        ("Sun 22:00-06:00", "2026-11-23 05:00", True),  # Monday morning
    ],
)
def test_hours(hours, at, inside):
    when = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert within(hours, "UTC", when) is inside
    expected = Reason.GRANTED if inside else Reason.OUTSIDE_HOURS
    assert verdict(Policy(hours=hours, time_zone="UTC"), when) is expected


def test_hours_follow_the_wall_clock_of_their_zone_through_summer_time():
    hours = "08:00-09:00"
    winter, summer = datetime(2026, 1, 5, 7, 30, tzinfo=UTC), datetime(2026, 7, 6, 6, 30, tzinfo=UTC)
    assert within(hours, "Europe/Berlin", winter)
    assert within(hours, "Europe/Berlin", summer)
    assert not within(hours, "Europe/Berlin", winter - timedelta(hours=1))
    assert not within(hours, "America/New_York", winter)


@pytest.mark.parametrize(
    "hours",
    ["Mon", "8-18", "Mon-Fri", "Mon-Fry 08:00-18:00", "25:00-26:00", "08:60-09:00", "08:00-08:00", "24:00-01:00",
     "08:00-18:00,", "Mon Fri 08:00-18:00", "x" * 5000],
)  # fmt: skip
def test_hours_that_are_none_are_one_line(hours):
    with pytest.raises(UsageError, match=r"^hours .*expected") as caught:
        Policy(hours=hours)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=30))
def test_any_text_is_hours_or_one_line(text):
    told = ""
    try:
        parse_hours(text)
    except UsageError as fault:
        told = str(fault)
    assert len(told) < 200


def test_valid_days_count_in_their_zone():
    policy = Policy(
        valid_from=date(2026, 11, 20), valid_until=date(2026, 11, 23), time_zone="Pacific/Auckland"
    )
    assert verdict(policy, datetime(2026, 11, 23, 10, 59, tzinfo=UTC)) is Reason.GRANTED  # 23:59 there
    assert verdict(policy, datetime(2026, 11, 23, 11, 0, tzinfo=UTC)) is Reason.NOT_VALID
    assert verdict(policy, datetime(2026, 11, 19, 10, 59, tzinfo=UTC)) is Reason.NOT_VALID
    assert verdict(policy, datetime(2026, 11, 19, 11, 0, tzinfo=UTC)) is Reason.GRANTED


def test_a_guest_has_a_number_of_entries():
    policy = Policy(entries=2)
    assert verdict(policy, entries=1) is Reason.GRANTED
    assert verdict(policy, entries=2) is Reason.NO_ENTRIES_LEFT
    assert verdict(Policy(entries=0)) is Reason.NO_ENTRIES_LEFT


def test_disabled_goes_before_everything():
    assert verdict(Policy(access="disabled")) is Reason.DISABLED
    assert verdict(Policy(access="disabled", hours="08:00-09:00", entries=0), None) is Reason.DISABLED


def test_face_and_pin():
    assert verdict(Policy(access="face+pin")) is Reason.PIN_NEEDED
    assert verdict(Policy(access="face+pin"), has_pin=False) is Reason.NO_PIN
    assert verdict(Policy(access="face+pin", hours="Tue 08:00-09:00")) is Reason.OUTSIDE_HOURS


def test_the_pin_by_hour():
    policy = Policy(pin_hours="20:00-07:00", time_zone="UTC")
    assert verdict(policy, MONDAY) is Reason.GRANTED
    assert verdict(policy, MONDAY.replace(hour=23)) is Reason.PIN_NEEDED
    assert verdict(policy, MONDAY.replace(hour=6)) is Reason.PIN_NEEDED


def test_the_pin_every_72_hours():
    policy = Policy(pin_every_h=72)
    assert verdict(policy) is Reason.PIN_NEEDED
    assert verdict(policy, last_pin_at=MONDAY - timedelta(hours=71.9)) is Reason.GRANTED
    assert verdict(policy, last_pin_at=MONDAY - timedelta(hours=72)) is Reason.PIN_NEEDED
    assert verdict(policy, last_pin_at=MONDAY + timedelta(hours=1)) is Reason.PIN_NEEDED  # set back


def test_the_pin_after_failures():
    policy = Policy(pin_after_failures=3)
    assert verdict(policy, failures=2) is Reason.GRANTED
    assert verdict(policy, failures=3) is Reason.PIN_NEEDED
    assert verdict(policy, None, failures=3) is Reason.PIN_NEEDED


TIMED = {
    "hours": Policy(hours="00:00-24:00"),
    "from": Policy(valid_from=date(2026, 1, 1)),
    "until": Policy(valid_until=date(2099, 1, 1)),
    "pin hours": Policy(pin_hours="01:00-01:01"),
    "pin every": Policy(pin_every_h=72),
}


@pytest.mark.parametrize("policy", TIMED.values(), ids=TIMED)
def test_a_clock_that_was_not_set_means_the_pin_or_locked_never_always(policy):
    assert verdict(policy, None) is Reason.PIN_NEEDED
    assert verdict(policy, None, last_pin_at=MONDAY) is Reason.PIN_NEEDED
    assert verdict(policy, None, has_pin=False) is Reason.CLOCK_NOT_SET
    assert verdict(Policy(access="disabled", hours="00:00-24:00"), None) is Reason.DISABLED
    assert verdict(Policy(entries=1, hours="00:00-24:00"), None, entries=1) is Reason.NO_ENTRIES_LEFT


def test_when_a_clock_is_set():
    release = datetime(2026, 3, 1, tzinfo=UTC)
    assert clock_is_set(release, release, None)
    assert clock_is_set(release, release, True)
    assert not clock_is_set(release, release, False)
    assert not clock_is_set(datetime(1970, 1, 1, tzinfo=UTC), release, True)


@pytest.mark.parametrize(
    "wrong",
    [{"access": "always"}, {"time_zone": "Mars/Olympus"}, {"time_zone": "../../etc/passwd"}, {"entries": -1},
     {"pin_every_h": 0}, {"pin_after_failures": 0},
     {"valid_from": date(2026, 2, 1), "valid_until": date(2026, 1, 1)}],
)  # fmt: skip
def test_policies_that_make_no_sense_are_one_line(wrong):
    with pytest.raises(UsageError):
        Policy(**wrong)


def test_a_policy_is_stored_and_read_back():
    policy = Policy(
        access="face+pin",
        hours="Mon-Fri 08:00-18:00",
        valid_until=date(2027, 1, 31),
        entries=0,
        pin_every_h=72,
    )
    assert policy_from_json(policy_to_json(policy)) == policy
    assert policy_to_json(Policy()) == {"access": "face"}
    assert not Policy().asks_pin
    assert policy.asks_pin
