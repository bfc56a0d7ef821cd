"""Standing: how a link stands with its broker, in one word of device/desk/wire.py, and why in a few more. Pure.

TLS 1.3 tells a client that its certificate is refused only after the handshake, and paho hands that to its log alone.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass

from device.desk.wire import CONNECTED, LOST, REFUSED, UNREACHABLE, UNTRUSTED

ALERT = re.compile(r"\[SSL: \w*?ALERT_(?P<alert>\w+)\]")
NOT_BELIEVED = "the broker's certificate is not believed"


@dataclass(frozen=True, slots=True)
class Standing:
    """`word` is for the door, `text` for whoever reads the link's log."""

    word: str
    text: str


def connected() -> Standing:
    return Standing(CONNECTED, "connected")


def refused(text: str) -> Standing:
    """Return what a broker's own refusal means."""
    return Standing(REFUSED, f"refuses: {text}")


def lost(text: str, log: str) -> Standing:
    """Return what the end of a connection means.

    Args:
        log: what paho wrote last about its socket; an alert in it is the broker's refusal of this certificate.
    """
    if found := ALERT.search(log):
        return refused(found["alert"].lower().replace("_", " "))
    return Standing(LOST, f"lost: {text}")


def failed(error: BaseException | None) -> Standing:
    """Return what a failed try to connect means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Standing(UNTRUSTED, f"{NOT_BELIEVED}: {error.verify_message.rstrip('.')}")
    if isinstance(error, ssl.SSLError):
        return lost(str(error), str(error))
    if isinstance(error, socket.gaierror):
        return Standing(UNREACHABLE, "cannot be reached: its name is unknown here")
    if isinstance(error, TimeoutError):
        return Standing(UNREACHABLE, "cannot be reached: no answer")
    why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return Standing(UNREACHABLE, f"cannot be reached{why}")
