"""What the door hands to the status page: one file in memory (/run), written anew with each line that the door tells.

The page has neither gallery nor key: people, their rules and the self-test's verdict stand in the file, in words, and
no picture, template or similarity. The file is written in a thread of its own, so it never holds up the door.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from device.errors import FaceUnlockError
from device.journal.status import LineWriter

EVENTS_KEPT = 60
FILE_MODE = 0o640  # the group is the recognizer's, and the page's
# What comes too often, or is said again in the line of the approach.
PASSING = ("challenge", "refused", "heartbeat")
MAX_BYTES = 2_000_000

Facts = Callable[[], dict[str, Any]]


class Snapshot:
    """Keep the last lines of a door in a file; an output of the status log.

    Args:
        facts: what is to be said of the door beside its lines; asked for in the door's own thread, with each heartbeat.
    """

    def __init__(self, path: Path, facts: Facts = dict) -> None:
        self.facts = facts
        self._lines = LineWriter(open_output=lambda: _File(path), reopen=True)

    def put(self, line: dict[str, Any]) -> None:
        """Take one line of the door; the lines of a heartbeat and of the start carry the facts along."""
        told = dict(line)
        if line["event"] in ("ready", "heartbeat"):
            try:
                told["facts"] = self.facts()
            except FaceUnlockError as fault:
                told["facts"] = {"fault": str(fault)}
        self._lines.put(told)

    def close(self, wait_s: float) -> None:
        self._lines.close(wait_s)


class _File:
    """The file, whole at every moment: it is written beside and put in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[str, Any] = {"events": deque(maxlen=EVENTS_KEPT), "facts": {}, "heartbeat": None}

    def write(self, data: bytes) -> int:
        line = json.loads(data)
        told = self._told
        told["facts"] = line.pop("facts", told["facts"])
        if line["event"] == "heartbeat":
            told["heartbeat"] = line
        if line["event"] not in PASSING:
            told["events"].append(line)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        text = json.dumps({**told, "written_at": now, "events": list(told["events"])})
        draft = self._path.with_name(f".{self._path.name}")
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE
        )
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, FILE_MODE)  # whatever the umask is
            file.write(text)
        draft.replace(self._path)
        return len(data)

    def close(self) -> None:
        """The file stays: what the door said last is worth knowing."""


def read_snapshot(path: Path) -> dict[str, Any] | None:
    """Return what a door wrote last, None where there is nothing that can be read."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    good = (
        isinstance(told, dict)
        and isinstance(told.get("events"), list)
        and isinstance(told.get("facts"), dict)
    )
    return told if good else None
