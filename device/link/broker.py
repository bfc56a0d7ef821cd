"""Broker: one MQTT connection, made again whenever it is lost; messages come by a queue.

Everything is asked for at QoS 0, with a session that ends with the connection: a command that was sent while this door
was away is gone, and what lies at the broker comes with the next connection. At QoS 1 a broker that keeps every change
writes its whole file once more with each receipt. paho connects anew without a clean start unless told each time, so
it is.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.client import MQTT_LOG_ERR
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from device.desk.credentials import Access
from device.desk.wire import LONGEST_RECORD
from device.link.standing import Standing, connected, failed, lost, refused

KEEPALIVE_S = 20
RECEIPT_S = 0.1  # between two looks at what came while a receipt is awaited
RECONNECT_S = (1, 60)
QUEUE = 256  # messages that wait for this process
PATIENCE_S = (
    5.0  # for room among them; what is dropped then lies at the broker, and comes with the next connection
)


@dataclass(frozen=True, slots=True)
class Message:
    """What the broker delivered; `retained` is the sender's wish, not only what the broker kept."""

    topic: str
    payload: bytes
    retained: bool


class _Client(mqtt.Client):
    """A client that keeps why its last try to connect failed."""

    fault: BaseException | None = None

    def reconnect(self) -> MQTTErrorCode:
        self.fault = None
        try:
            return super().reconnect()
        except OSError as fault:
            self.fault = fault
            raise
        except ValueError as fault:  # a name that IDNA does not know would end paho's thread for good
            self.fault = fault
            raise OSError(str(fault)) from fault


class Broker:
    """A connection of one user.

    Args:
        subscriptions: topic, and whether what lies there is wanted as well.
        echo: a topic of which one's own messages come back: behind all that was handed out before.
        will: topic and payload that the broker publishes, retained, when this connection dies.
    """

    def __init__(
        self,
        access: Access,
        *,
        subscriptions: list[tuple[str, bool]],
        echo: str = "",
        will: tuple[str, str] | None = None,
    ) -> None:
        self._subscriptions, self._echo = subscriptions, echo
        self._queue: queue.Queue[Message] = queue.Queue(QUEUE)
        self._log = ""  # what paho wrote last about a fault
        self._news: queue.SimpleQueue[Standing] = queue.SimpleQueue()
        self._client = _Client(CallbackAPIVersion.VERSION2, client_id=access.user, protocol=mqtt.MQTTv5)
        self._client.tls_set_context(access.tls())
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = lambda *_: self._news.put(failed(self._client.fault))
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_log = self._on_log
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

    def publish_and_wait(
        self, topic: str, payload: bytes, timeout_s: float, take: Callable[[Message], object]
    ) -> bool:
        """Publish, retained, and wait until the broker has it.

        Args:
            take: called for what comes meanwhile: a full queue would hold up the broker's receipt as well.
        """
        info, until_s = self._client.publish(topic, payload, qos=1, retain=True), time.monotonic() + timeout_s
        try:
            while not info.is_published() and time.monotonic() < until_s:
                while (message := self.message()) is not None:
                    take(message)
                info.wait_for_publish(RECEIPT_S)
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

    def news(self) -> Standing | None:
        """Return what became of the connection; None where nothing did."""
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
            self._news.put(refused(str(reason)))
            return
        self._subscribe(client)
        self._news.put(connected())

    def _subscribe(self, client: mqtt.Client) -> None:
        for name, is_kept in self._subscriptions:
            # 2: nothing that lies there; the flag of what comes stays as it was sent; one's own does not come back.
            options = SubscribeOptions(
                qos=0, noLocal=True, retainAsPublished=True, retainHandling=0 if is_kept else 2
            )
            client.subscribe(name, options=options)
        if self._echo:
            client.subscribe(self._echo, options=SubscribeOptions(qos=0, noLocal=False, retainHandling=2))

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._news.put(lost(str(reason), self._log))
        self._log = ""

    def _on_log(self, _client: mqtt.Client, _data: Any, level: int, text: str) -> None:
        if level == MQTT_LOG_ERR:
            self._log = text

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if len(message.payload) <= LONGEST_RECORD:
            # Full: the broker waits meanwhile, this is its thread. A topic that is no UTF-8 is nobody's, and ends none.
            with contextlib.suppress(queue.Full, UnicodeDecodeError):
                kept = Message(message.topic, bytes(message.payload), bool(message.retain))
                self._queue.put(kept, timeout=PATIENCE_S)
