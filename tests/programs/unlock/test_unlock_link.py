"""The real program with a link beside it: what it tells, that it opens for a code, and that it waits for nobody."""

from __future__ import annotations

import json
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from device.access.pin import hash_pin
from device.desk.wire import LONGEST_PACKET
from tests.support.doors.running import Door, events, names, own_gallery

CODE = "2580"


def configure(door: Door, address: Path) -> None:
    link = f'[link]\nsocket = "{address}"\nname = "front"\nopen_code = "{hash_pin(CODE)}"\n'
    door.configure(0.5, f"[policy]\nrequire_time_sync = false\n{link}")


def command() -> bytes:
    about = {"do": "open", "door": "front", "code": CODE, "at": time.time(), "nonce": secrets.token_hex(10)}
    return json.dumps({"command": json.dumps(about)}).encode()


def test_the_program_tells_its_link_and_opens_for_a_code(
    door: Door, empty_clip: Path, tmp_path: Path
) -> None:
    gallery, address = own_gallery(door, tmp_path), tmp_path / "link.sock"
    configure(door, address)
    told: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(address))
        listener.listen(1)
        listener.settimeout(60)
        door.start("--camera", str(empty_clip))
        peer, _ = listener.accept()
        peer.settimeout(30)
        time.sleep(0.2)
        peer.send(command())
        while not any(each.get("event") == "outside_opened" for each in told):
            told.append(json.loads(peer.recv(LONGEST_PACKET)))
        peer.close()
    assert door.process is not None
    door.process.terminate()
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert [each["kind"] for each in told[:2]] == ["hello", "state"]
    assert (told[0]["door"], told[0]["opens"], told[1]["locked"]) == ("front", True, True)
    assert "outside_opened" in names(lines)
    assert "outside_opened" in events(gallery)
    assert door.levels() == [1, 0]


def test_without_a_link_that_listens_the_program_lets_people_in(
    door: Door, person_clip: Path, tmp_path: Path
) -> None:
    configure(door, tmp_path / "nobody.sock")
    door.start("--camera", str(person_clip), "--once")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert "granted" in names(lines)
    assert door.levels() == [1, 0]
