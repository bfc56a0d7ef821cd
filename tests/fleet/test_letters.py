"""Letters between a keeper and a door: what is believed, in any order, and after any interruption."""

from __future__ import annotations

import os
import random
import resource
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import numpy as np
import pytest

import enroll
from device.access.lease import Lease
from device.access.policy import Policy
from device.access.profile import Profile
from device.build import build_switches
from device.moment import in_local_time
from device.page.facts import facts_of
from scripts import fleet
from tests.support.doors.house import face
from tests.support.doors.letters import deliver, letters_of, member_of, names


@pytest.mark.parametrize("order", [lambda each: each, lambda each: each[::-1], lambda each: each * 3])
def test_letters_may_come_in_any_order_and_often(pair, order) -> None:
    assert set(deliver(pair, letters_of(pair, "alice", "bob"), order)) == {""}
    assert names(pair) == ["alice", "bob"]
    assert pair.member.report().in_sync


def test_the_status_page_says_whether_the_door_is_in_sync(pair) -> None:
    facts = facts_of(pair.gallery, liveness_id=None, heartbeat_s=30.0)

    def said() -> str:
        return str(facts()["keeper"])

    assert said() == "nothing came from the keeper yet"
    at = datetime(2026, 3, 1, 7, 30, tzinfo=timezone.utc)
    deliver(pair, letters_of(pair, "alice", at=at))
    assert said() == f"in sync, with what the keeper signed at {in_local_time(at.isoformat())}"
    late = letters_of(pair, "bob", at=at)
    deliver(pair, [each for each in late if each.levels[0] != "gallery"])
    assert said().startswith("not in sync (a newer set is not here as a whole)")
    deliver(pair, late)
    assert said().startswith("in sync")
    pair.gallery.remove("bob")
    assert said().startswith("not in sync (somebody of the keeper was removed here)")
    pair.gallery.enroll("carol", face(9), replace=True)
    deliver(pair, letters_of(pair, "carol", at=at))
    assert said().startswith("not in sync (a name is taken here)")


def test_what_was_changed_on_its_way_is_refused(pair) -> None:
    letters = letters_of(pair, "alice")
    for place in (0, 31, 40, -1):
        for letter in letters:
            body = bytearray(letter.body)
            body[place] ^= 1
            assert pair.member.take(letter.levels, bytes(body)) == "not_the_keepers"
    for letter in letters:
        for short in (b"", letter.body[:31], letter.body[:60], os.urandom(500)):
            assert pair.member.take(letter.levels, short) == "not_the_keepers"
    pair.member.step(time.monotonic())
    assert names(pair) == []


def test_a_record_is_good_for_one_person_and_one_door_alone(pair) -> None:
    assert pair.site.run is not None
    letters = letters_of(pair, "alice", "bob")
    (one, two) = [letter for letter in letters if letter.levels[0] == "gallery"]
    assert pair.member.take(one.levels, two.body) == "not_the_keepers"
    pair.keeper.add_door("back", datetime.now(timezone.utc))
    pair.keeper.assign("alice", ["back"], gives=True)
    for letter in pair.keeper.letters("back", {}, datetime.now(timezone.utc)):
        assert pair.member.take(letter.levels, letter.body) == "not_the_keepers"


def test_a_lower_sequence_is_refused_and_the_same_one_with_other_content_is_a_conflict(pair) -> None:
    old = letters_of(pair, "alice", "bob")
    deliver(pair, old)
    state = pair.opened.fleet("keeper")
    pair.opened.remove("bob")
    new = pair.keeper.letters("front", {}, datetime.now(timezone.utc))
    deliver(pair, new)
    assert names(pair) == ["alice"]
    assert "older_manifest" in deliver(pair, old)
    assert names(pair) == ["alice"]
    assert pair.member.report().reason == "older_manifest"
    deliver(pair, new)
    assert pair.member.report().in_sync
    pair.opened.change_fleet("keeper", lambda _: state)  # a second copy of the keeper, as it was
    other = fleet.Keeper(pair.opened, pair.keeper._model_id)
    assert "conflict" in deliver(pair, other.letters("front", {}, datetime.now(timezone.utc)))
    assert names(pair) == ["alice"]


def test_a_removal_does_not_wait_for_records_that_are_missing(pair) -> None:
    deliver(pair, letters_of(pair, "alice", "bob"))
    pair.opened.remove("bob")
    letters = letters_of(pair, "carol")
    letters = [each for each in letters if each.levels[0] != "gallery"]
    before = pair.gallery.fleet("member")["renewed"]
    deliver(pair, letters)
    assert names(pair) == ["alice"]
    assert pair.gallery.fleet("member")["renewed"] == before  # and the lease is not renewed
    report = pair.member.report()
    assert (report.reason, report.missing, report.in_sync) == ("incomplete", 1, False)


def test_a_local_person_stays_whatever_the_keeper_calls_somebody_else(pair) -> None:
    pair.gallery.enroll("alice", face(7), replace=True)
    deliver(pair, letters_of(pair, "alice", "bob"))
    assert names(pair) == ["alice", "bob"]
    assert pair.gallery.profile("alice").fleet_id is None
    assert (pair.gallery.templates("alice") == face(7)).all()
    assert pair.member.report().reason == "name_taken"
    pair.opened.remove("alice")
    pair.opened.remove("bob")
    deliver(pair, pair.keeper.letters("front", {}, datetime.now(timezone.utc)))
    assert names(pair) == ["alice"]


def test_a_record_that_comes_long_before_its_manifest_waits_for_it(pair) -> None:
    deliver(pair, letters_of(pair, "alice"))
    profile = pair.opened.profile("alice")
    pair.opened.set_profile("alice", replace(profile, policy=Policy(hours="08:00-18:00")))
    *records, manifest = letters_of(pair, "alice")
    deliver(pair, records)  # applied is what was wanted before
    assert pair.member.report().in_sync
    deliver(pair, [manifest])
    assert pair.gallery.profile("alice").policy.hours == "08:00-18:00"
    assert pair.member.report().in_sync


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_broker_keeps_back_repeats_and_mixes_nobody_comes_back_and_the_last_set_is_reached(
    pair, seed: int
) -> None:
    chance = random.Random(seed)
    pair.gallery.enroll("carol", face(9), replace=True)
    sent, removed = [], set()
    for step in range(6):
        here = {each.subject_id for each in pair.opened.subjects()}
        if step > 1 and here and chance.random() < 0.5:
            gone = chance.choice(sorted(here))
            pair.opened.remove(gone)
            removed.add(gone)
        else:
            pair.opened.enroll(f"p{step}", face(step), replace=True)
            pair.keeper.assign(f"p{step}", ["front"], gives=True)
        sent.append(pair.keeper.letters("front", {}, datetime.now(timezone.utc)))
        mixed = [letter for letters in sent for letter in letters if chance.random() < 0.7] * 2
        chance.shuffle(mixed)
        for letter in mixed:
            pair.member.take(letter.levels, letter.body)
            if chance.random() < 0.3:
                pair.member.step(time.monotonic())
        pair.member.step(time.monotonic())
        heard = pair.gallery.fleet("member").get("seen", 0)
        listed = {letter.levels[1] for letter in sent[heard - 1][:-1]} if heard else set()
        ids = {profile.fleet_id for profile in pair.gallery.profiles().values()} - {None}
        assert ids <= listed
        assert "carol" in names(pair)
    deliver(pair, sent[-1])
    assert pair.member.report().in_sync
    assert set(names(pair)) == {each.subject_id for each in pair.opened.subjects()} | {"carol"}
    assert not removed & set(names(pair))


def test_somebody_who_is_removed_at_the_door_stays_removed_and_the_keeper_is_told(pair) -> None:
    letters = letters_of(pair, "alice", "bob")
    deliver(pair, letters)
    pair.gallery.remove("bob")
    deliver(pair, letters)  # a reconnect
    deliver(pair, letters_of(pair, "alice", "bob", "carol"))  # a push
    assert names(pair) == ["alice", "carol"]
    assert pair.member.report().reason == "removed_here"
    pair.keeper.assign("bob", ["front"], gives=False)
    deliver(pair, pair.keeper.letters("front", {}, datetime.now(timezone.utc)))
    assert pair.member.report().in_sync


def test_a_second_admin_submits_and_a_conflict_is_shown_and_never_merged(
    pair, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    pair.gallery.enroll("bob", face(5), replace=True, profile=Profile(policy=Policy(hours="08:00-18:00")))
    assert pair.door.run("submit", "bob") == 0
    assert b"bob" not in (tmp_path / "bob.person").read_bytes()
    assert pair.site.run("take-in", "bob.person") == 0
    assert pair.opened.profile("bob").policy.hours == "08:00-18:00"
    assert (pair.opened.templates("bob") == face(5)).all()
    before = pair.opened.dump()["tables"]
    assert pair.site.run("take-in", "bob.person") == 2
    assert "never merged" in capsys.readouterr().err
    pair.opened.remove("bob")
    pair.opened.enroll("robert", face(5), replace=True)
    assert pair.site.run("take-in", "bob.person") == 2  # the same face by another name
    assert "looks too much like robert" in capsys.readouterr().err
    (tmp_path / "x.person").write_bytes((tmp_path / "bob.person").read_bytes()[:-1] + b"x")
    assert pair.site.run("take-in", "x.person") == 2
    assert before["subjects"]


def test_people_of_the_keeper_are_changed_at_the_keeper_and_kept_out_at_the_door(pair, capsys) -> None:
    deliver(pair, letters_of(pair, "alice"))
    options = ["--config", str(pair.door.toml)]
    assert enroll.main(["--change", "alice", "--hours", "08:00-18:00", *options]) == 2
    assert "came from the keeper" in capsys.readouterr().err
    assert pair.door.run("switch-off", "alice") == 0
    assert build_switches(pair.door.config).is_off(pair.gallery.profile("alice"))
    deliver(pair, letters_of(pair, "alice", "bob"))
    assert build_switches(pair.door.config).is_off(pair.gallery.profile("alice"))
    assert not build_switches(pair.door.config).is_off(pair.gallery.profile("bob"))
    assert pair.door.run("switch-on", "alice") == 0
    assert not build_switches(pair.door.config).is_off(pair.gallery.profile("alice"))


def test_a_manifest_that_nobody_signed_is_told_until_the_right_one_comes(pair) -> None:
    letters = letters_of(pair, "alice")
    deliver(pair, letters)
    assert pair.member.take(("manifest",), os.urandom(300)) == "not_the_keepers"
    assert pair.member.report().reason == "not_the_keepers"
    deliver(pair, letters)
    assert pair.member.report().in_sync


def test_a_keepers_new_key_is_followed_whatever_comes_first(pair) -> None:
    deliver(pair, letters_of(pair, "alice"))
    pair.keeper.rotate()
    letters = letters_of(pair, "alice", "bob")
    assert "not_the_keepers" in deliver(pair, letters, lambda each: each[::-1])
    assert pair.member.is_behind  # so everything is asked for again
    assert set(deliver(pair, letters, lambda each: each[::-1])) == {""}
    assert names(pair) == ["alice", "bob"]
    assert pair.member.report().in_sync


def test_a_disk_that_is_full_in_mid_apply_leaves_the_set_of_before(pair) -> None:
    deliver(pair, letters_of(pair, "alice"))
    pair.opened.enroll("dave", np.tile(face(9), (300, 1)), replace=True)
    pair.keeper.assign("dave", ["front"], gives=True)
    letters = letters_of(pair, "alice", "bob")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        deliver(pair, letters)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(pair) == ["alice"]
    assert pair.member.report().reason == "not_stored"
    pair.member.step(time.monotonic() + 60)
    assert names(pair) == ["alice", "bob", "dave"]
    assert pair.member.report().in_sync


def test_a_member_that_dies_between_two_steps_goes_on_where_it_was(pair) -> None:
    deliver(pair, letters_of(pair, "alice", "bob"))
    pair.opened.remove("bob")
    letters = pair.keeper.letters("front", {}, datetime.now(timezone.utc))
    pair.member.take(letters[-1].levels, letters[-1].body)  # heard of, and then it dies
    again, gallery = member_of(pair.door)
    old = SimpleNamespace(member=again, gallery=gallery)
    assert again.report().reason == "behind"
    deliver(old, letters)
    assert names(old) == ["alice"]
    assert again.report().in_sync
    gallery.close()


def test_rules_and_pins_travel_and_look_alikes_of_the_keeper_hold_at_a_door_that_lacks_the_other(
    pair,
) -> None:
    from device.gallery.lookalike import LookAlike

    pair.opened.enroll("twin", face(1), replace=True)
    alike = [LookAlike("twin", 0.9, 0.97, 0.96, 0.96)]
    profile = Profile(policy=Policy(hours="Mon-Fri 08:00-18:00"), pin_hash="$argon2id$x")
    pair.opened.enroll("alice", face(0), replace=True, look_alikes=alike, profile=profile)
    pair.keeper.assign("alice", ["front"], gives=True)
    deliver(pair, pair.keeper.letters("front", {}, datetime.now(timezone.utc)))
    there = pair.gallery.profile("alice")
    assert (there.policy, there.pin_hash) == (profile.policy, profile.pin_hash)
    match = pair.gallery.match(face(0)[0])
    assert match.subject_id == "alice"
    assert match.threshold >= 0.96
    assert match.challenge


def test_a_newcomer_who_looks_like_a_local_person_is_judged_at_the_door(pair) -> None:
    pair.gallery.enroll("carol", face(3), replace=True)
    near = face(3).copy()
    near[:, 4] = 0.3
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    pair.opened.enroll("alice", near, replace=True)
    pair.keeper.assign("alice", ["front"], gives=True)
    deliver(pair, pair.keeper.letters("front", {}, datetime.now(timezone.utc)))
    assert {name for name, need in pair.gallery.needs().items() if need.challenge} == {"alice", "carol"}


@pytest.mark.parametrize(
    ("days", "lease"),
    [(0, Lease.HOLDS), (6.9, Lease.HOLDS), (7.1, Lease.STALE), (29.9, Lease.STALE), (30.1, Lease.OVER)],
)
def test_the_lease_is_counted_from_when_the_keeper_signed(pair, days: float, lease: Lease) -> None:
    now = datetime.now(timezone.utc)
    deliver(pair, letters_of(pair, "alice", at=now - timedelta(days=days)))
    profile = pair.gallery.profile("alice")
    assert pair.gallery.lease(profile, now) is lease
    assert pair.gallery.lease(replace(profile, fleet_id=None), now) is Lease.HOLDS
    assert pair.gallery.lease(profile, None) is Lease.STALE
    assert pair.gallery.lease(profile, now - timedelta(days=400)) is Lease.STALE  # a clock that was set back


def test_an_answer_is_read_by_the_keeper_alone_and_made_by_the_door_alone(pair) -> None:
    from device.fleet.envelope import EnvelopeBroken

    deliver(pair, letters_of(pair, "alice"))
    sealed = pair.member.seal_ack(pair.member.report())
    assert pair.keeper.read_ack("front", sealed).in_sync
    for wrong in (b"", sealed[:-1], sealed[:-1] + b"x", b"\0" * 200):
        with pytest.raises(EnvelopeBroken):
            pair.keeper.read_ack("front", wrong)


def test_a_restored_door_does_not_go_back_behind_what_it_heard(pair) -> None:
    old = letters_of(pair, "alice", "bob")
    deliver(pair, old)
    dump = pair.gallery.dump()
    pair.opened.remove("bob")
    deliver(pair, pair.keeper.letters("front", {}, datetime.now(timezone.utc)))
    pair.gallery.restore(dump)
    again, gallery = member_of(pair.door)
    assert "older_manifest" in deliver(SimpleNamespace(member=again, gallery=gallery), old)
    assert names(pair) == ["alice"]  # whom the keeper had removed stays removed
    gallery.close()
