"""The same people at several doors: keeper, real broker, real link and fleet processes, and what must never happen."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import enroll
from device.access.lease import Lease
from device.access.policy import Policy
from device.access.profile import Profile
from device.build import build_gallery, build_switches
from device.config import Config, load_config
from device.fleet.__main__ import build_member
from device.fleet.member import Member
from device.gallery.gallery import Gallery
from device.vision.embed import load_manifest
from scripts import fleet
from tests.conftest import ROOT
from tests.support.broker import Client, Mosquitto, needs_mosquitto, wait_until
from tests.support.linked_door import LinkProcess
from tests.support.tiny_model import DATA, DIMENSION, write_tiny

TINY = str(DATA / "tiny.json")


def face(number: int) -> np.ndarray:
    """Return two templates of one made-up person, who looks like nobody else."""
    rows = np.zeros((2, DIMENSION), np.float32)
    rows[:, number % DIMENSION] = 1.0
    return rows


class Site:
    """One board: a folder with a configuration and a gallery."""

    def __init__(self, folder: Path, name: str, model: str = TINY) -> None:
        self.folder, self.name = folder, name
        folder.mkdir()
        self.address, self.link_folder = folder / "link.sock", folder / "link"
        self.toml = folder / "config.toml"
        self.gallery_path = folder / "gallery.db"
        self.configure(model)

    def configure(self, model: str = TINY) -> None:
        link = f'[link]\nsocket = "{self.address}"\nname = "{self.name}"\n'
        self.toml.write_text(f'model = "{model}"\ngallery = "{self.gallery_path}"\n{link}')

    @property
    def config(self) -> Config:
        return load_config(self.toml)

    def open(self) -> Gallery:
        config = self.config
        return build_gallery(config, load_manifest(Path(config.model)), read_only=False)

    def enroll(self, name: str, number: int = 0, **about: object) -> None:
        with self.open() as gallery:
            gallery.enroll(name, face(number), replace=True, profile=Profile(**about) if about else None)

    def people(self) -> list[str]:
        with self.open() as gallery:
            return [subject.subject_id for subject in gallery.subjects()]

    def lease(self, name: str, now: datetime | None = None) -> Lease:
        with self.open() as gallery:
            return gallery.lease(gallery.profile(name), now or datetime.now(timezone.utc))

    def run(self, *arguments: str) -> int:
        return fleet.main([*arguments, "--config", str(self.toml)])


class Board(Site):
    """A door with its two processes."""

    link: LinkProcess | None = None
    process: subprocess.Popen[str] | None = None

    def start(self, mosquitto: Mosquitto) -> None:
        door = SimpleNamespace(folder=self.folder, name=self.name, address=self.address)
        self.link = LinkProcess(door, mosquitto, own=self.link_folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "device.fleet", "--config", str(self.toml)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def end(self, number: int = signal.SIGTERM) -> None:
        for process in (self.process, self.link and self.link.process):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)
                process.wait(timeout=30)


class House:
    """A keeper, a broker, and doors."""

    def __init__(self, folder: Path, *doors: str) -> None:
        self.folder = folder
        self.keeper = Site(folder / "keeper", "keeper")
        self.boards: dict[str, Board] = {}
        assert self.keeper.run("init", "--host", "127.0.0.1", "--port", "0") == 0
        with self.keeper.open() as gallery:
            known = gallery.fleet("keeper")
            self.mosquitto = Mosquitto(folder / "broker", fleet.Keeper(gallery, "tiny").authority)
            gallery.set_fleet("keeper", {**known, "port": self.mosquitto.port})
        self.mosquitto.start()
        own = self.keeper.folder / "gallery.db.fleet/keeper/link.json"
        own.write_text(json.dumps({"host": "127.0.0.1", "port": self.mosquitto.port, "user": "keeper"}))
        for door in doors:
            self.add(door)

    def add(self, door: str, model: str = TINY) -> Board:
        assert self.keeper.run("add-door", door) == 0
        board = self.boards[door] = Board(self.folder / door, door, model)
        bundle = self.keeper.folder / f"gallery.db.fleet/{door}.door"
        assert board.run("join", str(bundle), "--link-folder", str(board.link_folder)) == 0
        board.start(self.mosquitto)
        return board

    def push(self, *arguments: str, wait_s: float = 60) -> int:
        return self.keeper.run("push", *arguments, "--wait", str(wait_s))

    def end(self) -> None:
        for board in self.boards.values():
            board.end()
        self.mosquitto.end()


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(*doors: str) -> House:
        made.append(House(tmp_path, *doors))
        return made[-1]

    yield make
    for house in made:
        house.end()


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
    for file in house.keeper.folder.glob("gallery.db*"):
        if file != own:
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


def member_of(site: Site, judge=lambda *_: []) -> tuple[Member, Gallery]:
    gallery = site.open()
    made = build_member(site.config, gallery, load_manifest(Path(site.config.model)))
    return made, gallery


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A keeper and a member without a broker between: what a broker could do is done by hand."""
    keeper, door = Site(tmp_path / "keeper", "keeper"), Site(tmp_path / "front", "front")
    assert keeper.run("init", "--host", "broker.example") == 0
    assert keeper.run("add-door", "front") == 0
    bundle = str(keeper.folder / "gallery.db.fleet/front.door")
    assert door.run("join", bundle, "--link-folder", str(door.link_folder)) == 0
    made, gallery = member_of(door)
    with keeper.open() as opened:
        yield SimpleNamespace(
            site=keeper, door=door, gallery=gallery, member=made, opened=opened,
            keeper=fleet.Keeper(opened, load_manifest(Path(TINY)).model_id),
        )  # fmt: skip
    gallery.close()


def deliver(pair: SimpleNamespace, letters, order=lambda letters: letters) -> list[str]:
    told = [pair.member.take(letter.levels, letter.body) for letter in order(list(letters))]
    pair.member.step(time.monotonic())
    return told


def letters_of(pair: SimpleNamespace, *names: str, at: datetime | None = None):
    for number, name in enumerate(names):
        pair.opened.enroll(name, face(number), replace=True)
        pair.keeper.assign(name, ["front"], gives=True)
    return pair.keeper.letters("front", {}, at or datetime.now(timezone.utc))


def names(pair: SimpleNamespace) -> list[str]:
    return [each.subject_id for each in pair.gallery.subjects()]


@pytest.mark.parametrize("order", [lambda each: each, lambda each: each[::-1], lambda each: each * 3])
def test_letters_may_come_in_any_order_and_often(pair, order) -> None:
    assert set(deliver(pair, letters_of(pair, "alice", "bob"), order)) == {""}
    assert names(pair) == ["alice", "bob"]
    assert pair.member.report().in_sync


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
    pair.opened.set_fleet("keeper", state)  # a second copy of the keeper, as it was
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
