"""A backup: the whole gallery in one encrypted file, opened by a passphrase, by the gallery's own key, or by either.

The content is encrypted with a key of its own (AES-256-GCM), and that key twice: with one made of the passphrase by
Argon2id, for a new board; and with the gallery's, so that the board itself can take a removed subject out of it.

    {"face-unlock backup": 1, "created_at": ..., "salt": ..., "by_passphrase": ..., "by_key": ...}
    nonce, 12 bytes | ciphertext | tag, 16
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from device.command import owner_command
from device.errors import GalleryError, GalleryKeyError
from device.gallery.dump import Dump, dump_from_bytes, dump_to_bytes, names, without
from device.vault.files import erase, sync_folder
from device.vault.sealing import KEY_BYTES, NONCE_BYTES, SealBroken, Sealer, place_of, stretch

TITLE = "face-unlock backup"
PLACE = place_of("backup")
# RFC 9106: with 64 MiB three passes. A passphrase is tried on faster machines than a board.
PASSES = 3
SHORTEST_PASSPHRASE = 12
MAX_HEADER_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a backup; `by_passphrase` is empty where only the gallery's key opens it."""

    created_at: str
    salt: str
    by_passphrase: str
    by_key: str

    def line(self) -> bytes:
        return json.dumps({TITLE: 1, **asdict(self)}).encode() + b"\n"


def create(path: Path, dump: Dump, sealer: Sealer, passphrase: str | None) -> None:
    """Write a new backup; an existing file is not written over."""
    if path.exists():
        raise GalleryError(f"backup {path}: expected a new file, received one that is there: choose another")
    key, salt = os.urandom(KEY_BYTES), os.urandom(16)
    by_passphrase = (
        _wrap(key, _stretched(check_passphrase(passphrase), salt)) if passphrase is not None else b""
    )
    header = Header(dump["created_at"], salt.hex(), by_passphrase.hex(), sealer.seal(key, PLACE).hex())
    _write(path, header, key, dump)


def read(path: Path, sealer: Sealer | None, passphrase: str | None) -> Dump:
    """Return the content of a backup, by the passphrase where one is given, else by the gallery's key."""
    header, body = _parts(path)
    return _opened(path, header, body, _key(path, header, sealer, passphrase))


def purge(path: Path, subject_id: str, sealer: Sealer) -> bool:
    """Take a subject out of a backup, and overwrite the file of before; False where the subject was not in it."""
    old = path.with_name(f"{path.name}.old")
    if old.exists() and not path.exists():
        old.replace(path)  # a purge that was cut off
    header, body = _parts(path)
    key = _key(path, header, sealer, None)
    dump = _opened(path, header, body, key)
    if not any(subject_id in names(row) for rows in dump["tables"].values() for row in rows):
        return False
    path.rename(old)  # zeros are written over the old file, and a power cut leaves one of the two whole
    try:
        _write(path, header, key, without(dump, subject_id))
    except BaseException:
        old.replace(path)
        raise
    erase(old)
    return True


def rewrap(path: Path, old: Sealer, new: Sealer) -> None:
    """Let the gallery's newest key open a backup, after a rotation."""
    header, body = _parts(path)
    key = _key(path, header, old, None)
    renewed = replace(header, by_key=new.seal(key, PLACE).hex())
    _write(path, renewed, key, _opened(path, header, body, key))


def check_passphrase(passphrase: str) -> str:
    """Return the passphrase if it is long enough to resist guessing; the error does not show it."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise GalleryKeyError(
            f"passphrase: {len(passphrase)} characters, expected at least {SHORTEST_PASSPHRASE}: "
            "four random words are a good one"
        )
    return passphrase


def _write(path: Path, header: Header, key: bytes, dump: Dump) -> None:
    nonce = os.urandom(NONCE_BYTES)
    body = AESGCM(key).encrypt(nonce, dump_to_bytes(dump), _bound(header))
    draft = path.with_name(f"{path.name}.new")
    try:
        with open(draft, "wb", opener=_private) as file:  # a stick's file system may know no owner: no fchmod
            file.write(header.line() + nonce + body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path)
    except OSError as error:
        raise GalleryError(
            f"backup {path}: cannot be written: {error.strerror or error}: check the path and the disk"
        ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _bound(header: Header) -> bytes:
    """Return the part of the header that a body is bound to; a rotation of the gallery's key changes the rest."""
    return f"{TITLE} {header.created_at} {header.salt}".encode()


def _parts(path: Path) -> tuple[Header, bytes]:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise GalleryError(f"backup {path}: cannot be read: {error.strerror}: check the path") from error
    try:
        fields = json.loads(head[:MAX_HEADER_BYTES])
        if fields.pop(TITLE) != 1 or not all(isinstance(value, str) for value in fields.values()):
            raise ValueError
        header = Header(**fields)
        for text in (header.salt, header.by_passphrase, header.by_key):
            bytes.fromhex(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise GalleryError(
            f"backup {path}: expected a file of {owner_command('backup create')}, received another: check the name"
        ) from None
    return header, body


def _key(path: Path, header: Header, sealer: Sealer | None, passphrase: str | None) -> bytes:
    try:
        if passphrase is None and sealer is not None:
            return sealer.open(bytes.fromhex(header.by_key), PLACE)
        if passphrase is not None and header.by_passphrase:
            return _unwrap(
                bytes.fromhex(header.by_passphrase), _stretched(passphrase, bytes.fromhex(header.salt))
            )
    except (SealBroken, InvalidTag, ValueError):
        way = "this passphrase" if passphrase is not None else "the gallery's key"
        raise GalleryKeyError(
            f"backup {path}: does not open with {way}: try the other way, or another backup"
        ) from None
    raise GalleryKeyError(f"backup {path}: has no passphrase: only the key of its gallery opens it")


def _opened(path: Path, header: Header, body: bytes, key: bytes) -> Dump:
    try:
        return dump_from_bytes(AESGCM(key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], _bound(header)))
    except (InvalidTag, ValueError):
        raise GalleryError(f"backup {path}: is damaged, or was changed: take another one") from None


def _stretched(passphrase: str, salt: bytes) -> bytes:
    return stretch(passphrase.encode(), salt, PASSES)


def _wrap(key: bytes, by: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(by).encrypt(nonce, key, PLACE)


def _unwrap(wrapped: bytes, by: bytes) -> bytes:
    return AESGCM(by).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], PLACE)
