"""A gallery: whom it knows, whom it matches, what it forgets."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from device.access.policy import Policy
from device.access.profile import Profile
from device.access.selftest import SelfTest, SpeciesCount
from device.decide.decider import DecisionRule, Sight
from device.errors import GalleryError, GalleryModelError, GallerySealError
from device.gallery import schema
from device.gallery.gallery import Gallery
from device.gallery.seal import GallerySeal
from device.numeric.similarity import l2_normalize
from tests.support.doors.deciding import make_decider
from tests.support.galleries import (
    MODEL,
    D,
    files_of,
    filled,
    one_line,
    open_gallery,
    sealed_of,
    units,
)


def test_an_empty_gallery_matches_nobody(gallery):
    assert gallery.match(units(1)[0]) is None
    assert gallery.count() == 0
    assert gallery.subjects() == []


def test_enrolled_subjects_are_matched_and_listed(gallery):
    alice, bob = units(5, 1), units(2, 2)
    gallery.enroll("bob", bob, replace=False)
    gallery.enroll("alice", alice, replace=False)
    assert [(s.subject_id, s.template_count) for s in gallery.subjects()] == [("alice", 5), ("bob", 2)]
    assert gallery.subjects()[0].enrolled_at.endswith("Z")
    for template in alice:
        match = gallery.match(template)
        assert match is not None
        assert match.subject_id == "alice"
        assert match.similarity == pytest.approx(1.0, abs=1e-6)


def test_templates_survive_closing_to_the_last_bit(path):
    rows = units(7)
    with open_gallery(path) as gallery:
        gallery.enroll("alice", rows, replace=False)
    with open_gallery(path, read_only=True) as door:
        assert (door.templates("alice") == rows).all()
    assert not any(row.tobytes()[:12] in files_of(path) for row in rows)


def test_enrolling_again_adds_or_replaces(gallery):
    gallery.enroll("alice", units(3, 1), replace=False)
    gallery.enroll("alice", units(2, 2), replace=False)
    assert gallery.count() == 5
    gallery.enroll("alice", units(1, 3), replace=True)
    assert gallery.count() == 1
    assert gallery.match(units(1, 1)[0]).similarity < 0.99


@pytest.mark.parametrize("copy", [shutil.copyfile, shutil.copy2])
def test_an_older_copy_over_the_open_file_is_refused_until_the_newest_is_back(path, tmp_path, copy):
    filled(path)
    older = Path(shutil.copy2(path, tmp_path / "older.db"))
    with open_gallery(path) as writer:
        writer.enroll("bob", units(1, 2), replace=False)
    newest = Path(shutil.copy2(path, tmp_path / "newest.db"))
    with open_gallery(path, read_only=True) as door:
        assert door.match(units(1, 2)[0]).subject_id == "bob"
        time.sleep(0.02)  # the clock of some file systems moves every 10 ms
        copy(older, path)  # the same file, other content: SQLite's own counter does not move
        for _ in range(2):
            with pytest.raises(GallerySealError, match="rolled back"):
                door.match(units(1, 2)[0])
    assert path.read_bytes() == older.read_bytes()
    copy(newest, path)
    with open_gallery(path, read_only=True) as door:
        assert door.match(units(1, 2)[0]).subject_id == "bob"


def test_the_templates_of_a_subject(gallery):
    assert gallery.templates("alice").shape == (0, D)
    gallery.enroll("bob", units(2, 2), replace=False)
    gallery.enroll("alice", units(3, 1), replace=False)
    assert (gallery.templates("alice") == units(3, 1)).all()
    assert gallery.templates("carol").shape == (0, D)


def test_a_gallery_that_disappears_grants_nobody(gallery, path):
    gallery.enroll("alice", units(1), replace=False)
    gallery.match(units(1)[0])
    path.unlink()
    with pytest.raises(GalleryError, match="does not exist"):
        gallery.match(units(1)[0])


# Removing


def test_removing_an_unknown_subject_removes_nothing(gallery):
    gallery.enroll("alice", units(2), replace=False)
    assert gallery.remove("nobody") == 0
    assert gallery.count() == 2


@pytest.mark.parametrize("how", ["remove", "replace"])
def test_no_byte_of_a_removed_template_stays_in_the_files(path, how):
    secret, kept = units(40, 1), units(40, 2)
    with open_gallery(path) as gallery, open_gallery(path, read_only=True) as reader:
        gallery.enroll("secretname", secret, replace=False)
        gallery.enroll("kept", kept, replace=False)
        reader.match(secret[0])
        sealed, others = sealed_of(path, "secretname"), sealed_of(path, "kept")
        assert all(row in files_of(path) for row in sealed + others)
        assert not any(row.tobytes()[:12] in files_of(path) for row in secret)
        if how == "remove":
            assert gallery.remove("secretname") == 40
        else:
            gallery.enroll("secretname", units(1, 3), replace=True)
        left = files_of(path)
        assert not any(row[17:33] in left for row in sealed)
        assert (b"secretname" in left) == (how == "replace")
        assert all(row in left for row in others)
    assert not any(row[17:33] in files_of(path) for row in sealed)


def test_a_reader_in_the_way_of_erasing_is_said(path, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.1)
    with open_gallery(path) as gallery, contextlib.closing(sqlite3.connect(path)) as reader:
        gallery.enroll("alice", units(2), replace=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM templates").fetchone()
        with pytest.raises(GalleryError) as caught:
            gallery.remove("alice")
        assert "keeps traces" in one_line(caught)
        assert gallery.count() == 0
        reader.rollback()
        assert gallery.remove("alice") == 0  # the same command again erases
        assert units(2)[0].tobytes() not in files_of(path)


# The model


def test_templates_of_another_model_are_an_error_that_names_both(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    for read_only in (False, True):
        with pytest.raises(GalleryModelError) as caught:
            open_gallery(path, model_id="mobilefacenet-ffffffffffff", read_only=read_only)
        text = one_line(caught)
        assert MODEL in text
        assert "mobilefacenet-ffffffffffff" in text
        assert "enroll" in text


def test_another_model_that_enrolls_meanwhile_is_an_error_not_a_low_similarity(gallery, path):
    gallery.enroll("alice", units(1), replace=False)
    gallery.match(units(1)[0])
    with open_gallery(path, model_id=None) as other:
        other.remove("alice")
    with open_gallery(path, model_id="other") as other:
        other.enroll("alice", units(1), replace=False)
    with pytest.raises(GalleryModelError, match="other"):
        gallery.match(units(1)[0])


def test_without_a_model_a_gallery_lists_and_removes_only(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    with open_gallery(path, model_id=None) as gallery:
        assert [s.subject_id for s in gallery.subjects()] == ["alice"]
        with pytest.raises(GalleryError, match="without a model"):
            gallery.enroll("bob", units(1), replace=False)
        with pytest.raises(GalleryModelError):
            gallery.match(units(1)[0])
        assert gallery.remove("alice") == 3
    with open_gallery(path, model_id="another"):
        pass


def test_a_probe_of_another_dimension_is_an_error(gallery):
    gallery.enroll("alice", units(1), replace=False)
    with pytest.raises(GalleryError, match=r"\(16,\), received \(8,\)"):
        gallery.match(np.ones(8, np.float32))


def test_a_nan_probe_is_not_hidden(gallery):
    gallery.enroll("alice", units(3), replace=False)
    assert np.isnan(gallery.match(np.full(D, np.nan, np.float32)).similarity)


@pytest.mark.parametrize(
    ("templates", "says"),
    [
        (np.zeros((0, D), np.float32), "shape"),
        (units(1)[0], "shape"),
        (np.ones((2, D + 1), np.float32), "shape"),
        (np.zeros((1, D), np.float32), "length 1"),
        (units(1) * 2, "length 1"),
        (np.full((1, D), np.nan, np.float32), "finite"),
    ],
)
def test_bad_templates_are_refused_and_nothing_changes(gallery, templates, says):
    gallery.enroll("alice", units(2), replace=False)
    with pytest.raises(GalleryError, match=says):
        gallery.enroll("alice", templates, replace=True)
    assert gallery.count() == 2


# The end of a consent


def test_who_is_over_never_matches_even_while_the_door_runs(path):
    clock = [1_800_000_000.0]
    until = datetime.fromtimestamp(clock[0] + 100, timezone.utc)

    def at_clock(read_only: bool) -> Gallery:
        return Gallery(path, model_id=MODEL, dimension=D, read_only=read_only, now=lambda: clock[0])

    with at_clock(False) as gallery, at_clock(True) as door:
        gallery.enroll("alice", units(2, 1), replace=False, profile=Profile(retain_until=until))
        gallery.enroll("bob", units(2, 2), replace=False)
        assert door.match(units(2, 1)[0]).subject_id == "alice"
        assert gallery.expired_subjects() == []
        clock[0] += 99
        assert door.match(units(2, 1)[0]).subject_id == "alice"
        clock[0] += 1
        assert door.match(units(2, 1)[0]).subject_id == "bob"
        assert door.templates("alice").shape == (0, D)
        assert gallery.expired_subjects() == ["alice"]


def test_a_profile_stays_with_an_enrollment_and_goes_with_the_subject(gallery):
    gallery.enroll("alice", units(2), replace=False)
    alias = gallery.profile("alice").alias
    assert gallery.aliases() == {alias: "alice"}
    gallery.set_profile("alice", replace(gallery.profile("alice"), policy=Policy(access="disabled")))
    gallery.enroll("alice", units(2, 5), replace=True)
    assert gallery.profile("alice").policy.access == "disabled"
    assert gallery.profile("alice").alias == alias
    gallery.remove("alice")
    assert gallery.aliases() == {}
    with pytest.raises(GalleryError, match="no profile"):
        gallery.profile("alice")
    gallery.enroll("alice", units(2), replace=False)
    assert gallery.profile("alice").alias != alias


def test_reading_one_profile_opens_one_profile(gallery, monkeypatch):
    """At every grant: 5,000 people cost no more than one."""
    for seed, name in enumerate(("alice", "bob", "carol")):
        gallery.enroll(name, units(2, seed), replace=False)
    opened, unseal = [], GallerySeal.open_profile

    def count(self: GallerySeal, sealed: bytes, subject_id: str) -> dict[str, object]:
        opened.append(subject_id)
        return unseal(self, sealed, subject_id)

    monkeypatch.setattr(GallerySeal, "open_profile", count)
    monkeypatch.setattr(GallerySeal, "open_template", lambda *_: pytest.fail("no template is needed"))
    assert gallery.profile("bob").policy == Policy()
    assert opened == ["bob"]
    with pytest.raises(GalleryError, match="no profile of 'dave'"):
        gallery.profile("dave")
    assert opened == ["bob"]
    monkeypatch.undo()
    monkeypatch.setattr(GallerySeal, "open_profile", count)
    gallery.enroll("alice", units(2, 7), replace=True)  # the profile that stays, no other
    assert opened == ["bob", "alice"]


def test_a_pin_and_a_policy_are_not_in_the_file(gallery, path):
    secret = Profile(pin_hash="$argon2id$secret", policy=Policy(hours="Mon-Fri 08:00-18:00"))
    gallery.enroll("alice", units(2), replace=False, profile=secret)
    assert gallery.profile("alice") == secret
    for word in (b"argon2id", b"Mon-Fri", secret.alias.encode()):
        assert word not in files_of(path)


# The self-test

VERDICT = SelfTest(
    "2026-03-01T07:00:00Z",
    "pad-0123456789ab",
    MODEL,
    (SpeciesCount("print", 20, 0), SpeciesCount("phone", 20, 1), SpeciesCount("live", 20, 2)),
)


def test_the_last_verdict_of_a_self_test_is_kept(gallery, path):
    assert gallery.selftest() is None
    gallery.store_selftest(replace(VERDICT, liveness_id="pad-before", counts=(SpeciesCount("tablet", 5, 5),)))
    gallery.store_selftest(VERDICT)
    gallery.enroll("alice", units(1), replace=False)
    gallery.remove("alice")
    with open_gallery(path, model_id=None, read_only=True) as door:
        assert door.selftest() == VERDICT


def test_the_file_refuses_more_wrong_looks_than_were_shown(gallery, path):
    with pytest.raises(GalleryError):
        gallery.store_selftest(replace(VERDICT, counts=(SpeciesCount("print", 1, 2),)))
    assert gallery.selftest() is None


# Templates never update themselves


def test_a_hundred_grants_leave_the_gallery_as_it_was(path):
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    before = path.read_bytes()
    rule = DecisionRule(threshold=0.9, k=1, n=1, cooldown_s=0, max_frame_age_s=1)
    decider, noise = make_decider(rule, "off"), np.random.default_rng(0)
    with open_gallery(path, read_only=True) as door:
        for frame in range(100):  # each look a little further away: what an updating gallery would follow
            probe = l2_normalize(units(3)[0] + 0.004 * frame / 100 * noise.normal(size=D))
            decision = decider.decide(Sight(float(frame), 1, door.match(probe), None), float(frame))
            assert decision.granted
    assert path.read_bytes() == before
    assert not any(log.stat().st_size for log in path.parent.glob("*-wal"))


# A power cut while the very first gallery is made

HALF_MADE = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("CREATE TABLE half (x)")
for _ in range(50):
    db.execute("INSERT INTO half VALUES (randomblob(4000))")
os._exit(0)
"""


def test_a_gallery_that_was_half_made_is_made_anew(path):
    """SQLite's first write to a new file is undone by whoever opens it next, if they may write."""
    path.touch(0o600)
    subprocess.run([sys.executable, "-c", HALF_MADE, str(path)], check=True)
    assert path.stat().st_size
    assert path.with_name("gallery.db-journal").stat().st_size
    with pytest.raises(GalleryError):
        open_gallery(path, read_only=True)
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(3), replace=False)
    with open_gallery(path, read_only=True) as gallery:
        assert gallery.count() == 3
