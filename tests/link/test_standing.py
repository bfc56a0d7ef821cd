"""How a link stands with its broker: why a connection failed, in a word for the door and a line for the log."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from device.desk.credentials import CERTIFICATE, KEY, Access, is_host
from device.desk.wire import LINKS, LOST, REFUSED, UNREACHABLE, UNTRUSTED, write_packet
from device.errors import LinkError
from device.fleet.authority import Authority, utc_now
from device.link.broker import Broker
from device.link.standing import Standing, failed, lost
from tests.support.machines.broker import Mosquitto, needs_mosquitto, write_access
from tests.support.machines.linked_door import LinkedDoor, LinkProcess
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (ConnectionRefusedError(111, "Connection refused"), UNREACHABLE),
        (socket.gaierror(-2, "Name or service not known"), UNREACHABLE),
        (TimeoutError("timed out"), UNREACHABLE),
        (OSError("label empty or too long"), UNREACHABLE),
        (None, UNREACHABLE),
        (ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_REVOKED] sslv3 alert certificate revoked"), REFUSED),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), LOST),
    ],
)
def test_a_failed_try_has_a_word_that_the_door_knows(fault: BaseException | None, word: str) -> None:
    said = failed(fault)
    assert said.word == word
    assert word in LINKS
    assert said.text


def test_an_alert_in_the_log_is_the_brokers_refusal_and_anything_else_is_a_loss() -> None:
    alert = "failed to receive on socket: [SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required"
    assert lost("Unspecified error", alert) == Standing(REFUSED, "refuses: certificate required")
    assert lost("Keep alive timeout", "") == Standing(LOST, "lost: Keep alive timeout")


@pytest.mark.parametrize("host", ["broker", "broker.example", "192.168.1.9", "::1", "a" * 63, "x_y.local"])
def test_a_name_or_an_address_is_a_host(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "a..b", ".a", "a" * 64, "x:1", "a/b", "ä" * 70, "-a", "a\nb"]
)
def test_what_no_network_carries_is_no_host(host: str) -> None:
    assert not is_host(host)


def word_of(folder: Path) -> Standing:
    """Return what a connection with these credentials comes to."""
    broker = Broker(Access.read(folder), subscriptions=[])
    try:
        found: list[Standing] = []
        wait_until(lambda: (news := broker.news()) is not None and found.append(news) is None, 60)
        return found[0]
    finally:
        broker.close()


@needs_mosquitto
def test_a_certificate_that_is_over_not_yet_good_of_another_house_or_revoked_is_told_apart(tmp_path) -> None:
    mosquitto = Mosquitto(tmp_path / "broker")
    now, house = utc_now(), mosquitto.authority
    revoked = house.client("front", now)
    mosquitto.revoke([revoked.serial])
    mosquitto.start()
    told = {}
    for name, credential in {
        "good": house.client("front", now),
        "over": house.client("front", now - timedelta(days=4000)),
        "early": house.client("front", now + timedelta(days=40)),
        "another's": Authority.new(now).client("front", now),
        "revoked": revoked,
    }.items():
        told[name] = word_of(write_access(tmp_path / name, mosquitto, "front", credential))
    mosquitto.end()
    assert told == {
        "good": Standing("connected", "connected"),
        "over": Standing(REFUSED, "refuses: certificate expired"),
        "early": Standing(REFUSED, "refuses: bad certificate"),
        "another's": Standing(REFUSED, "refuses: unknown ca"),
        "revoked": Standing(REFUSED, "refuses: certificate revoked"),
    }
    assert word_of(tmp_path / "good").word == UNREACHABLE  # it runs no more


@needs_mosquitto
def test_a_broker_whose_certificate_is_over_or_anothers_is_not_believed(tmp_path) -> None:
    mosquitto = Mosquitto(tmp_path / "broker")
    old = mosquitto.authority.server("127.0.0.1", utc_now() - timedelta(days=4000))
    (tmp_path / "broker/server.pem").write_text(old.certificate)
    (tmp_path / "broker/server.key").write_text(old.key)
    mosquitto.start()
    own = write_access(tmp_path / "own", mosquitto, "front")
    assert "certificate has expired" in word_of(own).text
    (own / "ca.pem").write_text(Authority.new(utc_now()).certificate)
    said = word_of(own)
    mosquitto.end()
    assert said.word == UNTRUSTED
    assert "certificate has expired" not in said.text


def test_whoever_takes_connections_and_says_nothing_or_rubbish_is_no_broker(tmp_path) -> None:
    mosquitto_folder, authority = tmp_path / "own", Authority.new(utc_now())
    credential = authority.client("front", utc_now())
    mosquitto_folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (mosquitto_folder / "link.json").write_text(
            f'{{"host": "127.0.0.1", "port": {port}, "user": "front"}}'
        )
        (mosquitto_folder / "ca.pem").write_text(authority.certificate)
        (mosquitto_folder / CERTIFICATE).write_text(credential.certificate)
        (mosquitto_folder / KEY).write_text(credential.key)

        def answer() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            except OSError:
                return

        threading.Thread(target=answer, daemon=True).start()
        assert word_of(mosquitto_folder).word in (LOST, UNREACHABLE)


@pytest.mark.parametrize(
    "about",
    [
        '{"host": "a b", "port": 8883, "user": "front"}',
        '{"host": "broker", "port": 0, "user": "front"}',
        '{"host": "broker", "port": 8883, "user": "front", "ends": "soon"}',
        '{"host": "broker", "port": 8883, "user": "front", "ends": "2036-01-01T00:00:00"}',
        "[]",
    ],
)
def test_an_address_that_was_damaged_says_to_join_again(tmp_path, about: str) -> None:
    (tmp_path / "link.json").write_text(about)
    with pytest.raises(LinkError, match=r"is damaged: run .* fleet join FILE again"):
        Access.read(tmp_path)


@needs_mosquitto
def test_the_door_knows_how_its_link_stands_with_the_broker(tmp_path) -> None:
    mosquitto = Mosquitto(tmp_path / "broker")
    mosquitto.start()
    door = LinkedDoor(tmp_path / "front")
    assert door.desk.link == "away"
    link = LinkProcess(door, mosquitto)
    door.turn_until(lambda: door.desk.link == "connected", 60)
    mosquitto.end()
    door.turn_until(lambda: door.desk.link in (LOST, UNREACHABLE), 60)
    mosquitto.start()
    door.turn_until(lambda: door.desk.link == "connected", 90)
    link.end()
    door.turn_until(lambda: door.desk.link == "away", 60)
    soon = mosquitto.authority.client("front", utc_now() - timedelta(days=3620))
    link = LinkProcess(door, mosquitto, soon)
    door.turn_until(lambda: door.desk.link == "expiring", 60)
    link.end()
    door.close()
    mosquitto.end()


@pytest.mark.parametrize("word", ["CONNECTED", "", None, 7, [], "connected\nrubbish", "x" * 4000])
def test_a_link_that_says_another_word_says_nothing(tmp_path, word: object) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door = LinkedDoor(tmp_path / "front")
    listener.bind(str(door.address))
    listener.listen()
    door.turn_until(lambda: door.line.is_up)

    peer, _ = listener.accept()
    peer.send(write_packet({"link": "connected"}))
    door.turn_until(lambda: door.desk.link == "connected")
    peer.send(write_packet({"link": word}))
    door.turn_until(lambda: door.desk.link == "connecting")
    assert door.pulses() == 0
    door.close()
    peer.close()
    listener.close()
