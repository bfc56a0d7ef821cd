"""A real mosquitto on loopback with the shipped configuration, and clients for it; skips where it is not installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from paho.mqtt.enums import CallbackAPIVersion

from device.desk.credentials import ADDRESS, CA, CERTIFICATE, KEY
from device.fleet.authority import Authority, Credential, utc_now
from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

SHIPPED = ROOT / "systemd/mosquitto"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto: apt install mosquitto")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker with the shipped access list, its own authority, and everything below one folder."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        assert MOSQUITTO is not None
        self.folder, self.port = folder, free_port()
        self.authority = authority or Authority.new(utc_now())
        folder.mkdir(exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        server = self.authority.server("127.0.0.1", utc_now())
        for name, text in (
            ("ca.pem", self.authority.certificate),
            ("server.pem", server.certificate),
            ("server.key", server.key),
            ("acl", (SHIPPED / "acl").read_text()),
        ):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        self.revoke([])
        shipped = (SHIPPED / "face-unlock.conf").read_text()
        shipped = shipped.replace("/etc/mosquitto/face-unlock", str(folder))
        shipped = shipped.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        user = "user root\n" if os.geteuid() == 0 else ""
        (folder / "conf").write_text(f"{user}{shipped}persistence_location {folder}/data/\nlog_dest stderr\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([str(MOSQUITTO), "-c", str(self.folder / "conf")], stderr=log)
        wait_until(self._listens, what=lambda: (self.folder / "log").read_text())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=240)

    def revoke(self, serials: list[int]) -> None:
        (self.folder / "revoked.pem").write_text(self.authority.revocations(serials, utc_now()))

    def save(self) -> Path:
        """Copy what the broker keeps, once it was written."""
        time.sleep(2)
        copy = self.folder / "yesterday"
        shutil.copytree(self.folder / "data", copy, dirs_exist_ok=True)
        return copy

    def restore(self) -> None:
        shutil.copytree(self.folder / "yesterday", self.folder / "data", dirs_exist_ok=True)

    def client(self, user: str, credential: Credential | None = None) -> Client:
        return Client(self, user, credential)


def write_access(folder: Path, mosquitto: Mosquitto, user: str, credential: Credential | None = None) -> Path:
    """Write what a link or a client of the broker needs, and return the folder."""
    credential = credential or mosquitto.authority.client(user, utc_now())
    folder.mkdir(exist_ok=True)
    ends = x509.load_pem_x509_certificate(credential.certificate.encode()).not_valid_after_utc
    about = {"host": "127.0.0.1", "port": mosquitto.port, "user": user, "ends": ends.isoformat()}
    (folder / ADDRESS).write_text(json.dumps(about))
    (folder / CA).write_text(mosquitto.authority.certificate)
    (folder / CERTIFICATE).write_text(credential.certificate)
    (folder / KEY).write_text(credential.key)
    return folder


class Client:
    """A client that writes down what it hears."""

    def __init__(self, mosquitto: Mosquitto, user: str, credential: Credential | None = None) -> None:
        folder = write_access(mosquitto.folder / f"client-{user}", mosquitto, user, credential)
        self.heard: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.tls_set(str(folder / CA), str(folder / CERTIFICATE), str(folder / KEY))
        self.client.on_message = self._hear
        self.client.on_connect = self._connected
        self.client.on_disconnect = lambda _c, _d, _f, reason, _p: self.refused.append(str(reason))
        self.topics: list[str] = []
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async("127.0.0.1", mosquitto.port, 20, clean_start=True)
        self.client.loop_start()

    def _connected(self, client: mqtt.Client, *_: object) -> None:
        for topic in self.topics:
            client.subscribe(topic, qos=1)

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))
        self.retained[message.topic] = bytes(message.payload)

    def up(self) -> Client:
        wait_until(self.client.is_connected, what=lambda: self.refused)
        return self

    def listen(self, *topics: str) -> Client:
        self.topics += topics
        self.up()
        for topic in topics:
            self.client.subscribe(topic, qos=1)
        return self

    def say(self, topic: str, payload: object, *, retain: bool = False, qos: int = 1) -> None:
        data = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        self.client.publish(topic, data, qos=qos, retain=retain).wait_for_publish(10)

    def json(self, topic: str) -> dict[str, object]:
        return json.loads(self.retained.get(topic) or "{}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
