"""A real Home Assistant core, headless, beside a real broker, link and desk: HASS=/path/to/hass make homeassistant

Not part of `make test`: Home Assistant wants a Python of its own (2025.4: 3.13, 2026: 3.14), its own constraints, and a
minute for its first start. docs/how/many_doors.md says which versions were run.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device.fleet.authority import utc_now
from tests.support.machines.broker import Client, Mosquitto, free_port, needs_mosquitto, wait_until
from tests.support.machines.linked_door import CODE, LinkedDoor, LinkProcess

HASS = os.environ.get("HASS", "")
pytestmark = [
    needs_mosquitto,
    pytest.mark.skipif(not HASS, reason="needs HASS=/path/to/hass: make homeassistant"),
    pytest.mark.timeout(900),
]
START_S = 600.0


class Home:
    """A Home Assistant with an MQTT integration, in a folder of its own."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        self.folder, self.port = folder, free_port()
        (folder / ".storage").mkdir(parents=True)
        http = f"http:\n  server_host: 127.0.0.1\n  server_port: {self.port}\n"
        (folder / "configuration.yaml").write_text(f"{http}api:\nonboarding:\nlogger:\n  default: warning\n")
        credential = mosquitto.authority.client("homeassistant", utc_now())
        entry = {
            "created_at": "2026-01-01T00:00:00+00:00",
            "modified_at": "2026-01-01T00:00:00+00:00",
            "data": {
                "broker": "127.0.0.1",
                "port": mosquitto.port,
                "protocol": "5",
                "certificate": mosquitto.authority.certificate,
                "client_cert": credential.certificate,
                "client_key": credential.key,
            },
            "disabled_by": None,
            "discovery_keys": {},
            "domain": "mqtt",
            "entry_id": "01JFACEUNLOCK00000000000000",
            "minor_version": 2,
            "options": {},
            "pref_disable_new_entities": False,
            "pref_disable_polling": False,
            "source": "user",
            "subentries": [],
            "title": "broker",
            "unique_id": None,
            "version": 1,
        }
        stored = {
            "version": 1,
            "minor_version": 5,
            "key": "core.config_entries",
            "data": {"entries": [entry]},
        }
        (folder / ".storage/core.config_entries").write_text(json.dumps(stored))
        self.token = ""

    def start(self) -> None:
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen([HASS, "-c", str(self.folder)], stdout=out, stderr=out)
        wait_until(self._answers, START_S, lambda: (self.folder / "out").read_text()[-3000:])
        if not self.token:
            self.token = self._onboard()

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "out").read_text()[-3000:]
        try:
            self._ask("/api/onboarding" if not self.token else "/api/")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _onboard(self) -> str:
        client = f"http://127.0.0.1:{self.port}/"
        about = {
            "client_id": client,
            "name": "owner",
            "username": "owner",
            "password": "four words",
            "language": "en",
        }
        code = self._ask("/api/onboarding/users", about)["auth_code"]
        form = urllib.parse.urlencode({"grant_type": "authorization_code", "code": code, "client_id": client})
        return str(self._ask("/auth/token", form.encode())["access_token"])

    def _ask(self, path: str, body: object = None) -> Any:
        kind = "application/x-www-form-urlencoded" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def states(self) -> dict[str, dict[str, Any]]:
        return {each["entity_id"]: each for each in self._ask("/api/states")}

    def state(self, entity: str) -> str:
        return str(self.states().get(entity, {}).get("state"))

    def unlock(self, entity: str, **fields: str) -> int:
        """Call the service, and return the status of its answer."""
        try:
            self._ask("/api/services/lock/unlock", {"entity_id": entity, **fields})
            return 200
        except urllib.error.HTTPError as error:
            return error.code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=120)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    mosquitto = Mosquitto(tmp_path / "broker")
    mosquitto.start()
    made = Home(tmp_path / "home", mosquitto)
    made.mosquitto = mosquitto  # type: ignore[attr-defined]
    yield made
    made.end()
    mosquitto.end()


def test_home_assistant_finds_the_door_opens_with_the_code_alone_and_survives_restart_and_removal(
    home: Home, tmp_path: Path
) -> None:
    mosquitto: Mosquitto = home.mosquitto  # type: ignore[attr-defined]
    door = LinkedDoor(tmp_path / "door")
    door.enroll("alice")
    link = LinkProcess(door, mosquitto)
    home.start()
    door.turn_until(lambda: any(each.startswith("lock.") for each in home.states()), 120)
    found = home.states()
    (lock,) = (each for each in found if each.startswith("lock."))
    (event,) = (each for each in found if each.startswith("event."))
    print({each: state["state"] for each, state in found.items() if "front" in each})
    door.turn_until(lambda: home.state(lock) == "locked", 60)

    assert home.unlock(lock) != 200  # Home Assistant itself wants the code
    assert home.unlock(lock, code="1357") == 200  # it answers so whatever the door does
    door.turn_until(lambda: "wrong_code" in door.refusals(), 60)
    assert door.pulses() == 0
    assert home.unlock(lock, code=CODE) == 200
    door.turn_until(lambda: door.pulses() == 1, 60)
    door.turn_until(lambda: home.states()[event]["attributes"].get("method") == "outside", 60)

    assert door.face("alice").granted
    door.turn_until(lambda: home.states()[event]["attributes"].get("person") == "alice", 60)
    pulses = door.pulses()
    home.end()
    home.start()
    door.turn_until(lambda: home.state(lock) == "locked", 120)
    door.turn(2.0)
    assert door.pulses() == pulses  # nothing was asked for anew

    link.end()
    wait_until(lambda: home.state(lock) == "unavailable", 60)
    Client(mosquitto, "front").up().say("homeassistant/device/front/config", b"", retain=True)
    wait_until(lambda: lock not in home.states(), 60)
    door.close()
