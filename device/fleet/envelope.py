"""Envelopes between keeper and door: signed by the keeper, sealed for one door, and the door's answers back.

    keeper -> door   ephemeral X25519 key, 32 | nonce, 12 | AES-256-GCM( signature, 64 | text )
                     key: HKDF-SHA256 of X25519(ephemeral, door); Ed25519 over context and text
    door -> keeper   nonce, 12 | AES-256-GCM( text ), key: HKDF-SHA256 of X25519(door, keeper)

The context (kind, door, id) is signed and is the associated data, so that no envelope is good for another door, or in
another's place: a door that opens one cannot hand it on to the next in the keeper's name.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from device.errors import LinkError
from device.vault.sealing import place_of

KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES = 32, 12, 64
MANIFEST, RECORD, SUCCESSION, ACK, SUBMISSION = (
    "manifest",
    "record",
    "succession",
    "ack",
    "submission",
)  # kinds


class EnvelopeBroken(LinkError):
    """What came is not the keeper's, not for this door, or was changed."""


def context_of(kind: str, door: str, name: str = "") -> bytes:
    """Return what an envelope is bound to."""
    return b"face-unlock fleet 1 " + place_of(kind, door, name)


def new_box_key() -> bytes:
    """Return a private X25519 key."""
    return X25519PrivateKey.generate().private_bytes_raw()


def box_public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def new_signing_key() -> bytes:
    """Return a private Ed25519 key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def signing_public(private: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign(text: bytes, context: bytes, signing_key: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(signing_key).sign(context + text)


def check_signature(signature: bytes, text: bytes, context: bytes, keeper: bytes) -> None:
    """Raise EnvelopeBroken where a text is not the keeper's."""
    try:
        Ed25519PublicKey.from_public_bytes(keeper).verify(signature, context + text)
    except (InvalidSignature, ValueError):
        raise EnvelopeBroken("the signature is not the keeper's") from None


def seal(text: bytes, context: bytes, *, signing_key: bytes, door: bytes) -> bytes:
    """Return a text, signed, for one door's public key."""
    ephemeral = X25519PrivateKey.generate()
    cipher = _cipher(ephemeral, door, context)
    nonce = os.urandom(NONCE_BYTES)
    sealed = cipher.encrypt(nonce, sign(text, context, signing_key) + text, context)
    return ephemeral.public_key().public_bytes_raw() + nonce + sealed


def open_sealed(envelope: bytes, context: bytes, *, secret: bytes, keeper: bytes) -> bytes:
    """Return the text of an envelope for the door of this secret, signed by this keeper; else EnvelopeBroken."""
    ephemeral, rest = envelope[:KEY_BYTES], envelope[KEY_BYTES:]
    try:
        cipher = _cipher(X25519PrivateKey.from_private_bytes(secret), ephemeral, context)
        opened = cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise EnvelopeBroken("does not open: for another door, another place, or changed") from None
    signature, text = opened[:SIGNATURE_BYTES], opened[SIGNATURE_BYTES:]
    check_signature(signature, text, context, keeper)
    return text


def answer(text: bytes, context: bytes, *, secret: bytes, other: bytes) -> bytes:
    """Return a text that only the two holders of these keys can make or read."""
    nonce = os.urandom(NONCE_BYTES)
    cipher = _cipher(X25519PrivateKey.from_private_bytes(secret), other, context)
    return nonce + cipher.encrypt(nonce, text, context)


def open_answer(envelope: bytes, context: bytes, *, secret: bytes, other: bytes) -> bytes:
    """Return the text of an answer; else EnvelopeBroken."""
    try:
        cipher = _cipher(X25519PrivateKey.from_private_bytes(secret), other, context)
        return cipher.decrypt(envelope[:NONCE_BYTES], envelope[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise EnvelopeBroken("does not open: another's, or changed") from None


def _cipher(private: X25519PrivateKey, public: bytes, context: bytes) -> AESGCM:
    """Return the cipher of two keys; ValueError where the public one is none or a weak point."""
    shared = private.exchange(X25519PublicKey.from_public_bytes(public))
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=context).derive(shared))
