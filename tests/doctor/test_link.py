"""What the doctor says of the link to a broker and of the keeper's people: whatever stands still has its line."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from device.access.keeping import keeping
from device.access.policy import Policy
from device.access.profile import Profile
from device.config import Config, LinkConfig, PolicyConfig
from device.desk.wire import AWAY, CONNECTED, LINKS
from device.doctor.checks import clock, link
from device.doctor.examination import Setup, examine
from device.doctor.finding import Finding, Light
from device.gallery.gallery import Gallery
from tests.support.machines.doctors_host import MadeUpHost

GREEN, YELLOW, RED = Light.GREEN, Light.YELLOW, Light.RED
NOW = datetime.now(timezone.utc)


@pytest.fixture
def setup(machine: MadeUpHost, tmp_path: Path) -> Setup:
    config = Config(
        gallery=str(tmp_path / "gallery.db"),
        link=LinkConfig(socket=str(tmp_path / "link.sock"), name="front"),
        policy=PolicyConfig(require_time_sync=False),
    )
    return Setup(config, "no file", machine.host)


def listens(machine: MadeUpHost, setup: Setup, *, is_connected: bool) -> None:
    """Let the kernel list the link's socket, and a door that is connected to it."""
    folder = machine.folder / "proc/self/net"
    folder.mkdir(parents=True)
    rows = ["00010000 0005 01"] + ["00000000 0005 03"] * is_connected
    lines = [f"0: 00000002 00000000 {row} 7 {setup.config.link.socket}" for row in rows]
    (folder / "unix").write_text("\n".join(["Num", *lines]) + "\n")


def joined(machine: MadeUpHost, folder: Path, user: str = "front", days: float = 900) -> None:
    """Let a link run with what join wrote into a folder."""
    folder.mkdir()
    about = {"host": "broker", "port": 8883, "user": user, "ends": (NOW + timedelta(days=days)).isoformat()}
    (folder / "link.json").write_text(json.dumps(about))
    machine.runs(7, "/usr/bin/python3", "-m", "device.link", "--folder", str(folder))


def test_a_door_that_is_alone_has_a_green_line(setup: Setup) -> None:
    alone = Setup(Config(gallery=setup.config.gallery), "no file", setup.host)
    assert [each.light for each in link.check(alone)] == [GREEN]
    assert next(iter(examine("link", lambda: alone.config, "no file", setup.host))).name == "link"


def test_a_link_that_does_not_run_and_a_door_that_is_not_connected_are_said(
    setup: Setup, machine: MadeUpHost
) -> None:
    [found] = link.process(setup.host, Path(setup.config.link.socket))
    assert (found.light, "nobody listens" in found.text) == (YELLOW, True)
    listens(machine, setup, is_connected=False)
    [found] = link.process(setup.host, Path(setup.config.link.socket))
    assert (found.light, "no door is connected" in found.text) == (YELLOW, True)


def test_a_link_that_runs_is_green(setup: Setup, machine: MadeUpHost) -> None:
    listens(machine, setup, is_connected=True)
    assert [each.light for each in link.process(setup.host, Path(setup.config.link.socket))] == [GREEN]


@pytest.mark.parametrize("word", LINKS)
def test_what_the_broker_says_is_read_from_the_last_heartbeat(
    setup: Setup, machine: MadeUpHost, word: str
) -> None:
    machine.journal(f"07:12:31 heartbeat: link {word}, frames 9, fps 14.5, is locked true, camera lost false")
    found = list(link.broker(setup.host))
    if word in (AWAY, "expiring"):  # said by the socket, and by the certificate
        assert found == []
        return
    [said] = found
    assert said.text.startswith(LINKS[word])
    assert said.light is (GREEN if word == CONNECTED else YELLOW)
    assert bool(said.advice) == (word != CONNECTED)


def test_a_heartbeat_without_a_link_or_with_rubbish_says_nothing(setup: Setup, machine: MadeUpHost) -> None:
    assert list(link.broker(setup.host)) == []
    machine.journal("07:12:31 heartbeat: link bogus, frames 9, fps 14.5")
    assert list(link.broker(setup.host)) == []


@pytest.mark.parametrize(
    ("user", "days", "light", "said"),
    [
        ("front", 900, GREEN, "is good until"),
        ("front", 59, YELLOW, "ends on"),
        ("front", -1, YELLOW, "or this board's clock is wrong"),
        ("back", 900, YELLOW, "nothing is told or obeyed"),
    ],
)
def test_a_certificate_is_looked_at(setup, machine, tmp_path, user, days, light, said) -> None:
    joined(machine, tmp_path / "own", user, days)
    found = list(link.certificate(setup.host, "front"))
    assert (found[0].light, said in found[0].text) == (light, True)
    assert bool(found[0].advice) == (light is YELLOW)


@pytest.mark.parametrize("content", [None, "", "{}", '{"host": "a b", "port": 1, "user": "front"}'])
def test_a_link_without_a_certificate_says_to_join(setup, machine, tmp_path, content: str | None) -> None:
    joined(machine, tmp_path / "own")
    file = tmp_path / "own/link.json"
    file.unlink() if content is None else file.write_text(content)
    [found] = link.certificate(setup.host, "front")
    assert (found.light, "join" in found.advice) == (YELLOW, True)


def word_of(days: float | None, **more: object):
    about = {"secret": "x", "sequence": 3, "seen": 3, **more}
    if days is not None:
        about["renewed"] = (NOW - timedelta(days=days)).isoformat()
    return keeping(about, ())


@pytest.mark.parametrize(
    ("days", "light", "said"),
    [
        (1, GREEN, "in sync"),
        (8, YELLOW, "for 7 days nothing came from the keeper: asked for the PIN: alice"),
        (31, RED, "for 30 days nothing came from the keeper: refused: alice"),
        (-3, YELLOW, "which is still to come: asked for the PIN: alice"),
        (None, YELLOW, "nothing came from the keeper yet"),
    ],
)
def test_an_old_word_of_the_keeper_names_who_depends_on_it(days, light, said) -> None:
    known = word_of(days)
    assert known is not None
    found = link.judge(known, ["alice"] if days is not None else [], NOW)
    assert (found.light, said in found.text) == (light, True)
    assert bool(found.advice) == (light is not GREEN)


def test_a_set_that_is_not_whole_and_a_clock_that_is_not_set_are_yellow() -> None:
    behind, left_out = word_of(1, seen=4), word_of(1, left_out={"a": "b"})
    assert behind is not None
    assert left_out is not None
    assert link.judge(behind, ["alice"], NOW).light is link.judge(left_out, ["alice"], NOW).light is YELLOW
    whole = word_of(1)
    assert whole is not None
    found = link.judge(whole, ["alice"], None)
    assert (found.light, found.text) == (YELLOW, "the clock is not set: asked for the PIN: alice")


def test_the_whole_check_reads_the_gallery_and_the_clock_names_the_keepers_people(
    setup: Setup, machine: MadeUpHost, tmp_path: Path
) -> None:
    joined(machine, tmp_path / "own")
    with Gallery(Path(setup.config.gallery), model_id="m", dimension=4, read_only=False) as gallery:
        rows = np.eye(4, dtype=np.float32)
        gallery.enroll("alice", rows[:1], replace=True, profile=Profile(fleet_id="f"))
        gallery.enroll("bob", rows[1:2], replace=True, profile=Profile(policy=Policy(hours="08:00-18:00")))
        gallery.enroll("carol", rows[2:3], replace=True)
        member = {"renewed": (NOW - timedelta(days=31)).isoformat(), "sequence": 1, "seen": 1}
        gallery.change_fleet("member", lambda _: member)
    found: list[Finding] = list(link.check(setup))
    assert [each.text for each in found if each.light is RED] == [
        "for 30 days nothing came from the keeper: refused: alice"
    ]
    assert clock.people_with_times(setup.config) == ["alice", "bob"]
