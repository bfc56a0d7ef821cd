"""Who may look at the status page over a network: whoever shows a viewer's certificate of this house's authority.

The same authority vouches for the doors at the broker, for Home Assistant and for the keeper; none of those may look.
`scripts/fleet.py join` puts into the page's folder what a door shows; `scripts/fleet.py viewer` makes what a person
shows.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.command import owner_command
from device.errors import LinkError
from device.page.crowd import BriefHTTP

NAMES, CA, CERTIFICATE, KEY = "page.json", "ca.pem", "page.pem", "page.key"
REVOKED = "revoked.pem"  # the keeper's list, where the owner brought it here
# Of a common name. No door has the mark in its name, and the broker gives nothing to a user with a wildcard in it.
VIEWER = "viewer#"


@dataclass(frozen=True)
class Entrance:
    """What a door shows, and the names by which a browser may ask for it."""

    names: tuple[str, ...]
    tls: ssl.SSLContext

    @classmethod
    def read(cls, folder: Path) -> Entrance:
        """Read the page's folder; LinkError where it is not whole."""
        try:
            names = json.loads((folder / NAMES).read_text(encoding="utf-8"))["names"]
            return cls(tuple(map(str, names)), tls_of(folder))
        except (OSError, ValueError, KeyError, TypeError) as fault:  # ssl's own errors are OSErrors
            raise LinkError(
                f"{folder}: no certificate of this door can be used: {fault}: run "
                f"{owner_command('fleet join FILE')} at this door"
            ) from None

    def is_own(self, host: str) -> bool:
        """Say whether a Host header has one of the door's names, at whatever port."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name.strip("[]").lower() in self.names


def tls_of(folder: Path) -> ssl.SSLContext:
    """Return TLS that shows the door's certificate, and asks for one of this house."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    context.load_verify_locations(folder / CA)
    if (folder / REVOKED).exists():
        context.load_verify_locations(folder / REVOKED)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def is_viewer(certificate: Mapping[str, Any] | None) -> bool:
    """Say whether a verified certificate, as `ssl` gives it, is a viewer's."""
    parts = dict(part for (part, *_) in (certificate or {}).get("subject", ()))
    return str(parts.get("commonName", "")).startswith(VIEWER)


class ViewersOnly(BriefHTTP):
    """HTTP for viewers; whoever shows another certificate of the house is hung up on."""

    def begin(self, transport: asyncio.Transport) -> None:
        if is_viewer(transport.get_extra_info("peercert")):
            super().begin(transport)
        else:
            self.hang_up()
