"""The audit log: who was let in or refused, enrolled or removed, in a chain that shows tampering.

One JSON object a line. Each has the number of the one before plus one, and a code (HMAC-SHA256, with a key derived from
the gallery's) over its own text and the code before. So a record that is changed, taken out or put in breaks the chain
at its place. The newest two numbers and codes stand in a second file too, the head, and the newest of all records but
refusals in the anchor beside the key (vault/anchor.py), so that a shortened end shows, with the head or without.

    {"n":7,"at":"2026-03-01T07:30:02.480Z","event":"granted","subject":"5f0c2a91d3b8e674","k":1,"mac":"..."}

Only the fields of `FIELDS` exist: no picture, no similarity, and of a subject the alias alone, which the gallery turns
into a name for as long as the subject is enrolled. Each record is on the disk before `append` returns; a power cut can
tear the last one only, and the next writer says so in a record of its own (`torn`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from device.errors import AuditError, GalleryError
from device.journal.events import RECORDS
from device.vault.anchor import Anchor, AnchorFile
from device.vault.files import create_private, hold, sync_folder, write_all

FIELDS: dict[str, type] = {
    "subject": str,
    "reason": str,
    "door": str,
    "version": str,
    "file": str,
    "templates": int,
    "exit_code": int,
    "count": int,
    "first": int,
    "last": int,
    "bytes": int,
    "jump_s": float,
    "sha256": str,
    "demo": bool,
    "prev": str,
}
TEXT_LIMIT = 200
NO_CODE = "0" * 64  # before the first record
TAIL_BYTES = 16_384  # more than the longest record and a torn one after it
SLOT = 160  # bytes of one of the head's two slots
RECORD = re.compile(rb'(\{"n":([0-9]{1,18}),.*,"k":([0-9]{1,9})),"mac":"([0-9a-f]{64})"\}')
ANCHORED_REFUSALS = 20  # each so many-th record is anchored, a refusal too; all others are anyway


@dataclass(frozen=True, slots=True)
class Link:
    """The end of a chain: number and code of a record, and when it was written (empty: not known)."""

    n: int
    code: str
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a log file is full, and how many full ones are kept."""

    max_bytes: int = 1_000_000
    keep_files: int = 20


class Audit:
    """Append to one log; several programs may do so at the same time.

    Args:
        keys: of the chain, by version (`KeyRing.audit_keys`); the newest one writes.
        head: the file of the newest numbers and codes; beside the key, if that lies elsewhere.
        anchor: None where nothing vouches for the end but the head.
    """

    def __init__(
        self,
        path: Path,
        keys: Mapping[int, bytes],
        *,
        head: Path | None = None,
        anchor: AnchorFile | None = None,
        limits: Limits = Limits(),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.head = Head(head or path.with_name(f"{path.name}.head"), keys)
        self._anchor = anchor
        self._keys, self._limits, self._now = dict(keys), limits, now

    def anchored(self) -> Link | None:
        """Return the newest record that the anchor knows of, None where it knows of none."""
        marks = self._anchor.read() if self._anchor is not None else Anchor()
        known = marks.logs.get(self.path.name)
        return Link(known[0], known[1]) if known is not None else None

    def end(self) -> Link | None:
        """Return the last record that is there, None without any."""
        return read_tail(self.path, newest_full(self.path))[0] if self.path.exists() else None

    def append(self, event: str, **fields: Any) -> None:
        """Add a record and wait until it is on the disk; AuditError where that fails, and nothing is left half."""
        checked = checked_fields(event, fields)
        with self._faults(), self.head.locked():
            create_private(self.path)
            end = self._tell_clock(self._mend(), event)
            if self.path.stat().st_size >= self._limits.max_bytes:
                end = self._turn_over(end)
            end = self._write(end, event, checked)
            if is_anchored(event, end.n):
                self._fasten(end)

    def _fasten(self, end: Link) -> None:
        """Let the anchor know of a record; the record stands where that fails, and the next one tries again."""
        if self._anchor is not None:
            with suppress(GalleryError):
                self._anchor.update(lambda marks: marks.with_record(self.path.name, end.n, end.code))

    def _mend(self) -> Link:
        """Return the end of the chain, after saying what a power cut or another hand did to it."""
        end, torn = read_tail(self.path, newest_full(self.path))
        head = self.head.read()
        known = max((link for link in (head, self._known()) if link), key=lambda link: link.n, default=None)
        missing = max(0, known.n - (end.n if end else 0)) if known else 0
        note: dict[str, Any] = (
            {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()} if torn else {}
        )
        if not torn and not _ends_in_line_feed(self.path):
            self._put(b"\n")
        if known is not None and missing:
            self.head.write(known)
            return self._write(known, "cut", {"count": missing, **note, "prev": known.code}, torn)
        if end is not None and (reason := self.head.doubt(end)):
            self.head.write(end)
            return self._write(end, "cut", {"reason": reason, **note, "prev": end.code}, torn)
        if head is None:
            self.head.write(Link(0, NO_CODE))  # so that a first record without a head is no cut-off log
        elif end is not None and end.n > head.n:
            self.head.write(end)  # a power cut came between the two
        end = end or Link(0, NO_CODE)
        return self._write(end, "torn", {**note, "prev": end.code}, torn) if torn else end

    def _known(self) -> Link | None:
        """Return what the anchor knows; one that is lost is told by the gallery, and stops no record."""
        with suppress(GalleryError):
            return self.anchored()
        return None

    def _tell_clock(self, end: Link, event: str) -> Link:
        """Say so before a record whose time lies before that of the last one, whoever set the clock, and when."""
        now = _time_of(_stamp(self._now()))
        passed_s = (now - _time_of(end.at)).total_seconds() if end.at else 0.0
        if passed_s >= 0 or event == "clock_jumped":
            return end
        return self._write(end, "clock_jumped", {"jump_s": passed_s})

    def _write(self, end: Link, event: str, fields: Mapping[str, Any], torn: bytes | None = None) -> Link:
        version = max(self._keys)
        record = {"n": end.n + 1, "at": _stamp(self._now()), "event": event, **fields}
        if not self.path.stat().st_size:
            record["prev"] = end.code
        body = json.dumps({**record, "k": version}, separators=(",", ":"))[:-1].encode()
        new = Link(end.n + 1, chain_code(self._keys[version], end.code, body), record["at"])
        self._put((b"\n" if torn else b"") + body + b',"mac":"' + new.code.encode() + b'"}\n')
        self.head.write(new)
        return new

    def _put(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, size)  # a full disk: what was not told as written is not there
            raise
        finally:
            os.close(descriptor)

    def _turn_over(self, end: Link) -> Link:
        """Go on in a new file that carries the chain, and let the oldest go beyond those that are kept."""
        full = full_files(self.path)
        name = self.path.with_name(f"{self.path.name}.{_number(full[-1]) + 1 if full else 1:06d}")
        self.path.rename(name)
        create_private(self.path)
        sync_folder(self.path)
        end = self._write(end, "rotated", {"file": name.name})
        for old in [*full, name][: -self._limits.keep_files]:
            first, last = span(old)
            end = self._write(end, "pruned", {"file": old.name, "first": first, "last": last})
            old.unlink()  # after its record: a power cut in between leaves a file too many, not one too few
        return end

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as fault:
            cause = getattr(fault, "strerror", None) or fault
            raise AuditError(
                f"audit {self.path}: cannot be written: {cause}: check the disk and the rights"
            ) from fault


class Head:
    """The end of the chain in a file of two slots, written in turn: a power cut spoils one of them at most."""

    def __init__(self, path: Path, keys: Mapping[int, bytes]) -> None:
        self.path = path
        self._keys = dict(keys)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs out."""
        create_private(self.path)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            hold(descriptor, self.path)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> Link | None:
        """Return the newer of the slots that are whole, None without any."""
        return max(self._slots(), key=lambda link: link.n, default=None)

    def doubt(self, end: Link) -> str:
        """Say in a word why the end of a log may not be its end, "" where it is.

        A power cut can spoil the slot of the record that was just written, and then that record is the log's last one.
        A slot that is spoiled beside the log's last record was spoiled by another hand.
        """
        slots = sorted(link.n for link in self._slots())
        if not slots:
            return "no_head"
        in_turn = slots[-1] == 0 or slots == [slots[-1] - 1, slots[-1]]
        return "" if in_turn or end.n > slots[-1] else "head_spoiled"

    def _slots(self) -> list[Link]:
        data = self.path.read_bytes() if self.path.exists() else b""
        slots = (self._parsed(data[start : start + SLOT]) for start in (0, SLOT))
        return [link for link in slots if link is not None]

    def write(self, link: Link) -> None:
        version = max(self._keys)
        text = f"{link.n} {link.code} {version}"
        line = f"{text} {self._code(text, version)}".ljust(SLOT - 1) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.pwrite(descriptor, line.encode(), link.n % 2 * SLOT)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _parsed(self, slot: bytes) -> Link | None:
        parts = slot.decode("ascii", "replace").split()
        if len(parts) != 4 or not (parts[0].isdigit() and parts[2].isdigit()):
            return None
        text, version = " ".join(parts[:3]), int(parts[2])
        known = version in self._keys and hmac.compare_digest(
            self._code(text, version).encode(), parts[3].encode()
        )
        return Link(int(parts[0]), parts[1]) if known else None

    def _code(self, text: str, version: int) -> str:
        return hmac.digest(self._keys[version], b"head " + text.encode(), "sha256").hex()[:64]


def is_anchored(event: str, number: int) -> bool:
    """Say whether a record is one that the anchor is told of; a flood of refusals must not wear the card."""
    return event != "refused" or number % ANCHORED_REFUSALS == 1


def chain_code(key: bytes, previous: str, body: bytes) -> str:
    """Return the code of a record: over the code before it and its own text."""
    return hmac.digest(key, previous.encode() + body, "sha256").hex()


def checked_fields(event: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields in their fixed order; an event or field that is not listed is a ValueError."""
    if event not in RECORDS:
        raise ValueError(f"event {event!r}: expected one of {', '.join(RECORDS)}")
    odd = [
        key
        for key, value in fields.items()
        if key not in FIELDS or type(value) not in (FIELDS[key], type(None))
    ]
    if odd:
        raise ValueError(
            f"field {odd[0]!r} of event {event!r}: expected one of {', '.join(FIELDS)}, of its type"
        )
    known = {key: fields[key] for key in FIELDS if fields.get(key) is not None}
    return {key: printable(value) if isinstance(value, str) else value for key, value in known.items()}


def printable(text: str) -> str:
    """Return a text as a record may have it: short, on one line, and nothing that moves a cursor."""
    return "".join(each if each.isprintable() else "?" for each in text[:TEXT_LIMIT])


def full_files(path: Path) -> list[Path]:
    """List the full files of a log, oldest first."""
    found = [each for each in path.parent.glob(f"{path.name}.*") if re.fullmatch(r"\.[0-9]{6,}", each.suffix)]
    return sorted(found, key=_number)


def newest_full(path: Path) -> Path | None:
    return full[-1] if (full := full_files(path)) else None


def read_tail(path: Path, before: Path | None) -> tuple[Link | None, bytes | None]:
    """Return the last whole record of a log, or of the full file before it, and what a power cut left after it."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        lines = file.read().split(b"\n")
    torn: list[bytes] = []
    while lines:
        line = lines.pop()
        parts = RECORD.fullmatch(line)
        if parts is not None:
            left = b"\n".join(torn)
            return Link(int(parts[2]), parts[4].decode(), _written_at(parts[1])), left or None
        torn.insert(0, line)
    left = b"\n".join(torn)
    end = read_tail(before, None)[0] if before is not None else None
    return end, left or None


def span(path: Path) -> tuple[int, int]:
    """Return the first and the last number of a file's records."""
    numbers = [int(parts[2]) for line in path.read_bytes().split(b"\n") if (parts := RECORD.fullmatch(line))]
    return (numbers[0], numbers[-1]) if numbers else (0, 0)


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _ends_in_line_feed(path: Path) -> bool:
    with path.open("rb") as file:
        if not (size := os.fstat(file.fileno()).st_size):
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"


def _written_at(body: bytes) -> str:
    """Return the time of a record; empty where another hand left none."""
    try:
        at = str(json.loads(body + b"}")["at"])
        _time_of(at)
    except (ValueError, KeyError, TypeError, RecursionError):  # 10,000 brackets
        return ""
    return at


def _stamp(at_s: float) -> str:
    at = datetime.fromtimestamp(at_s, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_of(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
