"""Letters: what is to lie at the broker for a door, how it is known again there, and how long one may be. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from device.desk.wire import LONGEST_RECORD
from device.errors import UsageError
from device.link.topics import MANIFEST


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to lie at the broker for one door, retained: the levels of its topic below the door, and the envelope.

    `body` b"": it lies there already, as this keeper laid it down.
    """

    levels: tuple[str, ...]
    body: bytes


def digest_of(body: bytes) -> str:
    """Return what an envelope that lies at the broker is known by."""
    return hashlib.sha256(body).hexdigest()


def tag_of(version: str, digest: str) -> str:
    """Return the mark of a record's content and the envelope that carries it."""
    return hashlib.sha256(f"{version} {digest}".encode()).hexdigest()[:16]


def check_size(door: str, letters: Sequence[Letter]) -> None:
    """Refuse a set that broker and link would not carry."""
    longest = max(letters, key=lambda letter: len(letter.body))
    if len(longest.body) > LONGEST_RECORD:
        what = "the manifest: too many people" if longest.levels == (MANIFEST,) else "one person"
        raise UsageError(
            f"door {door!r}: expected at most {LONGEST_RECORD} bytes a message, received {len(longest.body)} for "
            f"{what}: take people from this door, or enroll them with --replace and fewer samples"
        )
