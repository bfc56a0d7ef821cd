"""Where a page is: the address at which it listens, and whether it needs TLS there."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from device.errors import UsageError

# An address that is nobody's (RFC 5737): asks which way a packet would leave, sends none.
NOBODY = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Place:
    """A bound socket, its address as a browser writes it, and TLS but on this machine alone."""

    socket: socket.socket
    ip: str
    host: str  # "192.168.1.7:41234", "[::1]:41234"
    is_tls: bool

    @property
    def address(self) -> str:
        return f"http{'s' if self.is_tls else ''}://{self.host}/"


def bind(text: str = "") -> Place:
    """Take an address such as `192.168.1.7` or `127.0.0.1:8080`; "" is the board's own in its network.

    Raises UsageError where it is none of this machine's, or taken.
    """
    given, port = split_port(text) if text else (own_address(), 0)
    try:
        address = ip_address(given)
        if address.is_unspecified:  # no browser could open what would be printed
            raise ValueError
        bound = socket.create_server(
            (given, port), family=socket.AF_INET6 if address.version == 6 else socket.AF_INET
        )
    except (ValueError, OSError) as fault:
        number = getattr(fault, "errno", None)
        cause = os.strerror(number) if number else "not one address"
        raise UsageError(
            f"--page-at {text or given}: {cause}: expected an address of this machine, such as 127.0.0.1:8080"
        ) from None
    shown = f"[{given}]" if address.version == 6 else given
    return Place(bound, given, f"{shown}:{bound.getsockname()[1]}", not address.is_loopback)


def split_port(text: str) -> tuple[str, int]:
    """Return address and port; 0, any port, where none is given."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    else:
        address, port = text, ""
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise UsageError(f"--page-at {text[:60]}: expected a port of 1 to 65535, received {port[:10]!r}")
    return address, int(port or 0)


def own_address() -> str:
    """Return this machine's address in its network, the loopback where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(NOBODY)
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
