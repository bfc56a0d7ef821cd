"""Look-alikes: who is named, what parts two, what is stored of it, and what the door does with it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from device.decide.decider import DecisionRule, Sight
from device.errors import GalleryError
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike, look_alikes, own_reach
from device.gallery.rows import Need
from device.numeric.similarity import l2_normalize
from tests.support.doors.deciding import make_decider

D = 8
DOOR, MARGIN = 0.47, 0.07


def person(axis: int, *, spread: float = 0.3, count: int = 3) -> np.ndarray:
    """Return templates around one axis; two of them are 1 - spread alike, about."""
    rows = np.zeros((count, D), np.float32)
    rows[:, axis] = 1
    rows[np.arange(count), (axis + 1 + np.arange(count)) % D] = np.sqrt(spread)
    return l2_normalize(rows)


def like(templates: np.ndarray, similarity: float, axis: int = 7) -> np.ndarray:
    """Return two templates whose nearest one to `templates` is at a similarity."""
    away = np.eye(D, dtype=np.float32)[axis]
    nearest = similarity * templates[0] + np.sqrt(1 - similarity**2) * away
    return l2_normalize(np.stack([nearest, 0.9 * nearest + np.sqrt(1 - 0.81) * -templates[1]]))


def test_strangers_are_no_look_alikes():
    others = {"bob": person(3), "carol": person(5, count=2)}
    assert look_alikes(person(0, count=1), others, threshold=DOOR, floor=DOOR, margin=MARGIN) == []


@pytest.mark.parametrize(("similarity", "named"), [(0.39, False), (0.41, True), (0.6, True), (0.99, True)])
def test_a_pair_is_named_from_a_margin_below_the_threshold_on(similarity, named):
    alice = person(0)
    found = look_alikes(like(alice, similarity), {"alice": alice}, threshold=DOOR, floor=DOOR, margin=MARGIN)
    assert bool(found) is named
    if named:
        assert found[0].subject_id == "alice"
        assert found[0].similarity == pytest.approx(similarity, abs=1e-5)
        assert found[0].needed == pytest.approx(similarity + MARGIN, abs=1e-5)


def test_a_safe_pair_is_raised_to_what_parts_it():
    alice = person(0)
    (found,) = look_alikes(like(alice, 0.5), {"alice": alice}, threshold=DOOR, floor=DOOR, margin=MARGIN)
    assert found.is_safe
    assert found.threshold == found.other_threshold == pytest.approx(0.57, abs=1e-5)


def test_a_pair_nearer_than_ones_own_looks_is_not_safe():
    alice = person(0, spread=0.5)
    reach = own_reach(alice, DOOR)
    (found,) = look_alikes(like(alice, 0.66), {"alice": alice}, threshold=DOOR, floor=DOOR, margin=MARGIN)
    assert not found.is_safe
    assert found.other_threshold == pytest.approx(reach)  # as high as her own looks let it be
    assert DOOR < reach < found.needed


def test_one_template_proves_nothing_about_the_next_look():
    alice = person(0)
    (found,) = look_alikes(like(alice, 0.5)[:1], {"alice": alice}, threshold=DOOR, floor=DOOR, margin=MARGIN)
    assert not found.is_safe
    assert found.threshold == DOOR


@pytest.mark.parametrize("count", [1, 2])
def test_a_pair_that_only_a_more_lenient_door_mixes_up_is_stored_and_safe(count):
    alice = person(0)
    newcomer = like(alice, 0.38)[:count]
    (found,) = look_alikes(newcomer, {"alice": alice}, threshold=DOOR, floor=0.33, margin=MARGIN)
    assert found.is_parted
    assert found.is_safe
    assert found.threshold == found.other_threshold == pytest.approx(0.45, abs=1e-5)
    assert look_alikes(newcomer, {"alice": alice}, threshold=DOOR, floor=0.46, margin=MARGIN) == []


def test_the_nearest_is_first():
    alice, bob = person(0), person(3)
    newcomer = l2_normalize(0.8 * bob[:2] + 0.6 * alice[:2])
    found = look_alikes(newcomer, {"alice": alice, "bob": bob}, threshold=DOOR, floor=DOOR, margin=MARGIN)
    assert [each.subject_id for each in found] == ["bob", "alice"]


# In the gallery


def open_gallery(path: Path, *, read_only: bool = False) -> Gallery:
    return Gallery(path, model_id="m", dimension=D, read_only=read_only, threshold_for=lambda count: DOOR)


def pair(safe: bool) -> LookAlike:
    return LookAlike("alice", 0.6, 0.67, 0.67, 0.67 if safe else 0.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_gallery(tmp_path / "gallery.db") as gallery:
        gallery.enroll("alice", person(0), replace=False)
        gallery.enroll("carol", person(3), replace=False)
    return tmp_path / "gallery.db"


@pytest.mark.parametrize("safe", [True, False])
def test_a_pair_is_stored_for_both(path, safe):
    with open_gallery(path) as gallery, open_gallery(path, read_only=True) as door:
        before = door.match(person(0)[0])
        gallery.enroll("bob", person(5), replace=False, look_alikes=[pair(safe)])
        alice, bob, carol = (door.match(person(axis)[0]) for axis in (0, 5, 3))
        assert door.needs() == {"alice": Need(0.67 if safe else 0.5, not safe), "bob": Need(0.67, not safe)}
    assert (before.threshold, before.challenge) == (DOOR, False)
    assert (alice.threshold, alice.challenge) == (0.67 if safe else 0.5, not safe)
    assert (bob.threshold, bob.challenge) == (0.67, not safe)
    assert (carol.threshold, carol.challenge) == (DOOR, False)


def test_the_door_refuses_below_the_raised_threshold(path):
    rule = DecisionRule(threshold=0.4, k=1, n=1, cooldown_s=0, max_frame_age_s=1)
    probe = l2_normalize(0.6 * person(0)[0] + 0.8 * np.eye(D, dtype=np.float32)[7])
    with open_gallery(path) as gallery:
        assert granted(rule, gallery, probe)
        gallery.enroll("bob", person(5), replace=False, look_alikes=[pair(True)])
        assert not granted(rule, gallery, probe)
        assert granted(rule, gallery, person(0)[0])


def granted(rule: DecisionRule, gallery: Gallery, probe: np.ndarray) -> bool:
    match = gallery.match(probe)
    return make_decider(rule, "off").decide(Sight(1.0, 1, match, None), 1.0).granted


def test_a_door_with_more_templates_may_ask_for_more_than_the_pair(path):
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(5), replace=False, look_alikes=[pair(True)])
    with Gallery(path, model_id="m", dimension=D, read_only=True, threshold_for=lambda n: n / 10) as door:
        assert door.match(person(0)[0]).threshold == 0.9


def test_several_look_alikes_of_one_subject_count_as_the_worst(path):
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(5), replace=False, look_alikes=[pair(True)])
        worse = LookAlike("alice", 0.7, 0.77, 0.77, 0.6)
        gallery.enroll("dora", person(6), replace=False, look_alikes=[worse])
        assert gallery.needs()["alice"] == Need(0.67, True)
        assert gallery.needs()["bob"] == Need(0.67, False)


def test_whoever_is_removed_takes_the_pair_along(path):
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(5), replace=False, look_alikes=[pair(False)])
        gallery.remove("bob")
        assert gallery.needs() == {}
        assert gallery.match(person(0)[0]).threshold == DOOR


def test_an_enrollment_anew_takes_the_place_of_the_old_pairs(path):
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(5), replace=False, look_alikes=[pair(False)])
        gallery.enroll("bob", person(6), replace=True)
        assert gallery.needs() == {}


def test_a_look_alike_who_is_not_enrolled_stores_nothing(path):
    with open_gallery(path) as gallery:
        nobody = LookAlike("nobody", 0.6, 0.67, 0.67, 0.67)
        with pytest.raises(GalleryError):
            gallery.enroll("bob", person(5), replace=False, look_alikes=[nobody])
        assert [subject.subject_id for subject in gallery.subjects()] == ["alice", "carol"]


def test_everybody_is_each_subjects_own_templates(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", person(4), replace=False)
        everybody = gallery.everybody()
    assert list(everybody) == ["alice", "carol"]
    assert (everybody["alice"] == np.concatenate([person(0), person(4)])).all()
    assert (everybody["carol"] == person(3)).all()


@pytest.mark.parametrize("threshold", ["9.9", "'a'", "NULL"])
def test_the_file_refuses_a_threshold_that_is_none(path, threshold):
    with contextlib.closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(f"INSERT INTO look_alikes VALUES ('alice', 'carol', {threshold}, 0)")
