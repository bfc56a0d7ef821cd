"""The same people at several doors: keeper, real broker, real link and fleet processes, and what must never happen."""

from __future__ import annotations

import shutil
import signal
import time
from datetime import datetime, timedelta, timezone

from device.access.lease import Lease
from device.access.policy import Policy
from scripts import fleet
from tests.support.doors.house import Site, face
from tests.support.machines.broker import Client, needs_mosquitto
from tests.support.tiny_model import DIMENSION, write_tiny
from tests.support.waiting import wait_until


@needs_mosquitto
def test_people_reach_the_doors_that_are_chosen_for_them_and_no_other(make_house, capsys) -> None:
    house = make_house("front", "back")
    house.keeper.enroll("alice", 0)
    house.keeper.enroll("bob", 1)
    house.boards["back"].enroll("carol", 2)  # of that door alone
    house.keeper.run("give", "alice", "front", "back")
    house.keeper.run("give", "bob", "front")
    assert house.push() == 0
    assert house.boards["front"].people() == ["alice", "bob"]
    assert house.boards["back"].people() == ["alice", "carol"]
    assert house.keeper.run("status") == 0
    out = capsys.readouterr().out
    assert "front  yes      2 of 2" in out
    assert "back   yes      1 of 1" in out
    assert house.boards["front"].lease("alice") is Lease.HOLDS

    # taken from one door, then removed everywhere
    house.keeper.run("take", "alice", "back")
    assert house.push() == 0
    assert house.boards["back"].people() == ["carol"]
    with house.keeper.open() as gallery:
        gallery.remove("bob")
    assert house.push() == 0
    assert house.boards["front"].people() == ["alice"]


@needs_mosquitto
def test_the_broker_learns_no_name_and_no_face(make_house) -> None:
    house = make_house("front")
    house.keeper.enroll("alice-in-wonderland", 0)
    house.keeper.run("give", "alice-in-wonderland", "front")
    assert house.push() == 0
    kept = b"".join(path.read_bytes() for path in (house.folder / "broker/data").iterdir())
    assert b"face-unlock/front/gallery/" in kept
    assert b"wonderland" not in kept
    assert face(0).tobytes()[:16] not in kept
    with house.keeper.open() as gallery:
        alias = gallery.profile("alice-in-wonderland").alias
    assert alias.encode() not in kept


@needs_mosquitto
def test_a_door_that_was_away_for_thirty_days_refuses_and_forgets_when_it_is_back(make_house) -> None:
    house = make_house("front")
    front = house.boards["front"]
    front.enroll("carol", 2)
    for number, name in enumerate(("alice", "bob")):
        house.keeper.enroll(name, number)
        house.keeper.run("give", name, "front")
    assert house.push() == 0
    front.end()
    with house.keeper.open() as gallery:
        gallery.remove("bob")
    assert house.push(wait_s=2) == 1  # it lies at the broker
    later = datetime.now(timezone.utc)
    assert front.lease("bob", later + timedelta(days=6)) is Lease.HOLDS
    assert front.lease("bob", later + timedelta(days=8)) is Lease.STALE
    assert front.lease("bob", later + timedelta(days=31)) is Lease.OVER
    assert front.lease("carol", later + timedelta(days=31)) is Lease.HOLDS
    front.start(house.mosquitto)
    wait_until(lambda: front.people() == ["alice", "carol"], 60)
    wait_until(lambda: b"bob" not in front.gallery_path.read_bytes(), 60)


@needs_mosquitto
def test_a_broker_of_yesterday_brings_nobody_back(make_house, capsys) -> None:
    house = make_house("front")
    front = house.boards["front"]
    for number, name in enumerate(("alice", "bob")):
        house.keeper.enroll(name, number)
        house.keeper.run("give", name, "front")
    assert house.push() == 0
    house.mosquitto.save()
    with house.keeper.open() as gallery:
        gallery.remove("bob")
    assert house.push() == 0
    house.mosquitto.end(signal.SIGKILL)
    house.mosquitto.restore()
    house.mosquitto.start()
    capsys.readouterr()
    wait_until(lambda: any("older_manifest" in line for line in front.lines), 60)
    assert front.people() == ["alice"]
    wait_until(lambda: house.keeper.run("status") == 1 and "older manifest" in capsys.readouterr().out, 60)
    assert house.push() == 0  # and the next push puts it right


@needs_mosquitto
def test_a_set_that_is_not_whole_is_not_applied_and_says_so(make_house, capsys) -> None:
    house = make_house("front")
    front = house.boards["front"]
    front.enroll("carol", 2)
    house.keeper.enroll("alice", 0)
    house.keeper.run("give", "alice", "front")
    assert house.push() == 0
    front.end()
    for number, name in enumerate(("bob", "dave"), 3):
        house.keeper.enroll(name, number)
        house.keeper.run("give", name, "front")
    house.push(wait_s=1)
    thief = Client(house.mosquitto, "keeper").listen("face-unlock/front/gallery/+")
    wait_until(lambda: len([body for body in thief.retained.values() if body]) == 3)
    ids = list(thief.retained)
    for topic in ids:  # the broker loses one of two new records
        thief.say(topic, b"", retain=True)
    with house.keeper.open() as gallery:
        keeper = fleet.Keeper(gallery, "x")
        bobs = keeper._id("front", gallery.profile("bob").alias)
    thief.say(
        f"face-unlock/front/gallery/{bobs}",
        thief.heard[[t for t, _ in thief.heard].index(f"face-unlock/front/gallery/{bobs}")][1],
        retain=True,
    )
    front.start(house.mosquitto)
    capsys.readouterr()
    wait_until(lambda: house.keeper.run("status") == 1 and "waits for records" in capsys.readouterr().out, 60)
    assert front.people() == ["alice", "carol"]
    thief.close()
    assert house.push() == 0
    assert front.people() == ["alice", "bob", "carol", "dave"]


@needs_mosquitto
def test_another_network_model_is_refused_aloud_and_removals_are_not(make_house, tmp_path, capsys) -> None:
    house = make_house("front")
    front = house.boards["front"]
    front.end()
    (tmp_path / "other").mkdir()
    front.configure(str(write_tiny(tmp_path / "other", "other", 112, DIMENSION)))
    front.start(house.mosquitto)
    house.keeper.enroll("alice", 0)
    house.keeper.run("give", "alice", "front")
    assert house.push(wait_s=8) == 1
    capsys.readouterr()
    wait_until(
        lambda: house.keeper.run("status") == 1 and "another network model" in capsys.readouterr().out, 60
    )
    assert front.people() == []


@needs_mosquitto
def test_a_keeper_signs_with_a_new_key_while_a_door_is_away(make_house) -> None:
    house = make_house("front", "back")
    house.keeper.enroll("alice", 0)
    house.keeper.run("give", "alice", "front", "back")
    assert house.push() == 0
    house.boards["back"].end()
    for _ in range(2):
        assert house.keeper.run("rotate") == 0
        assert house.push(wait_s=3) == 1
    house.keeper.enroll("bob", 1)
    house.keeper.run("give", "bob", "back")
    house.push(wait_s=3)
    house.boards["back"].start(house.mosquitto)
    wait_until(lambda: house.boards["back"].people() == ["alice", "bob"], 60)


@needs_mosquitto
def test_a_stolen_door_is_revoked(make_house, capsys) -> None:
    house = make_house("front", "back")
    house.keeper.enroll("alice", 0)
    house.keeper.run("give", "alice", "front", "back")
    assert house.push() == 0
    assert house.keeper.run("revoke-door", "front") == 0
    shutil.copy(house.keeper.folder / "gallery.db.fleet/broker/revoked.pem", house.folder / "broker")
    house.mosquitto.end()
    house.mosquitto.start()
    thief = Client(house.mosquitto, "keeper").listen("face-unlock/#")
    wait_until(lambda: "face-unlock/back/ack" in thief.retained)
    assert not [t for t, body in thief.retained.items() if body and t.startswith("face-unlock/front/gallery")]
    thief.close()
    link = house.boards["front"].link
    before = len(link.lines)
    time.sleep(5)
    assert "connected" not in [line.get("error") for line in link.lines[before:]]
    assert house.push() == 0  # the other one goes on
    assert house.keeper.run("status") == 0


@needs_mosquitto
def test_two_copies_of_a_keeper_are_shown_and_never_merged(make_house, capsys) -> None:
    house = make_house("front")
    house.keeper.enroll("alice", 0)
    house.keeper.run("give", "alice", "front")
    assert house.push() == 0
    shutil.copytree(house.keeper.folder, house.folder / "second")
    second = Site.__new__(Site)
    second.folder, second.name = house.folder / "second", "keeper"
    second.address, second.gallery_path = second.folder / "link.sock", second.folder / "gallery.db"
    second.toml = second.folder / "config.toml"
    second.configure()
    house.keeper.enroll("bob", 1)
    house.keeper.run("give", "bob", "front")
    assert house.push() == 0
    second.enroll("mallory", 2)
    second.run("give", "mallory", "front")
    capsys.readouterr()
    assert second.run("push", "--wait", "3") == 2
    assert "a second copy of this keeper is at work" in capsys.readouterr().err
    assert house.boards["front"].people() == ["alice", "bob"]


@needs_mosquitto
def test_a_keeper_that_was_lost_is_restored_from_its_backup(make_house, tmp_path, capsys) -> None:
    from scripts import backup

    house = make_house("front")
    house.keeper.enroll("alice", 0)
    house.keeper.run("give", "alice", "front")
    assert house.push() == 0
    word = tmp_path / "word"
    word.write_text("four random words here\n")
    option = ["--passphrase-file", str(word), "--config", str(house.keeper.toml)]
    assert backup.main(["create", str(tmp_path / "keeper.backup"), *option]) == 0
    own = house.keeper.folder / "gallery.db.fleet"
    shutil.rmtree(own)
    for file in house.keeper.folder.glob("gallery.db*"):
        file.unlink()
    assert backup.main(["restore", str(tmp_path / "keeper.backup"), "--yes", *option]) == 0
    house.keeper.enroll("bob", 1)
    house.keeper.run("give", "bob", "front")
    assert house.push() == 0
    assert house.boards["front"].people() == ["alice", "bob"]


@needs_mosquitto
def test_a_guests_entries_are_counted_across_doors(make_house) -> None:
    house = make_house("front", "back")
    house.keeper.enroll("guest", 0, policy=Policy(entries=5))
    house.keeper.run("give", "guest", "front", "back")
    assert house.push() == 0
    from device.access.policy import Usage
    from device.build import build_usage

    front, back = house.boards["front"], house.boards["back"]
    with front.open() as gallery:
        build_usage(front.config, read_only=False).keep(gallery.profile("guest"), Usage(entries=3))

    def left() -> int | None:
        house.push()
        with back.open() as gallery:
            return gallery.profile("guest").policy.entries

    wait_until(lambda: left() == 2, 60)
    with front.open() as gallery:
        assert gallery.profile("guest").policy.entries == 5  # of its own three
