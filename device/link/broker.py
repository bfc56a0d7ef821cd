"""Broker: one MQTT connection, made again whenever it is lost; messages come by a queue.

Commands are asked for at QoS 0, with a session that ends with the connection: what was sent while this door was away
is gone. paho connects anew without a clean start unless told each time, so it is.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import queue
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from device.desk.wire import LONGEST_RECORD
from device.errors import LinkError

ADDRESS, CA, CERTIFICATE, KEY = "link.json", "ca.pem", "client.pem", "client.key"
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # of a host's name
KEEPALIVE_S = 20
RECONNECT_S = (1, 60)
QUEUE = 256  # messages that wait for this process
PATIENCE_S = (
    5.0  # for room among them; what is dropped then lies at the broker, and comes with the next connection
)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the broker is, and who this is to it: the user that its certificate names."""

    host: str
    port: int
    user: str
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> Access:
        """Read what scripts/fleet.py join put into a folder."""
        try:
            known = json.loads((folder / ADDRESS).read_text(encoding="utf-8"))
            access = cls(str(known["host"]), int(known["port"]), str(known["user"]), folder)
            if not is_host(access.host) or not 1 <= access.port <= 65535:
                raise ValueError
            return access
        except OSError as error:
            raise LinkError(
                f"{folder / ADDRESS}: {error.strerror}: run scripts/fleet.py join at this door first"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise LinkError(f"{folder / ADDRESS}: is damaged: run scripts/fleet.py join again") from None

    def tls(self) -> ssl.SSLContext:
        """Return TLS that knows this house's authority alone, and shows this door's certificate."""
        try:
            context = ssl.create_default_context(cafile=str(self.folder / CA))
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(str(self.folder / CERTIFICATE), str(self.folder / KEY))
        except OSError as error:  # ssl's own errors are some
            raise LinkError(
                f"{self.folder}: its certificates cannot be used: {error}: run scripts/fleet.py join again"
            ) from None
        return context


@dataclass(frozen=True, slots=True)
class Message:
    """What the broker delivered; `retained` is the sender's wish, not only what the broker kept."""

    topic: str
    payload: bytes
    retained: bool


def is_host(text: str) -> bool:
    """Say whether a text is an IP address, or a name that networks and certificates can carry."""
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return len(text) <= 253 and all(map(LABEL.fullmatch, text.split(".")))


class Broker:
    """A connection of one user.

    Args:
        subscriptions: topic and QoS; those at QoS 0 get nothing that was retained.
        will: topic and payload that the broker publishes, retained, when this connection dies.
    """

    def __init__(
        self, access: Access, *, subscriptions: list[tuple[str, int]], will: tuple[str, str] | None = None
    ) -> None:
        self._subscriptions = subscriptions
        self._queue: queue.Queue[Message] = queue.Queue(QUEUE)
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=access.user, protocol=mqtt.MQTTv5)
        self._client.tls_set_context(access.tls())
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = lambda *_: self._news.put("cannot be reached")
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 0
        self._client.connect_async(
            access.host, access.port, KEEPALIVE_S, clean_start=True, properties=session
        )
        self._client.loop_start()

    @property
    def is_up(self) -> bool:
        """Whether the broker took the connection."""
        return self._client.is_connected()

    def publish(self, topic: str, payload: str | bytes, *, retain: bool, qos: int = 1) -> bool:
        """Publish while connected; False where it is not: then the next connection is told everything anew."""
        if not self.is_up:
            return False
        return self._client.publish(topic, payload, qos=qos, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS

    def publish_and_wait(self, topic: str, payload: bytes, timeout_s: float) -> bool:
        """Publish, retained, and wait until the broker has it."""
        info = self._client.publish(topic, payload, qos=1, retain=True)
        try:
            info.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError):
            return False
        return info.is_published()

    def renew(self) -> None:
        """Subscribe anew: what lies at the broker comes once more."""
        if self.is_up:
            self._subscribe(self._client)

    def message(self, wait_s: float = 0.0) -> Message | None:
        """Return the next message, None where none came."""
        try:
            return self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
        except queue.Empty:
            return None

    def news(self) -> str | None:
        """Return what became of the connection, in words; None where nothing did."""
        try:
            return self._news.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """Disconnect; the will is not published."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._news.put(f"refuses: {reason}")
            return
        self._subscribe(client)
        self._news.put("connected")

    def _subscribe(self, client: mqtt.Client) -> None:
        for name, qos in self._subscriptions:
            # 2: nothing that lies there; the flag of what comes stays as it was sent.
            options = SubscribeOptions(qos=qos, retainAsPublished=True, retainHandling=0 if qos else 2)
            client.subscribe(name, options=options)

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._news.put(f"lost: {reason}")

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if len(message.payload) <= LONGEST_RECORD:
            with contextlib.suppress(queue.Full):  # the broker waits meanwhile: this is its thread
                kept = Message(message.topic, bytes(message.payload), bool(message.retain))
                self._queue.put(kept, timeout=PATIENCE_S)
