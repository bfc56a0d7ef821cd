"""Two programs at one keeper, or at one door, at the same time: nothing that either did is lost."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from device.errors import GalleryError, UsageError
from device.fleet.keeper import Keeper
from device.vision.embed import load_manifest
from tests.support.doors.house import TINY, face
from tests.support.doors.letters import deliver, letters_of, names


def another(pair) -> Keeper:
    """Return the keeper as a second program has it, which has read it now."""
    return Keeper(pair.opened, load_manifest(Path(TINY)).model_id)


def test_who_is_taken_from_a_door_while_a_push_runs_stays_taken(pair) -> None:
    letters_of(pair, "alice", "bob")
    push = another(pair)
    pair.keeper.assign("bob", ["front"], gives=False)
    push.letters("front", {}, datetime.now(timezone.utc))
    assert another(pair).people_at("front") == ["alice"]


def test_two_pushes_at_once_sign_two_numbers(pair) -> None:
    letters_of(pair, "alice")
    one, two = another(pair), another(pair)
    at = datetime.now(timezone.utc)
    for push in (one, two):
        assert set(deliver(pair, push.letters("front", {}, at))) == {""}
    assert pair.member.report().in_sync


def test_a_door_a_revocation_and_a_key_that_come_at_once_all_stay(pair) -> None:
    admins = [another(pair) for _ in range(4)]
    now = datetime.now(timezone.utc)
    admins[0].add_door("back", now)
    admins[1].add_door("gate", now)
    admins[2].revoke_door("front")
    admins[3].rotate()
    with pytest.raises(UsageError, match="'gate' is there already"):
        pair.keeper.add_door("gate", now)
    left = another(pair)
    assert (left.doors, len(left.revoked), len(left._known["succession"])) == (["back", "gate"], 1, 1)


def test_a_door_that_joins_twice_with_one_file_forgets_nothing_of_what_it_heard(pair) -> None:
    old = letters_of(pair, "alice", "bob")
    deliver(pair, old)
    pair.opened.remove("bob")
    deliver(pair, pair.keeper.letters("front", {}, datetime.now(timezone.utc)))
    assert pair.door.join(pair.site.folder / "gallery.db.fleet/front.door") == 0
    assert pair.member.report().in_sync
    assert "older_manifest" in deliver(pair, old)
    assert names(pair) == ["alice"]


def test_a_door_that_joins_anew_while_its_fleet_runs_is_the_new_keepers(pair) -> None:
    deliver(pair, letters_of(pair, "alice"))
    old = pair.keeper.letters("front", {}, datetime.now(timezone.utc))
    pair.keeper.revoke_door("front")
    assert pair.site.run("add-door", "front") == 0
    assert pair.door.join(pair.site.folder / "gallery.db.fleet/front.door") == 0
    assert set(deliver(pair, old)) == {"", "not_stored"}  # of the keys of before: nothing of it is kept
    pair.gallery.enroll("carol", face(5), replace=True)
    assert not pair.member.report().in_sync
    assert pair.member.is_behind
    pair.keeper = another(pair)
    assert set(deliver(pair, letters_of(pair, "dave"))) == {""}
    assert names(pair) == ["carol", "dave"]  # alice was given with the keys of before
    assert pair.member.report().in_sync


def test_a_set_that_is_applied_while_the_door_joins_anew_is_not_kept(pair) -> None:
    letters = letters_of(pair, "alice")
    for letter in letters:
        assert pair.member.take(letter.levels, letter.body) == ""
    pair.gallery.change_fleet("member", lambda known: {**known, "secret": "00" * 32})
    pair.member.step(time.monotonic())
    assert names(pair) == []
    assert "sequence" not in pair.gallery.fleet("member")
    with pytest.raises(GalleryError, match="joined anew"):
        pair.member._keep(seen=9)
