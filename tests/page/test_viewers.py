"""The status page over the network: a viewer of this house sees it, and nobody else of it does."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import uvicorn
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_crl

from device.errors import LinkError, UsageError
from device.fleet.authority import Authority, Credential, checked_host
from device.fleet.folder import page_access, write_page
from device.page.status import Looks, config_of, main, parse
from device.page.viewers import REVOKED, VIEWER, Entrance, is_viewer
from tests.support.doors.house import Site
from tests.support.machines.broker import Mosquitto, needs_mosquitto
from tests.support.waiting import wait_until

NOW = datetime.now(timezone.utc)
NAMES = ["front", "localhost", "127.0.0.1"]
REFUSED = (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)


@pytest.fixture(scope="module")
def house() -> Authority:
    return Authority.new(NOW)


@pytest.fixture
def folder(house: Authority, tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    write_page(folder, page_access(house, NAMES, NOW))
    return folder


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve the page of a door that says nothing; yield the port."""
    args = parse(["--file", str(folder / "none.json"), "--tls", str(folder)])
    server = uvicorn.Server(config_of(args, Looks(time.monotonic())))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join(30)


def look(
    port: int, house: Authority, shown: Credential | None, folder: Path, host: str = "front:8443"
) -> int:
    """Ask for the page as somebody who shows a certificate, or none; return the status."""
    context = ssl.create_default_context(cadata=house.certificate)
    if shown is not None:
        pem = folder / "shown.pem"
        pem.write_text(shown.certificate + shown.key)
        context.load_cert_chain(pem)
    client = http.client.HTTPSConnection("localhost", port, context=context, timeout=30)
    try:
        client.request("GET", "/", headers={"Host": host})
        return client.getresponse().status
    finally:
        client.close()


def test_a_viewer_of_this_house_sees_it_by_the_doors_own_names(house: Authority, folder: Path) -> None:
    anna = house.client(f"{VIEWER}anna", NOW)
    with served(folder) as port:
        for host in ("front:8443", "FRONT", "localhost:1", "127.0.0.1"):
            assert look(port, house, anna, folder, host) == 200
        for host in ("evil.example:8443", "front.evil.example", "back", ""):
            assert look(port, house, anna, folder, host) == 421


@pytest.mark.parametrize("user", ["front", "homeassistant", "keeper", "viewer", "viewer-anna", "viewer anna"])
def test_whoever_else_the_house_vouches_for_is_hung_up_on(house: Authority, folder: Path, user: str) -> None:
    """A stolen door has a certificate for the broker; the other doors' pages are none of its business."""
    with served(folder) as port, pytest.raises(REFUSED):
        look(port, house, house.client(user, NOW), folder)


def test_without_a_certificate_or_with_another_houses_nobody_sees_it(house: Authority, folder: Path) -> None:
    other = Authority.new(NOW)
    with served(folder) as port:
        for shown in (None, other.client(f"{VIEWER}anna", NOW), house.page(["viewer-x"], NOW)):
            with pytest.raises(REFUSED):
                look(port, house, shown, folder)
        assert look(port, house, house.client(f"{VIEWER}anna", NOW), folder) == 200


def test_a_revoked_viewer_is_refused_where_the_list_lies(house: Authority, folder: Path) -> None:
    anna, bert = (house.client(f"{VIEWER}{name}", NOW) for name in ("anna", "bert"))
    (folder / REVOKED).write_text(house.revocations([anna.serial], NOW))
    with served(folder) as port:
        with pytest.raises(REFUSED):
            look(port, house, anna, folder)
        assert look(port, house, bert, folder) == 200


@pytest.mark.parametrize("name", ["page.json", "ca.pem", "page.pem", "page.key", "revoked.pem"])
def test_a_file_that_is_damaged_ends_it_in_a_line(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text("{")
    assert (
        main(["--file", "none.json", "--tls", str(folder), "--socket", str(folder / "s")])
        == LinkError.exit_code
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "fleet join FILE" in said


def test_a_folder_without_certificates_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"No such file.*fleet join FILE"):
        Entrance.read(tmp_path)


@needs_mosquitto
def test_a_viewer_is_nobody_at_the_broker(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path / "broker")
    mosquitto.start()
    try:
        user = f"{VIEWER}anna"
        home = mosquitto.client("homeassistant").listen("homeassistant/#", "face-unlock/+/state")
        viewer, door = mosquitto.client(user).listen("#", "face-unlock/#"), mosquitto.client("front").up()
        for topic in (
            f"homeassistant/device/{user}/config",
            f"face-unlock/{user}/state",
            "face-unlock/front/state",
        ):
            with contextlib.suppress(ValueError):  # what the client itself refuses
                viewer.say(topic, "forged")
        door.say("face-unlock/front/state", "own")
        wait_until(lambda: home.heard)
        assert (home.heard, viewer.heard) == ([("face-unlock/front/state", b"own")], [])
    finally:
        mosquitto.end()


def test_what_names_nobody_is_no_viewer() -> None:
    for certificate in (None, {}, {"subject": ()}, {"subject": ((("organizationName", f"{VIEWER}x"),),)}):
        assert not is_viewer(certificate)


@pytest.mark.parametrize("text", ["", "https://front", "front:8443", "fr ont", "-front", "größe", "a" * 254])
def test_an_address_that_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected an address or a name"):
        checked_host(text)


def test_the_keeper_gives_a_door_its_certificate_and_a_viewer_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper, door = Site(tmp_path / "keeper", "keeper"), Site(tmp_path / "front", "front")
    assert keeper.run("init", "--host", "127.0.0.1") == 0
    assert keeper.run("add-door", "front", "--at", "192.168.1.7", "--at", "Front.LAN") == 0
    own = keeper.folder / "gallery.db.fleet"
    assert door.join(own / "front.door") == 0
    entrance = Entrance.read(door.page_folder)
    assert entrance.names == ("front", "front.local", "192.168.1.7", "front.lan")
    assert [entrance.is_own(host) for host in ("front.lan:8443", "192.168.1.7:8443", "back")] == [
        True,
        True,
        False,
    ]

    capsys.readouterr()
    assert keeper.run("viewer", "anna") == 0
    said = capsys.readouterr().out
    password = said.partition("the password ")[2].partition(",")[0]
    key, certificate, [authority] = pkcs12.load_key_and_certificates(
        (own / "anna.p12").read_bytes(), password.encode()
    )
    assert key is not None
    assert certificate is not None
    assert certificate.issuer == authority.subject
    assert (own / "anna.p12").stat().st_mode & 0o077 == 0
    assert keeper.run("viewer", "anna") == UsageError.exit_code
    assert keeper.run("revoke-viewer", "anna") == 0
    assert keeper.run("revoke-viewer", "anna") == UsageError.exit_code
    listed = load_pem_x509_crl((own / "broker/revoked.pem").read_bytes())
    assert listed.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None


def test_a_doors_file_of_an_older_keeper_is_joined_without_a_page(tmp_path: Path) -> None:
    keeper, door = Site(tmp_path / "keeper", "keeper"), Site(tmp_path / "front", "front")
    assert keeper.run("init", "--host", "127.0.0.1") == 0
    assert keeper.run("add-door", "front") == 0
    file = keeper.folder / "gallery.db.fleet/front.door"
    known = json.loads(file.read_text())
    del known["page"]
    file.write_text(json.dumps(known))
    assert door.join(file) == 0
    assert not door.page_folder.exists()
