"""A door that was stolen, a clock that is wrong, two programs where one is meant: what they may not bring about."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from device.access.policy import Policy
from device.access.profile import Profile
from device.build import build_switches
from device.desk.wire import PERSON_OFF
from device.errors import LinkError
from device.fleet.envelope import ACK, SUBMISSION, answer, context_of
from device.fleet.records import Ack, Record
from device.link.hub import Hub
from tests.support.doors.house import Site, face
from tests.support.doors.letters import letters_of
from tests.support.machines.broker import needs_mosquitto
from tests.support.waiting import wait_until

GOOD = json.loads(Ack(sequence=3, seen=3, hash="x", version="1", at="2026-11-28", entries={"a": 2}).text())


def test_an_answer_of_a_door_is_read() -> None:
    assert Ack.read(json.dumps(GOOD).encode()).in_sync


@pytest.mark.parametrize(
    "changed",
    [
        {"seen": "999"},
        {"seen": -1},
        {"seen": 3.5},
        {"seen": True},
        {"sequence": None},
        {"people": 10**400},
        {"entries": {"a": -100}},
        {"entries": {"a": "2"}},
        {"entries": [1]},
        {"entries": None},
        {"version": "\x1b[2J"},
        {"version": "x" * 10_000},
        {"model_id": ["x"]},
        {"at": 7},
        {"reason": "two\nlines"},
    ],
)
def test_an_answer_that_no_door_gives_is_none(changed: dict[str, object]) -> None:
    with pytest.raises(LinkError, match="makes no sense"):
        Ack.read(json.dumps({**GOOD, **changed}).encode())


def test_a_stolen_door_gives_no_guest_more_entries_elsewhere(pair) -> None:
    pair.keeper.add_door("back", datetime.now(timezone.utc))
    pair.opened.enroll("guest", face(0), replace=True, profile=Profile(policy=Policy(entries=2)))
    pair.keeper.assign("guest", ["front", "back"], gives=True)
    each = pair.keeper._id("front", pair.opened.profile("guest").alias)
    lie = Ack(entries={each: -100})
    body = answer(
        lie.text(),
        context_of(ACK, "front"),
        secret=pair.member._key("secret"),
        other=pair.member._key("keeper_box"),
    )
    with pytest.raises(LinkError):
        pair.keeper.read_ack("front", body)


def test_who_is_submitted_is_known_here_by_an_alias_and_needs_of_this_gallery(pair) -> None:
    pair.opened.enroll("alice", face(0), replace=True)
    alice = pair.opened.profile("alice")
    claimed = Profile(
        alias=alice.alias, fleet_id="f" * 32, least_similarity=0.0, policy=Policy(hours="08:00-18:00")
    )
    record = Record("bob", pair.keeper._model_id, face(1), claimed)
    body = answer(
        record.text(),
        context_of(SUBMISSION, "front"),
        secret=pair.member._key("secret"),
        other=pair.member._key("keeper_box"),
    )
    file = pair.site.folder / "bob.person"
    file.write_bytes(b"face-unlock submission 1 front\n" + body)
    assert pair.site.run("take-in", str(file)) == 0
    bob = pair.opened.profile("bob")
    assert bob.alias != alice.alias
    assert (bob.fleet_id, bob.least_similarity, bob.policy.hours) == (None, None, "08:00-18:00")
    assert pair.opened.aliases() == {alice.alias: "alice", bob.alias: "bob"}


@pytest.mark.parametrize("command", [["push"], ["add-door", "back"], ["renew"]])
def test_nothing_is_signed_by_a_clock_that_was_never_set(pair, monkeypatch, capsys, command) -> None:
    monkeypatch.setattr("device.fleet.office.utc_now", lambda: datetime(1970, 1, 1, tzinfo=timezone.utc))
    monkeypatch.setattr("device.fleet.post.Post.__enter__", lambda post: post)
    monkeypatch.setattr("device.fleet.post.Post.collect", lambda post: None)
    before = pair.opened.fleet("keeper")
    assert pair.site.run(*command, *(["--wait", "0"] if command == ["push"] else [])) == 2
    assert "this machine's clock" in capsys.readouterr().err
    assert pair.opened.fleet("keeper") == before


def test_a_second_link_at_one_door_is_refused_and_the_first_goes_on(tmp_path) -> None:
    address = tmp_path / "link.sock"
    first = Hub(address)
    with pytest.raises(LinkError, match="found one at work"):
        Hub(address)
    assert address.is_socket()
    first.close()
    address.touch()
    address.unlink()
    Hub(address).close()


def test_a_socket_that_a_killed_link_left_is_taken_over(tmp_path) -> None:
    address = tmp_path / "link.sock"
    left = Hub(address)
    left._listener.close()  # as a kill does: the name stays
    Hub(address).close()


def test_two_programs_that_switch_at_once_both_hold(tmp_path) -> None:
    site = Site(tmp_path / "front", "front")
    for number in range(8):
        site.enroll(f"person{number}", number)
    told: dict[str, str] = {}

    def switch(alias: str) -> None:
        told[alias] = build_switches(site.config).turn(PERSON_OFF, alias)

    threads = [threading.Thread(target=switch, args=(f"{number:016x}",)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(told.values()) <= {
        "",
        "not_recorded",
    }  # on a busy machine one may wait in vain, and is told so
    assert build_switches(site.config).off().people == {
        alias for alias, refusal in told.items() if not refusal
    }
    assert list(told.values()).count("") > 1


@needs_mosquitto
def test_a_stolen_door_that_claims_to_have_heard_more_keeps_no_removal_from_the_others(
    make_house, capsys
) -> None:
    house = make_house("back", "front")
    for number, name in enumerate(("alice", "bob")):
        house.keeper.enroll(name, number)
        house.keeper.run("give", name, "front", "back")
    assert house.push() == 0
    thief = house.boards["back"]
    with thief.open() as gallery:
        member = gallery.fleet("member")
    thief.end()
    lie = Ack(sequence=10**9, seen=10**9, at="2026-11-28T00:00:00+00:00")
    secret, other = bytes.fromhex(member["secret"]), bytes.fromhex(member["keeper_box"])
    body = answer(lie.text(), context_of(ACK, "back"), secret=secret, other=other)
    rogue = house.mosquitto.client("back").up()
    rogue.say("face-unlock/back/ack", body, retain=True)
    house.keeper.run("take", "bob", "front", "back")
    assert house.push() == 2
    said = capsys.readouterr()
    assert "second copy of this keeper" in said.err
    wait_until(lambda: house.boards["front"].people() == ["alice"], 60)
    rogue.say("face-unlock/back/ack", replace(lie, seen=0, sequence=0).text(), retain=True)  # not even sealed
    assert house.push(wait_s=3) == 1  # back never answered
    rogue.close()


def test_a_keeper_that_signed_too_many_people_for_one_door_serves_the_others(pair, monkeypatch) -> None:
    letters_of(pair, "alice")
    monkeypatch.setattr("device.fleet.letters.LONGEST_RECORD", 100)
    laid = []
    monkeypatch.setattr("device.fleet.post.Post.__enter__", lambda post: post)
    monkeypatch.setattr("device.fleet.post.Post.collect", lambda post: None)
    monkeypatch.setattr("device.fleet.post.Post.lay", lambda post, door, letters: laid.append(door))
    monkeypatch.setattr("device.fleet.post.Post.listen", lambda post, seconds: iter(()))
    assert pair.site.run("push") == 2
    assert laid == []
