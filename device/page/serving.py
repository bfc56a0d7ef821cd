"""Serve a page from a thread of this program, at one address, until the program has no more use for it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp

from device.errors import UsageError
from device.page.certificate import certified
from device.page.guard import LIMITS, is_loopback_host

NOBODY = (
    "192.0.2.1",
    9,
)  # an address that is nobody's (RFC 5737): asks which way a packet would leave, sends none
CLOSE_WAIT_S = 3.0


@dataclass(frozen=True)
class Place:
    """Where a page is: a bound socket, its address as a browser writes it, and TLS but on this machine alone."""

    socket: socket.socket
    host: str  # "192.168.1.7:41234", "[::1]:41234"
    tls: ssl.SSLContext | None
    fingerprint: str  # of the certificate, "" without

    @property
    def address(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}/"

    def is_own(self, host: str) -> bool:
        """Say whether a Host header means this place; on this machine alone a tunnel may end at another port."""
        return is_loopback_host(host) if self.tls is None else host == self.host


def bind(text: str = "") -> Place:
    """Take an address such as `192.168.1.7` or `127.0.0.1:8080`; "" is the board's own in its network.

    Raises UsageError where it is none of this machine's, or taken.
    """
    given, port = split_port(text) if text else (own_address(), 0)
    try:
        address = ip_address(given)
        bound = socket.create_server(
            (given, port), family=socket.AF_INET6 if address.version == 6 else socket.AF_INET
        )
    except (ValueError, OSError) as fault:
        number = getattr(fault, "errno", None)
        cause = os.strerror(number) if number else "no IP address"
        raise UsageError(
            f"--page-at {text or given}: {cause}: expected an address of this machine, such as 127.0.0.1:8080"
        ) from None
    tls, fingerprint = (None, "") if address.is_loopback else certified(given)
    shown = f"[{given}]" if address.version == 6 else given
    return Place(bound, f"{shown}:{bound.getsockname()[1]}", tls, fingerprint)


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


class Serving:
    """A page that is served; `close` leaves nothing that answers."""

    def __init__(self, app: ASGIApp, place: Place) -> None:
        tls = place.tls
        factory: Callable[..., ssl.SSLContext] | None = (lambda *_: tls) if tls is not None else None
        self._server = uvicorn.Server(uvicorn.Config(app, ssl_context_factory=factory, **LIMITS))  # type: ignore[arg-type]
        self._place = place
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._server.run(sockets=[self._place.socket])

    def close(self) -> None:
        """Stop listening and drop who is connected."""
        self._server.should_exit = True
        self._thread.join(CLOSE_WAIT_S)
        self._server.force_exit = True
        self._place.socket.close()
