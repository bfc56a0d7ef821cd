"""What a self-test proves, and what an unproven door may do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device.access.selftest import ATTACKS, LIVE, SelfTest, SpeciesCount, capped_mode, is_proven

PAD, OTHER = "pad-0123456789ab", "pad-ffffffffffff"


def verdict(shown: int = 36, *, wrong: int = 0, species: str = "print") -> SelfTest:
    """Return a verdict of so many looks of each species; `wrong` of one of them were judged wrongly."""
    counts = [SpeciesCount(each, shown, wrong * (each == species)) for each in (*ATTACKS, LIVE)]
    return SelfTest("2026-03-01T07:00:00Z", PAD, "mobilefacenet-0", tuple(counts))


def test_thirty_six_looks_of_each_species_prove_a_door():
    assert verdict().passed
    assert not verdict(35).passed
    assert SpeciesCount("print", 36, 0).interval == pytest.approx((0, 0.09739), abs=1e-5)


@pytest.mark.parametrize("species", ATTACKS)
def test_one_of_thirty_six_let_in_proves_none_and_one_of_fifty_four_does(species):
    assert not verdict(wrong=1, species=species).passed
    assert verdict(54, wrong=1, species=species).passed


@pytest.mark.parametrize("shown", [0, 1, 20])
def test_too_few_looks_prove_nothing(shown):
    assert not verdict(shown).passed


def test_a_species_that_was_not_shown_proves_nothing():
    whole = verdict()
    assert not replace(whole, counts=whole.counts[1:]).passed


def test_the_owner_refused_is_a_nuisance_not_a_danger():
    assert verdict(wrong=36, species=LIVE).passed


def test_a_door_is_proven_by_its_own_network_only():
    assert is_proven(verdict(), PAD)
    assert not is_proven(verdict(), OTHER)
    assert not is_proven(verdict(), None)
    assert not is_proven(None, PAD)
    assert not is_proven(None, None)
    assert not is_proven(verdict(wrong=3), PAD)


@pytest.mark.parametrize("mode", ["passive", "challenge", "always", "off"])
def test_an_unproven_door_challenges_everybody(mode):
    assert capped_mode(mode, unproven="challenge", proven=True) == mode
    assert capped_mode(mode, unproven="allow", proven=False) == mode
    capped = capped_mode(mode, unproven="challenge", proven=False)
    assert capped == ("off" if mode == "off" else "always")


def test_of_a_species_that_was_never_shown_nothing_is_known() -> None:
    assert SpeciesCount("print", 0, 0).interval == (0.0, 1.0)
