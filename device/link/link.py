"""Link: carry a door's state to the broker, and what comes back to the door; it decides nothing."""

from __future__ import annotations

import collections
import json
import time
from datetime import datetime, timezone
from typing import Any

from device.desk.credentials import SOON
from device.desk.wire import CONNECTED, CONNECTING, EXPIRING, LONGEST_COMMAND, Packet, pack, unpack
from device.journal.status import StatusLog
from device.link.broker import Broker, Message
from device.link.discovery import (
    OFFLINE_TEXT,
    ONLINE_TEXT,
    discovery,
    discovery_topic,
    event_message,
    state_message,
)
from device.link.hub import Hub
from device.link.topics import ACK, COMMAND, EVENT, ONLINE, STATE, is_fleet, levels_below, topic

WAIT_S = 0.1  # for packets of the door, between two looks at the broker
MOST = 32  # messages of the broker at a turn
WAITING = 256  # records that wait for a fleet that applies others
# Between two tellings of all, beside those at each connection. A broker writes all it has with each of them, which
# wears its card: ten doors with thirty people are 2 MB a message.
EVERYTHING_S = 6 * 3_600.0
COMMANDS = (20, 1.0)  # more commands within so many seconds are dropped


class Link:
    """One door's link; `step` is called again and again.

    Args:
        ends: when its certificate does; None: nobody knows.
    """

    def __init__(
        self, door: str, hub: Hub, broker: Broker, status: StatusLog, ends: datetime | None = None
    ) -> None:
        self._door, self._hub, self._broker, self._status = door, hub, broker, status
        self._ends, self._standing, self._told_door = ends, CONNECTING, ""
        self._hello: Packet | None = None
        self._state: Packet | None = None
        self._fleet: Packet | None = None
        self._ack: bytes | None = None
        self._told: dict[str, bytes] = {}  # topic -> what the broker has of it
        self._components: dict[str, str] = {}  # of the last discovery, and the platform of each
        self._waiting: collections.deque[Packet] = collections.deque()  # records for a fleet that is busy
        self._told_s = float("-inf")
        self._commands, self._since_s, self._is_flood_told = 0, float("-inf"), False

    def step(self) -> None:
        """Carry what there is."""
        while (news := self._broker.news()) is not None:
            self._status.event("broker", reason=news.word, error=news.text)
            self._standing = news.word
            if news.word == CONNECTED:
                self._told.clear()
        for role, packet in self._hub.step(WAIT_S):
            self._take(role, packet)
        for _ in range(MOST):
            if len(self._waiting) >= WAITING or (message := self._broker.message()) is None:
                break
            self._carry(message)
        while self._waiting and self._hub.send("fleet", self._waiting[0]):
            self._waiting.popleft()
        if not self._hub.has("fleet"):
            self._waiting.clear()
        self._tell(time.monotonic())
        self._tell_door()

    def close(self) -> None:
        """Say that this door is away."""
        self._publish(topic(self._door, ONLINE), OFFLINE_TEXT)

    def _take(self, role: str, packet: Packet) -> None:
        kind = packet.get("kind")
        if role == "fleet" and kind == "fleet":
            if self._fleet is None:
                self._broker.renew()  # a fleet that starts needs all that lies at the broker
            self._fleet = packet
        elif role == "fleet" and kind == "ack":
            self._ack = unpack(packet.get("body"))
        elif role == "door" and kind == "hello" and packet.get("door") == self._door:
            self._hello, self._told_door = packet, ""
        elif role == "door" and kind == "state":
            self._state = packet
        elif role == "door" and kind == "event" and (event := event_message(packet)) is not None:
            self._broker.publish(topic(self._door, EVENT), _json(event), retain=False)

    def _carry(self, message: Message) -> None:
        """Hand a message to whom it is for; one of another door's topic, or a command that was retained, to nobody."""
        levels = levels_below(self._door, message.topic)
        if levels == (COMMAND,):
            if self._floods() or len(message.payload) > LONGEST_COMMAND // 2:
                self._tell_flood()
            elif message.retained:
                self._refuse("retained")
            elif not self._hub.send("door", {"command": message.payload.decode(errors="replace")}):
                self._refuse("door_away")
        elif is_fleet(levels) and message.payload and self._hub.has("fleet"):
            self._waiting.append({"topic": "/".join(levels), "body": pack(message.payload)})

    def _refuse(self, reason: str) -> None:
        """Say that a command did not even reach the door."""
        self._status.event("outside_refused", reason=reason)
        event = event_message({"event": "outside_refused", "reason": reason})
        self._broker.publish(topic(self._door, EVENT), _json(event or {}), retain=False)

    def _tell_flood(self) -> None:
        """Say once in a while that commands are thrown away: a line for each would wear the card."""
        if not self._is_flood_told:
            self._is_flood_told = True
            self._status.event("outside_refused", reason="flood")

    def _floods(self) -> bool:
        most, span_s = COMMANDS
        if time.monotonic() - self._since_s > span_s:
            self._commands, self._since_s, self._is_flood_told = 0, time.monotonic(), False
        self._commands += 1
        return self._commands > most

    def _tell(self, now_s: float) -> None:
        """Publish what the broker does not have yet; all of it now and then."""
        if now_s - self._told_s > EVERYTHING_S:
            self._told_s = now_s
            self._told.clear()
        if not self._hub.has("fleet"):
            self._fleet = None
        is_there = self._hub.has("door") and self._state is not None
        self._publish(topic(self._door, ONLINE), ONLINE_TEXT if is_there else OFFLINE_TEXT)
        if self._ack is not None:
            self._publish(topic(self._door, ACK), self._ack)
        if self._hello is None or self._state is None:
            return
        self._publish(discovery_topic(self._door), _json(self._discovery(self._hello)))
        in_sync = self._fleet.get("in_sync") is True if self._fleet is not None else None
        self._publish(topic(self._door, STATE), _json(state_message(self._state, in_sync)))

    def _tell_door(self) -> None:
        """Tell the door how this link stands with the broker."""
        word = self._standing
        if word == CONNECTED and self._ends is not None and self._ends - datetime.now(timezone.utc) < SOON:
            word = EXPIRING
        if word != self._told_door and self._hello is not None and self._hub.send("door", {"link": word}):
            self._told_door = word

    def _discovery(self, hello: Packet) -> dict[str, Any]:
        """Return the discovery message; a component that is gone is named once more, empty, which removes it."""
        message = discovery(hello)
        platforms = {key: each["platform"] for key, each in message["components"].items()}
        self._components |= platforms
        gone = {key: {"platform": each} for key, each in self._components.items() if key not in platforms}
        return {**message, "components": {**message["components"], **gone}}

    def _publish(self, name: str, payload: str | bytes) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        if self._told.get(name) != data and self._broker.publish(name, data, retain=True):
            self._told[name] = data


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
