"""The keeper's folder, beside its gallery: what the broker, Home Assistant, and each new door are to be given.

broker/          for /etc/mosquitto/face-unlock/: authority, the broker's certificate, access list, revocations
homeassistant/   ca.pem, client.pem, client.key: for Home Assistant's MQTT integration
keeper/          the keeper's own access to the broker
NAME.door        all that a new door needs, its secrets with it: carry it there, then delete it
NAME.p12         what a viewer of the status pages takes into a browser: carry it there, then delete it
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

from device.command import owner_command
from device.desk.credentials import ADDRESS, CA, CERTIFICATE, KEY, Access
from device.errors import LinkError, UsageError
from device.fleet.authority import Authority, Credential
from device.page import viewers
from device.vault.files import replace_private, sync_folder

SHIPPED_ACL = Path(__file__).resolve().parents[2] / "systemd/mosquitto/acl"
BROKER, OWN = "broker", "keeper"
TITLE = "face-unlock door"


def folder_of(gallery: Path) -> Path:
    return gallery.with_name(f"{gallery.name}.fleet")


def write(path: Path, content: str | bytes) -> None:
    """Write a private file, and its folder where it is missing."""
    try:
        for folder in (path.parent.parent, path.parent):
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
                folder.chmod(0o700)
                sync_folder(folder)
        replace_private(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise LinkError(
            f"{path}: cannot be written: {error.strerror or error}: check the path and the rights"
        ) from None


def write_client(folder: Path, access: dict[str, Any]) -> Access:
    """Write what a client of the broker needs; `access` is as a new door's file has it."""
    address = {key: access[key] for key in ("host", "port", "user")}
    ends = load_pem_x509_certificate(access["certificate"].encode()).not_valid_after_utc
    write(folder / ADDRESS, json.dumps({**address, "ends": ends.isoformat()}) + "\n")
    write(folder / CA, access["ca"])
    write(folder / CERTIFICATE, access["certificate"])
    write(folder / KEY, access["key"])
    return Access(folder=folder, ends=ends, **address)


def client_access(
    authority: Authority, address: tuple[str, int], user: str, credential: Credential
) -> dict[str, Any]:
    """Return all that lets a user speak to the broker."""
    host, port = address
    known = {"host": host, "port": port, "user": user, "ca": authority.certificate}
    return {**known, "certificate": credential.certificate, "key": credential.key}


def page_access(authority: Authority, names: list[str], now: datetime) -> dict[str, Any]:
    """Return what a door's status page shows to viewers."""
    credential = authority.page(names, now)
    known = {"names": names, "ca": authority.certificate}
    return {**known, "certificate": credential.certificate, "key": credential.key}


def write_page(folder: Path, access: dict[str, Any]) -> None:
    """Write what a door's status page needs; `access` is as a new door's file has it."""
    write(folder / viewers.NAMES, json.dumps({"names": access["names"]}) + "\n")
    write(folder / viewers.CA, access["ca"])
    write(folder / viewers.CERTIFICATE, access["certificate"])
    write(folder / viewers.KEY, access["key"])


def write_viewer(path: Path, name: str, authority: Authority, credential: Credential, password: str) -> None:
    """Write what a person's browser takes: certificate, key and authority in one file, under a password."""
    data = pkcs12.serialize_key_and_certificates(
        name.encode(),
        load_pem_private_key(credential.key.encode(), None),  # type: ignore[arg-type]
        load_pem_x509_certificate(credential.certificate.encode()),
        [load_pem_x509_certificate(authority.certificate.encode())],
        BestAvailableEncryption(password.encode()),
    )
    write(path, data)


def write_broker(folder: Path, authority: Authority, server: Credential, revocations: str) -> None:
    """Write what the broker needs."""
    for name, text in (
        ("ca.pem", authority.certificate),
        ("server.pem", server.certificate),
        ("server.key", server.key),
        ("acl", SHIPPED_ACL.read_text(encoding="utf-8")),
        ("revoked.pem", revocations),
    ):
        write(folder / name, text)


def read_bundle(path: Path) -> dict[str, Any]:
    """Read the file of a new door."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known[TITLE] != 1 or not {"door", "secret", "keeper", "keeper_box"} <= set(known["member"]):
            raise ValueError
        access = known["access"]
        load_pem_x509_certificate(access["certificate"].encode())
        if not all(isinstance(access[key], str) for key in ("host", "user", "ca", "key")):
            raise ValueError
        if not isinstance(access["port"], int):
            raise ValueError
        page = dict(known["page"]) if "page" in known else None  # older keepers gave none
        return {"member": known["member"], "access": access, "page": page}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}: check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"{path}: expected the file that {owner_command('fleet add-door')} wrote, received another: check the name"
        ) from None
