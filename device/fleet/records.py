"""What keeper and door say to each other inside the envelopes: records of people, the manifest, the door's answer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from device.access.profile import Profile, profile_from_json, profile_to_json
from device.errors import LinkError, UsageError

FAULTS = (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError)


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One person at one door; `templates` is (n, D), L2-normalized, made by the model `model_id`."""

    subject_id: str
    model_id: str
    templates: npt.NDArray[np.float32]
    profile: Profile

    def text(self) -> bytes:
        return json.dumps(
            {
                "subject_id": self.subject_id,
                "model_id": self.model_id,
                "dimension": self.templates.shape[1],
                "templates": base64.b64encode(self.templates.astype("<f4").tobytes()).decode(),
                "profile": profile_to_json(self.profile),
            },
            sort_keys=True,
        ).encode()

    @classmethod
    def read(cls, text: bytes) -> Record:
        """Read a record that the keeper signed; LinkError where it makes no sense."""
        try:
            known = json.loads(text)
            flat = np.frombuffer(base64.b64decode(known["templates"]), "<f4")
            templates = flat.reshape(-1, int(known["dimension"])).astype(np.float32)
            profile = profile_from_json(known["profile"])
            return cls(str(known["subject_id"]), str(known["model_id"]), templates, profile)
        except FAULTS:
            raise LinkError("a record of the keeper makes no sense: is it of a newer release?") from None


def version_of(text: bytes) -> str:
    """Return what a record's content is known by."""
    return hashlib.sha256(text).hexdigest()[:32]


def hash_of(people: Mapping[str, str]) -> str:
    """Return the hash of a whole set: of each id and its version."""
    listed = "".join(f"{each} {version}\n" for each, version in sorted(people.items()))
    return hashlib.sha256(listed.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Who is to be at a door: `people` maps the id of each record to its version; `at` is UTC, ISO 8601."""

    sequence: int
    at: str
    model_id: str
    people: Mapping[str, str]

    def text(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def read(cls, text: bytes) -> Manifest:
        """Read a manifest that the keeper signed; LinkError where it makes no sense."""
        try:
            known = json.loads(text)
            people = {str(each): str(version) for each, version in known["people"].items()}
            if datetime.fromisoformat(known["at"]).tzinfo is None:
                raise ValueError
            return cls(int(known["sequence"]), str(known["at"]), str(known["model_id"]), people)
        except FAULTS:
            raise LinkError("a manifest of the keeper makes no sense: is it of a newer release?") from None


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """What a door answers: `sequence` is applied, `seen` the newest it heard of; `reason` "": it has the whole set.

    `people` of `wanted` are here, `missing` records did not come yet. `entries` is how often each guest entered here.
    """

    sequence: int = 0
    seen: int = 0
    hash: str = ""
    people: int = 0
    wanted: int = 0
    missing: int = 0
    reason: str = ""
    model_id: str = ""
    version: str = ""
    at: str = ""
    entries: Mapping[str, int] = field(default_factory=dict)

    @property
    def in_sync(self) -> bool:
        return not self.reason and self.seen == self.sequence > 0

    @property
    def is_sane(self) -> bool:
        """Whether every value is one that a door counts or says: a stolen door may answer anything."""
        counts = (self.sequence, self.seen, self.people, self.wanted, self.missing)
        words = (self.hash, self.reason, self.model_id, self.version, self.at)
        entries = self.entries.items() if isinstance(self.entries, dict) else [("", -1)]
        return (
            all(map(is_count, counts))
            and all(isinstance(word, str) and len(word) <= 100 and word.isprintable() for word in words)
            and all(is_count(count) for _, count in entries)
        )

    def text(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, text: bytes) -> Ack:
        """Read an answer; fields of a newer release are left out."""
        try:
            known: dict[str, Any] = json.loads(text)
            ack = cls(**{key: known[key] for key in cls.__dataclass_fields__ if key in known})
            if not ack.is_sane:
                raise ValueError
            return ack
        except FAULTS:
            raise LinkError("an answer of a door makes no sense: is it of a newer release?") from None
