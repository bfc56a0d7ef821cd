"""Sealed records: encrypted, and readable only in the place they were made for.

AES-256-GCM with a random nonce a record:

    format, 1 byte | key version, 4 | nonce, 12 | ciphertext | tag, 16

The associated data are the header and the record's place: its kind, subject and model. So a template that is moved to
another subject, another model or another table does not open. Keys of single uses are derived from the one that is
kept (HKDF-SHA256), for a key should serve one purpose.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Mapping

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
FORMAT = 1
# RFC 9106, second recommendation, for what may be guessed: 64 MiB.
MEMORY_KIB, LANES = 65_536, 4
HEADER = struct.Struct(">BI")  # format, key version
OVERHEAD_BYTES = HEADER.size + NONCE_BYTES + TAG_BYTES
# Random nonces of 96 bits: NIST SP 800-38D allows 2^32 records of one key.


class SealBroken(ValueError):
    """A record does not open: another key, another place, or changed bytes."""


def derive(key: bytes, purpose: str) -> bytes:
    """Return the 32-byte key of one purpose."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"face-unlock " + purpose.encode()).derive(key)


def stretch(secret: bytes, salt: bytes, passes: int) -> bytes:
    """Return a 32-byte key of a secret that may be guessed; each guess costs as much as this call (Argon2id)."""
    return hash_secret_raw(
        secret,
        salt,
        time_cost=passes,
        memory_cost=MEMORY_KIB,
        parallelism=LANES,
        hash_len=KEY_BYTES,
        type=Type.ID,
    )


def place_of(kind: str, subject_id: str = "", model_id: str = "") -> bytes:
    """Return the associated data of a record's place; lengths keep ("ab", "c") and ("a", "bc") apart."""
    parts = [text.encode() for text in (kind, subject_id, model_id)]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class Sealer:
    """Seal and open records with the keys of one purpose, by version; the newest one seals."""

    def __init__(self, keys: Mapping[int, bytes], purpose: str) -> None:
        self._ciphers = {version: AESGCM(derive(key, purpose)) for version, key in keys.items()}
        self._mac_keys = {version: derive(key, f"{purpose} mac") for version, key in keys.items()}
        self.newest = max(keys)

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Return the sealed record."""
        header, nonce = HEADER.pack(FORMAT, self.newest), os.urandom(NONCE_BYTES)
        return header + nonce + self._ciphers[self.newest].encrypt(nonce, data, header + place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Return what was sealed at this place, or raise SealBroken."""
        header, start = sealed[: HEADER.size], HEADER.size + NONCE_BYTES
        if len(sealed) < OVERHEAD_BYTES:
            raise SealBroken(f"{len(sealed)} bytes, expected at least {OVERHEAD_BYTES}")
        cipher = self._ciphers.get(version_of(sealed))
        if cipher is None:
            raise SealBroken(f"sealed with key {version_of(sealed)}, which is not here")
        try:
            return cipher.decrypt(sealed[HEADER.size : start], sealed[start:], header + place)
        except InvalidTag:
            raise SealBroken("another key, another place, or changed bytes") from None

    def mac(self, data: bytes, version: int | None = None) -> bytes:
        """Return the 32-byte code that only a holder of the key can make; of the newest key unless told."""
        key = self._mac_keys.get(self.newest if version is None else version)
        if key is None:
            raise SealBroken(f"made with key {version}, which is not here")
        return hmac.digest(key, data, "sha256")


def version_of(sealed: bytes) -> int:
    """Return the key version that a record's header names; 0 where there is no header of this format."""
    form, version = HEADER.unpack(sealed[: HEADER.size])
    return version if form == FORMAT else 0
