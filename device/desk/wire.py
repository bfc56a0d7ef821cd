"""What door and link say to each other: one JSON object per packet of an AF_UNIX socket.

    from the door       {"kind": "hello", ...}       which door this is, and what it takes; first on each connection
                        {"kind": "state", ...}       all of its state, each time that it changes
                        {"kind": "event", ...}       somebody was let in or refused, an alarm
    from the fleet      {"kind": "fleet", ...}       whether this door has the keeper's set (device/fleet)
                        {"kind": "ack", "body": ...} the same for the keeper, sealed; base64
    to the door         {"command": "..."}           as it came from the broker
                        {"link": "..."}              how the link stands with the broker: one of LINKS
    to the fleet        {"topic": "...", "body": ...}  as it came; base64

Neither end trusts the other: a packet that is too long or no object is none, and every value is looked at where it is
used. Pure: no clock, no socket.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

Packet = dict[str, Any]
LONGEST_COMMAND = 4_096  # bytes of a packet to the door
LONGEST_RECORD = 98_304  # bytes of an envelope: a person with 70 templates, or a manifest of 1,300 people
LONGEST_PACKET = 150_000  # bytes: such a record in base64, and its topic
OPEN, LOCK = "open", "lock"
FACE_OFF, FACE_ON, PERSON_OFF, PERSON_ON = "face_off", "face_on", "person_off", "person_on"
DEEDS = (OPEN, LOCK, FACE_OFF, FACE_ON, PERSON_OFF, PERSON_ON)
CONNECTING, CONNECTED, EXPIRING = "connecting", "connected", "expiring"
UNREACHABLE, UNTRUSTED, REFUSED, LOST, AWAY = "unreachable", "untrusted", "refused", "lost", "away"
LINKS = {
    CONNECTING: "looks for the broker",
    CONNECTED: "connected to the broker",
    EXPIRING: "connected to the broker, with a certificate that ends within 60 days",
    UNREACHABLE: "the broker cannot be reached",
    UNTRUSTED: "the broker's certificate is not believed: another house's, or over, or this board's clock is wrong",
    REFUSED: "the broker refuses this door's certificate: it was revoked, is over, or of another house",
    LOST: "the connection to the broker broke",
    AWAY: "the link does not run",  # said by the door itself
}
NONCE = re.compile(r"[0-9A-Za-z_-]{8,64}")


@dataclass(frozen=True, slots=True)
class Request:
    """A command from outside; `at_s` is when it was issued, in seconds since 1970 by the clock of who did."""

    do: str
    door: str
    at_s: float
    nonce: str
    code: str = field(default="", repr=False)
    subject: str = ""


def write_packet(packet: Packet) -> bytes:
    return json.dumps(packet, separators=(",", ":")).encode()


def read_packet(data: bytes, longest: int = LONGEST_PACKET) -> Packet | None:
    """Return the object of a packet, None where there is none."""
    if len(data) > longest:
        return None
    try:
        packet = json.loads(data)
    except (ValueError, RecursionError):  # 5,000 digits, 100,000 brackets
        return None
    return packet if isinstance(packet, dict) else None


def read_request(text: object) -> Request | None:
    """Return the request of a command, None where it is none."""
    known = read_packet(text.encode(errors="replace"), LONGEST_COMMAND) if isinstance(text, str) else None
    if known is None:
        return None
    words = [known.get(key, "") for key in ("do", "door", "nonce", "code", "subject")]
    at_s = known.get("at")
    if not all(isinstance(word, str) for word in words) or not isinstance(at_s, int | float):
        return None
    do, door, nonce, code, subject = words
    if do not in DEEDS or not NONCE.fullmatch(nonce) or not math.isfinite(at_s):
        return None
    return Request(do, door, float(at_s), nonce, code, subject)


def pack(body: bytes) -> str:
    """Return bytes as a packet has them."""
    return base64.b64encode(body).decode()


def unpack(text: object) -> bytes | None:
    """Return the bytes of a packet, None where there are none."""
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
