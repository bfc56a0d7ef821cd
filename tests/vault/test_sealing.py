"""Sealed records open in their own place and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.vault.sealing import OVERHEAD_BYTES, SealBroken, Sealer, derive, place_of, version_of

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PLACE = place_of("template", "alice", "m")


def test_a_record_opens_in_its_place():
    sealer = Sealer({1: KEY}, "gallery")
    sealed = sealer.seal(b"secret", PLACE)
    assert sealer.open(sealed, PLACE) == b"secret"
    assert len(sealed) == len(b"secret") + OVERHEAD_BYTES
    assert b"secret" not in sealed
    assert version_of(sealed) == 1


def test_the_same_record_is_sealed_differently_each_time():
    sealer = Sealer({1: KEY}, "gallery")
    nonces = {sealer.seal(b"secret", PLACE)[5:17] for _ in range(1000)}
    assert len(nonces) == 1000


@pytest.mark.parametrize(
    "place",
    [
        place_of("template", "bob", "m"),
        place_of("template", "alice", "n"),
        place_of("profile", "alice", "m"),
        place_of("template", "alicem", ""),
        b"",
    ],
)
def test_a_record_does_not_open_elsewhere(place):
    sealer = Sealer({1: KEY}, "gallery")
    with pytest.raises(SealBroken, match="another place"):
        sealer.open(sealer.seal(b"secret", PLACE), place)


def test_another_key_and_another_purpose_do_not_open():
    sealed = Sealer({1: KEY}, "gallery").seal(b"secret", PLACE)
    for other in (Sealer({1: OTHER}, "gallery"), Sealer({1: KEY}, "backup")):
        with pytest.raises(SealBroken, match="another key"):
            other.open(sealed, PLACE)
    with pytest.raises(SealBroken, match="key 1, which is not here"):
        Sealer({2: KEY}, "gallery").open(sealed, PLACE)


def test_older_keys_open_and_the_newest_seals():
    old = Sealer({1: KEY}, "gallery")
    both = Sealer({1: KEY, 2: OTHER}, "gallery")
    assert both.open(old.seal(b"secret", PLACE), PLACE) == b"secret"
    assert version_of(both.seal(b"secret", PLACE)) == 2


def test_a_version_that_was_changed_does_not_open():
    sealer = Sealer({1: KEY, 2: KEY}, "gallery")  # even of the same key
    sealed = bytearray(sealer.seal(b"secret", PLACE))
    sealed[4] = 1
    with pytest.raises(SealBroken):
        sealer.open(bytes(sealed), PLACE)


@given(st.binary(max_size=80), st.data())
@settings(max_examples=300, deadline=None)
def test_no_changed_byte_opens(data, draw):
    sealer = Sealer({1: KEY}, "gallery")
    sealed = bytearray(sealer.seal(data, PLACE))
    where = draw.draw(st.integers(0, len(sealed) - 1))
    sealed[where] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(SealBroken):
        sealer.open(bytes(sealed), PLACE)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_noise_does_not_open(noise):
    with pytest.raises(SealBroken):
        Sealer({1: KEY}, "gallery").open(noise, PLACE)


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_two_places_are_never_one(first, second):
    assert (place_of(*first) == place_of(*second)) == (first == second)


def test_keys_of_two_purposes_differ():
    assert derive(KEY, "a") != derive(KEY, "b")
    assert derive(KEY, "a") != derive(OTHER, "a")
    assert len(derive(KEY, "a")) == 32
