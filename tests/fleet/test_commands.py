"""The commands of a fleet: what they refuse, a second run of each, and what a crash in their middle leaves."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from cryptography import x509

from device.fleet.keeper import Keeper
from tests.support.checkout import ROOT
from tests.support.doors.house import Site
from tests.support.machines.broker import needs_mosquitto
from tests.support.waiting import wait_until


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path / "keeper", "keeper")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--host", ""),
        ("--host", "a b"),
        ("--host", "broker/path"),
        ("--host", "tcp://broker"),
        ("--host", "broker:8883"),
        ("--host", "x" * 300),
        ("--host", ".broker"),
        ("--port", "0"),
        ("--port", "65536"),
        ("--port", "-1"),
        ("--port", "mqtt"),
        ("--port", ""),
    ],
)
def test_an_address_that_is_none_makes_no_fleet(site: Site, option: str, value: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        site.run(
            "init", *(each for pair in ({"--host": "broker"} | {option: value}).items() for each in pair)
        )
    assert ended.value.code == 2
    assert f"{option}: " in capsys.readouterr().err
    assert not (site.folder / "gallery.db.fleet").exists()
    assert site.run("init", "--host", "broker.example") == 0


@pytest.mark.parametrize("seconds", ["nan", "-1", "inf", "", "soon"])
def test_a_wait_without_an_end_is_refused(site: Site, seconds: str, capsys) -> None:
    assert site.run("init", "--host", "broker.example") == 0
    with pytest.raises(SystemExit) as ended:
        site.run("push", "--wait", seconds)
    assert ended.value.code == 2
    assert "--wait: " in capsys.readouterr().err


def test_a_name_that_the_broker_has_a_use_for_is_no_doors(site: Site, capsys) -> None:
    assert site.run("init", "--host", "broker.example") == 0
    assert site.run("add-door", "homeassistant") == 2
    assert "users of the broker" in capsys.readouterr().err


def test_files_that_an_init_did_not_come_to_write_are_written_by_renew(site: Site, capsys) -> None:
    assert site.run("init", "--host", "broker.example") == 0
    folder = site.folder / "gallery.db.fleet"
    shutil.rmtree(folder)
    assert site.run("init", "--host", "broker.example") == 2
    assert "fleet renew" in capsys.readouterr().err
    assert site.run("renew") == 0
    assert {each.name for each in folder.iterdir()} == {"broker", "homeassistant", "keeper"}
    assert "at each door" not in capsys.readouterr().out


def test_renew_revokes_what_keeper_and_home_assistant_had_and_names_another_address(
    site: Site, capsys
) -> None:
    assert site.run("init", "--host", "broker.example") == 0
    folder = site.folder / "gallery.db.fleet"
    before = [
        x509.load_pem_x509_certificate((folder / name / "client.pem").read_bytes()).serial_number
        for name in ("keeper", "homeassistant")
    ]
    assert site.run("renew", "--host", "192.168.1.9") == 0
    assert "at each door" in capsys.readouterr().out
    revoked = x509.load_pem_x509_crl((folder / "broker/revoked.pem").read_bytes())
    assert {each.serial_number for each in revoked} == set(before)
    assert site.run("add-door", "front") == 0
    assert '"host": "192.168.1.9", "port": 8883' in (folder / "front.door").read_text()


def test_a_door_that_is_revoked_leaves_no_file_with_its_secrets(site: Site, capsys, monkeypatch) -> None:
    monkeypatch.setattr("device.fleet.post.CONNECT_S", 0.1)
    assert site.run("init", "--host", "127.0.0.1", "--port", "1") == 0
    assert site.run("add-door", "front") == 0
    assert site.run("revoke-door", "front") != 0  # no broker is there
    assert "the next push takes away what lies there for front" in capsys.readouterr().err
    assert not (site.folder / "gallery.db.fleet/front.door").exists()
    with site.open() as gallery:
        assert Keeper(gallery, "tiny").doors == []


@pytest.mark.parametrize("name", ["nowhere.person", "."])
def test_a_submission_that_cannot_be_read_says_what_to_do(site: Site, name: str, tmp_path, capsys) -> None:
    assert site.run("init", "--host", "broker.example") == 0
    assert site.run("take-in", str(tmp_path / name)) == 2
    assert "cannot be read" in capsys.readouterr().err


@needs_mosquitto
def test_two_pushes_at_once_wait_for_each_other(make_house) -> None:
    house = make_house("front")
    house.keeper.enroll("alice", 0)
    house.keeper.run("give", "alice", "front")
    command = [
        sys.executable,
        "scripts/fleet.py",
        "push",
        "--wait",
        "180",
        "--config",
        str(house.keeper.toml),
    ]
    other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert house.push() == 0
    said, _ = other.communicate(timeout=240)
    assert other.returncode == 0, said
    wait_until(lambda: house.keeper.run("status") == 0, 60)


@needs_mosquitto
def test_a_door_that_is_revoked_leaves_nothing_at_the_broker_also_if_it_came_back_meanwhile(
    make_house,
) -> None:
    house = make_house("front", "back")
    door = house.boards["front"]
    topics = ["manifest", "ack", "state", "online"]
    there = [f"face-unlock/front/{each}" for each in topics] + ["homeassistant/device/front/config"]
    listener = house.mosquitto.client("homeassistant")
    assert house.push() == 0
    own = house.mosquitto.client("front").up()  # the door's own certificate
    for each in (*there[2:], there[1]):
        own.say(each, "x", retain=True)
    assert house.keeper.run("revoke-door", "front") == 0
    own.say(there[-1], "back", retain=True)
    own.say(there[1], "back", retain=True)
    door.end()
    assert house.push() == 0
    own.heard.clear()
    own.listen("face-unlock/front/#")
    listener.listen("homeassistant/#")
    house.keeper.run("status")
    assert [topic for topic, _ in own.heard] == []
    assert there[-1] not in listener.retained
    own.close()
    listener.close()
