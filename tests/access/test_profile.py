"""What is kept of a subject beside the templates, and how it is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from device.access.policy import Policy
from device.access.profile import Profile, profile_from_json, profile_to_json

ENDS = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
PLAIN = Profile(pin_hash="a hash of the PIN", duress_hash="another")
FULL = replace(PLAIN, retain_until=ENDS, fleet_id="f1", least_similarity=0.5, challenge=True)


@pytest.mark.parametrize("profile", [Profile(), PLAIN, FULL, replace(FULL, challenge=False)])
def test_a_profile_is_read_as_it_was_stored(profile: Profile) -> None:
    assert profile_from_json(profile_to_json(profile)) == profile


def test_who_is_of_no_fleet_has_nothing_of_a_fleet_stored() -> None:
    assert profile_to_json(PLAIN).keys() == {
        *("alias", "issue", "retain_until", "policy", "pin_hash", "duress_hash"),
    }
    assert profile_from_json(profile_to_json(Profile())).challenge is False


def test_a_new_profile_asks_for_nothing_and_is_known_by_numbers_of_its_own() -> None:
    first, second = Profile(), Profile()
    assert (first.policy, first.retain_until, first.pin_hash, first.challenge) == (
        Policy(),
        None,
        None,
        False,
    )
    assert {len(each.alias) for each in (first, second)} == {16}
    assert {len(each.issue) for each in (first, second)} == {8}
    assert (first.alias, first.issue) != (second.alias, second.issue)


def test_a_consent_ends_to_the_moment_and_one_without_an_end_never() -> None:
    assert FULL.is_expired(ENDS)
    assert not FULL.is_expired(ENDS - timedelta(microseconds=1))
    assert not PLAIN.is_expired(ENDS)


def test_no_hash_of_a_pin_shows_where_a_profile_is_printed() -> None:
    assert "a hash" not in repr(FULL)
    assert "another" not in repr(FULL)
