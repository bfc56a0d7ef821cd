"""A door, its real link process and a real broker: what is told, what is obeyed, and what never is."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from device.access.profile import Profile
from device.fleet.authority import Authority, utc_now
from device.types import Reason
from tests.support.machines.broker import Client, Mosquitto, needs_mosquitto
from tests.support.machines.linked_door import CODE, LinkedDoor, LinkProcess
from tests.support.waiting import wait_until

pytestmark = needs_mosquitto
FRONT = "face-unlock/front"
COMMAND, STATE, EVENT, ONLINE = f"{FRONT}/command", f"{FRONT}/state", f"{FRONT}/event", f"{FRONT}/online"


class House:
    """A broker, one door with its link, and Home Assistant's user."""

    def __init__(self, folder: Path, **link: object) -> None:
        self.mosquitto = Mosquitto(folder / "broker")
        self.mosquitto.start()
        self.door = LinkedDoor(folder / "door", **link)
        self.door.enroll("alice")
        self.link = LinkProcess(self.door, self.mosquitto)
        self.home = Client(self.mosquitto, "homeassistant").listen("face-unlock/+/+", "homeassistant/#")
        self.door.turn_until(
            lambda: self.home.retained.get(ONLINE) == b"online" and STATE in self.home.retained
        )

    def say(self, payload: object, *, retain: bool = False, topic: str = COMMAND) -> None:
        self.home.say(topic, payload, retain=retain)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(payload) for topic, payload in self.home.heard if topic == EVENT]

    def locks(self) -> list[str]:
        return [json.loads(payload)["lock"] for topic, payload in self.home.heard if topic == STATE]

    def refused(self, reason: str) -> None:
        """Turn until Home Assistant heard of a refusal."""
        self.door.turn_until(lambda: reason in [each.get("reason") for each in self.events()])

    def close(self) -> None:
        self.home.close()
        self.link.end()
        self.mosquitto.end()
        self.door.close()


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[object]:
    made: list[House] = []

    def make(**link: object) -> House:
        made.append(House(tmp_path / str(len(made)), **link))
        return made[-1]

    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    yield make
    for house in made:
        house.close()


@pytest.fixture
def house(make_house) -> House:
    return make_house()


# --- what is told


def test_home_assistant_is_told_of_every_entity_and_of_no_score(house: House) -> None:
    message = house.home.json("homeassistant/device/front/config")
    assert set(message["components"]) >= {
        "lock", "event", "contact", "tamper", "problem", "self_test", "in_sync", "connectivity", "face",
    }  # fmt: skip
    lock = message["components"]["lock"]
    assert (lock["command_topic"], lock["state_topic"], lock["retain"]) == (COMMAND, STATE, False)
    assert message["origin"]["name"] == "face-unlock"
    state = house.home.json(STATE)
    assert (state["lock"], state["self_test"], state["in_sync"]) == ("LOCKED", "ON", "None")
    assert not {"similarity", "score", "measured", "image"} & set(json.dumps(message) + json.dumps(state))


def test_a_visit_is_an_event_with_person_and_method(house: House) -> None:
    assert house.door.face("alice").granted
    house.door.turn_until(lambda: house.events())
    assert house.events()[0] == {"event_type": "granted", "person": "alice", "method": "face"}
    house.door.turn_until(lambda: house.locks()[-2:] == ["UNLOCKED", "LOCKED"])


def test_a_door_that_tells_no_names_tells_none(make_house) -> None:
    house = make_house(names=False)
    house.door.face("alice")
    house.door.turn_until(lambda: house.events())
    assert b"alice" not in b"".join(payload for _, payload in house.home.heard)


def test_a_link_that_is_killed_is_told_by_its_will(house: House) -> None:
    house.link.process.kill()
    wait_until(lambda: house.home.retained[ONLINE] == b"offline", seconds=60)
    assert house.door.face("alice").granted  # and the door works


def test_a_door_that_is_gone_is_told_by_its_link(house: House) -> None:
    house.door.desk.close()
    wait_until(lambda: house.home.retained[ONLINE] == b"offline")
    house.say(house.door.command())
    wait_until(lambda: "door_away" in [each.get("reason") for each in house.events()])


# --- opening from outside


def test_the_code_opens_once_and_is_recorded_before(house: House) -> None:
    command = house.door.command()
    house.say(command)
    house.door.turn_until(lambda: house.door.pulses() == 1)
    assert house.door.recorded() == ["outside_opened"]
    house.door.turn_until(lambda: house.events())
    assert house.events()[0]["method"] == "outside"
    house.say(command)  # word for word once more
    house.refused("replay")
    assert house.door.pulses() == 1


def test_a_door_opens_from_outside_only_where_that_is_configured(make_house) -> None:
    house = make_house(open_code="")
    house.say(house.door.command())
    house.refused("not_allowed")
    assert house.door.pulses() == 0


def test_what_is_not_a_young_new_and_right_command_opens_nothing(house: House) -> None:
    house.door.desk._freshness._started_s -= 3600  # the program has run for an hour
    wrong: list[tuple[dict[str, object], str]] = [
        ({"code": "1357"}, "wrong_code"),
        ({"code": ""}, "wrong_code"),
        ({"at": 0}, "stale"),
        ({"age_s": 11}, "stale"),
        ({"age_s": -30}, "ahead"),
        ({"door": "back"}, "another_door"),
        ({"nonce": "x"}, "malformed"),
        ({"at": None}, "malformed"),
        ({"at": "1e999"}, "malformed"),
        ({"do": "unlock"}, "malformed"),
    ]
    for change, _ in wrong:
        house.say(house.door.command(**change))
        house.door.turn(0.1)
    for reason in {reason for _, reason in wrong}:
        house.refused(reason)
    assert (house.door.pulses(), house.door.recorded()) == (0, [])


def test_rubbish_opens_nothing(house: House) -> None:
    for payload in ("UNLOCK", "", "[]", "{" * 1000, "\0", '{"do": "open"}', "1" * 5000):
        house.say(payload)
        house.door.turn(0.1)
    house.refused("malformed")
    assert house.door.pulses() == 0
    house.say(house.door.command())  # and the desk goes on
    house.door.turn_until(lambda: house.door.pulses() == 1)


def test_a_retained_command_opens_nothing_now_and_at_no_reconnect(house: House) -> None:
    house.say(house.door.command(), retain=True)
    house.refused("retained")
    for _ in range(2):
        house.link.end()
        house.link = LinkProcess(house.door, house.mosquitto)
        house.door.turn_until(lambda: "connected" in house.link.told())
        house.door.turn(1.0)
    assert house.door.pulses() == 0


def test_a_command_for_a_door_that_was_away_is_gone(house: House) -> None:
    house.link.process.send_signal(signal.SIGSTOP)
    house.say(house.door.command())
    time.sleep(2.5)
    house.door.off_by = timedelta(seconds=20)  # as if it had hung for longer
    house.link.process.send_signal(signal.SIGCONT)
    house.door.turn(2.0)
    assert house.door.pulses() == 0
    house.link.end(signal.SIGKILL)
    house.say(house.door.command())
    house.door.off_by = timedelta(0)
    house.link = LinkProcess(house.door, house.mosquitto)
    house.door.turn_until(lambda: "connected" in house.link.told())
    house.door.turn(1.0)
    assert house.door.pulses() == 0


def test_a_command_from_before_the_start_opens_nothing(house: House) -> None:
    command = house.door.command()
    house.door.desk.close()
    house.door.start()
    house.door.turn_until(lambda: house.door.line.is_up)
    house.say({**command, "at": time.time() - 5})
    house.refused("stale")
    assert house.door.pulses() == 0


@pytest.mark.parametrize("hours", [-1, 1])
def test_with_a_clock_that_is_an_hour_off_nothing_opens(house: House, hours: int) -> None:
    house.door.off_by = timedelta(hours=hours)
    house.door.desk._freshness._started_s -= 7200
    house.say(house.door.command())
    house.refused("ahead" if hours < 0 else "stale")
    assert house.door.pulses() == 0
    assert house.door.face("alice").granted


def test_with_a_clock_that_is_not_believed_nothing_opens(house: House) -> None:
    house.door.is_believed = False
    house.say(house.door.command())
    house.refused("clock_not_set")
    assert house.door.pulses() == 0
    assert house.door.face("alice").granted


def test_wrong_codes_lock_the_code_and_nobody_elses_face(house: House) -> None:
    for code in ("1111", "2222", "3333", CODE):
        house.say(house.door.command(code=code))
        house.door.turn(0.3)
    house.refused("pin_locked")
    assert house.door.pulses() == 0
    assert house.door.face("alice").granted


def test_what_cannot_be_recorded_does_not_open(house: House) -> None:
    house.door.audit._opened = lambda: None
    house.say(house.door.command())
    house.refused("not_recorded")
    assert house.door.pulses() == 0


def test_locking_from_outside_ends_no_pulse_of_a_face(house: House) -> None:
    house.door.face("alice")
    house.say(house.door.command("lock"))
    house.refused("not_allowed")
    levels = [state.state for state in house.door.pin.states]
    assert levels[:2] == [False, True]
    assert house.door.pin.states[2].timestamp >= 0.35 if len(levels) > 2 else True


# --- the switches


def test_a_face_that_is_switched_off_stays_off_over_a_restart_and_on_is_for_the_door(house: House) -> None:
    house.say(house.door.command("face_off"))
    house.door.turn_until(lambda: house.home.json(STATE)["face"] == "OFF")
    assert house.door.face("alice").reason is Reason.SWITCHED_OFF
    house.door.desk.close()
    house.door.start()
    assert house.door.face("alice").reason is Reason.SWITCHED_OFF
    house.door.turn_until(lambda: house.door.line.is_up)
    house.door.turn(0.5)
    house.say(house.door.command("face_on"))
    house.refused("not_allowed")
    house.door.switches.turn("face_on")
    assert house.door.face("alice").granted


def test_one_persons_face_is_switched_off_alone(house: House) -> None:
    house.door.enroll("bob", 1)
    house.door.desk._listed_s = float("-inf")
    alias = house.door.gallery.profile("bob").alias
    house.door.turn(0.3)
    house.say(house.door.command("person_off", subject=alias))
    house.door.turn_until(lambda: house.door.face("bob").reason is Reason.SWITCHED_OFF)
    assert house.door.face("alice").granted
    assert f"face_{alias}" in house.home.json("homeassistant/device/front/config")["components"]
    house.say(house.door.command("person_off", subject="nobody"))
    house.refused("unknown_person")


def test_by_default_nothing_is_switched_from_outside(make_house) -> None:
    house = make_house(switches=False)
    house.say(house.door.command("face_off"))
    house.refused("not_allowed")
    assert house.door.face("alice").granted


def test_switches_that_are_lost_mean_off(house: House) -> None:
    house.door.switches.turn("face_off")
    (house.door.folder / "switches").unlink()
    assert house.door.face("alice").reason is Reason.SWITCHED_OFF
    assert house.door.switches.fault


# --- a broker or a link that is gone, hung or hostile


def test_a_broker_that_is_killed_and_restored_from_yesterday_opens_nothing_and_is_told_anew(
    house: House,
) -> None:
    house.say(house.door.command(), retain=True)  # what yesterday knew
    house.refused("retained")
    house.mosquitto.save()
    house.mosquitto.end(signal.SIGKILL)
    assert house.door.face("alice").granted
    house.mosquitto.restore()
    house.mosquitto.start()
    before = len(house.home.heard)
    house.door.turn_until(
        lambda: (
            any(topic == STATE for topic, _ in house.home.heard[before:])
            and house.home.retained[ONLINE] == b"online"
        ),
        seconds=60,
    )
    house.door.turn(1.0)
    assert house.door.pulses() == 1  # alice's


def test_without_a_link_the_door_works_and_waits_for_nobody(tmp_path: Path) -> None:
    door = LinkedDoor(tmp_path / "door")
    door.enroll("alice")
    began_s = time.monotonic()
    door.turn(0.3)
    assert time.monotonic() - began_s < 5
    assert door.face("alice").granted
    door.close()


@pytest.mark.parametrize("manner", ["silent", "flood", "long", "rubbish"])
def test_a_hostile_link_costs_the_door_nothing(tmp_path: Path, manner: str) -> None:
    door = LinkedDoor(tmp_path / "door")
    door.enroll("alice")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(door.address))
        listener.listen(1)
        door.turn(0.2)
        peer, _ = listener.accept()
        peer.setblocking(False)
        packet = {"flood": b'{"command":"x"}', "long": b"x" * 50_000, "rubbish": b"\xff\x00"}.get(manner, b"")
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s and door.line.is_up:
            with contextlib.suppress(OSError):
                if packet:
                    peer.send(packet)
            door.turn()
        for _ in range(2000):  # and it reads nothing
            door.status.event("refused", reason="no_face")
        began_s = time.monotonic()
        assert door.face("alice").granted
        door.turn(0.1)
        assert time.monotonic() - began_s < 5
        assert door.line.is_up is (manner == "silent")
        peer.close()
    door.close()


def test_another_certificate_connects_to_nothing(house: House) -> None:
    stranger = Authority.new(utc_now()).client("front", utc_now())
    house.link.end()
    link = LinkProcess(house.door, house.mosquitto, stranger)
    house.door.turn(3.0)
    assert "connected" not in link.told()
    assert house.door.face("alice").granted
    link.end()


def test_a_door_neither_reads_nor_writes_another_doors_topics(house: House) -> None:
    back = Client(house.mosquitto, "back").listen("face-unlock/#", "homeassistant/#")
    back.say(COMMAND, house.door.command())
    house.door.turn(1.0)
    assert house.door.pulses() == 0
    assert [topic for topic, _ in back.heard if not topic.startswith("face-unlock/back")] == []
    back.close()


def test_a_revoked_certificate_is_refused_after_the_broker_starts_anew(house: House) -> None:
    credential = house.mosquitto.authority.client("front", utc_now())
    house.link.end()
    house.mosquitto.revoke([credential.serial])
    house.mosquitto.end()
    house.mosquitto.start()
    link = LinkProcess(house.door, house.mosquitto, credential)
    house.door.turn(3.0)
    assert "connected" not in link.told()
    link.end()


def test_the_profile_of_a_local_person_says_nothing_of_a_fleet() -> None:
    assert Profile().fleet_id is None
