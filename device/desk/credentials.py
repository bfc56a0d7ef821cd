"""Credentials: what scripts/fleet.py join wrote for a link: where the broker is, and what this door shows it."""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from device.command import owner_command
from device.errors import LinkError

FOLDER = Path("/var/lib/face-unlock-link")  # of face-unlock-link.service
ADDRESS, CA, CERTIFICATE, KEY = "link.json", "ca.pem", "client.pem", "client.key"
SOON = timedelta(days=60)  # a certificate that ends by then is told
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # of a host's name


@dataclass(frozen=True, slots=True)
class Access:
    """Where the broker is, and who this is to it: the user that its certificate names, until that ends."""

    host: str
    port: int
    user: str
    folder: Path
    ends: datetime | None = None

    @classmethod
    def read(cls, folder: Path) -> Access:
        """Read what scripts/fleet.py join put into a folder."""
        try:
            known = json.loads((folder / ADDRESS).read_text(encoding="utf-8"))
            ends = datetime.fromisoformat(known["ends"]) if "ends" in known else None
            access = cls(str(known["host"]), int(known["port"]), str(known["user"]), folder, ends)
            if (
                (ends is not None and ends.tzinfo is None)
                or not is_host(access.host)
                or not 1 <= access.port <= 65535
            ):
                raise ValueError
            return access
        except OSError as error:
            raise LinkError(
                f"{folder / ADDRESS}: {error.strerror}: run {owner_command('fleet join FILE')} at this door first"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise LinkError(
                f"{folder / ADDRESS}: is damaged: run {owner_command('fleet join FILE')} again"
            ) from None

    def tls(self) -> ssl.SSLContext:
        """Return TLS that knows this house's authority alone, and shows this door's certificate."""
        try:
            context = ssl.create_default_context(cafile=str(self.folder / CA))
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(str(self.folder / CERTIFICATE), str(self.folder / KEY))
        except OSError as error:  # ssl's own errors are some
            raise LinkError(
                f"{self.folder}: its certificates cannot be used: {error}: run {owner_command('fleet join FILE')} again"
            ) from None
        return context


def is_host(text: str) -> bool:
    """Say whether a text is an IP address, or a name that networks and certificates can carry."""
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return len(text) <= 253 and all(map(LABEL.fullmatch, text.split(".")))
