"""Read an audit log back and check that its chain is whole."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.errors import AuditError
from device.journal.audit import NO_CODE, RECORD, TEXT_LIMIT, Head, Link, chain_code, full_files, is_anchored

CUTS = {
    "no_head": "the head was missing, so records before it may have been cut off",
    "head_spoiled": "a slot of the head was spoiled, so the record before it may have been cut off",
}


@dataclass(slots=True)
class Verdict:
    """What the check of a log found: `problems` in order, the first broken record first; `notes` are no tampering."""

    records: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Line:
    """A whole record, where it stands, and the bytes before it that are none."""

    where: str
    n: int
    key_version: int
    body: bytes
    code: str
    torn: bytes

    @property
    def record(self) -> dict[str, Any]:
        """Return what stands in it; ValueError where another hand left something that a reader should not print."""
        try:
            record = json.loads(self.body + b"}")
        except RecursionError:  # 5,000 brackets
            raise ValueError("too deep") from None
        if not all(_is_plain(value) for value in record.values()):
            raise ValueError("a value that no program of this project writes")
        return record


def _is_plain(value: object) -> bool:
    """Say whether a value is a number or a short printable text: nothing that breaks a line or moves a cursor."""
    if isinstance(value, str):
        return value.isprintable() and len(value) <= TEXT_LIMIT
    return isinstance(value, int | float) and abs(value) < 1e18


def read_lines(path: Path) -> Iterator[Line | tuple[Path, bytes]]:
    """Yield the records of all files of a log, oldest first, and after each file the bytes left over at its end."""
    for file in [*full_files(path), path]:
        torn: list[bytes] = []
        for number, line in enumerate(_content(file).split(b"\n"), 1):
            parts = RECORD.fullmatch(line)
            if parts is None:
                torn.append(line)
                continue
            where = f"{file.name}:{number}"
            yield Line(where, int(parts[2]), int(parts[3]), parts[1], parts[4].decode(), b"\n".join(torn))
            torn = []
        yield file, b"\n".join(torn)


def verify(
    path: Path, keys: Mapping[int, bytes], head: Head | None = None, anchored: Link | None = None
) -> Verdict:
    """Follow the chain from its first record to the head, and name what breaks it.

    `anchored` is the newest record that the anchor knows of; None where there is no anchor.
    """
    verdict, end, start, pruned, after = Verdict(), None, 1, {0}, 0
    for line in read_lines(path):
        if isinstance(line, tuple):
            _check_rest(*line, path, verdict)
            continue
        record = _record(line, verdict)
        start = line.n if end is None else start
        _check_record(line, record, end, keys, verdict)
        pruned |= {record["last"]} if record.get("event") == "pruned" and "last" in record else set()
        end = Link(line.n, line.code)
        verdict.records += 1
        if anchored is not None:
            after += line.n > anchored.n and is_anchored(str(record.get("event")), line.n)
            if line.n == anchored.n and line.code != anchored.code:
                verdict.problems.append(f"{line.where}: record {line.n} is not the one that the anchor knows")
    if start - 1 not in pruned:
        missing = f"records 1 to {start - 1} are missing: no record says that they were let go"
        verdict.problems.insert(0, missing)
    _check_end(end, head or Head(path.with_name(f"{path.name}.head"), keys), anchored, verdict)
    if after > 1:  # a power cut leaves one
        verdict.problems.append(
            f"the anchor is {after} records behind the log: an older one was put back, or it cannot be written"
        )
    return verdict


def _check_record(
    line: Line, record: dict[str, Any], end: Link | None, keys: Mapping[int, bytes], verdict: Verdict
) -> None:
    """Check one record against the one before it."""
    told = f"{line.where}: record {line.n} ({record.get('event')}, {record.get('at')})"
    expected = end.n + 1 if end else line.n
    gap = line.n != expected
    previous = record.get("prev", NO_CODE) if end is None or (gap and "prev" in record) else end.code
    key = keys.get(line.key_version)
    if key is None:
        verdict.problems.append(f"{told}: was made with key {line.key_version}, which is not here")
    elif not hmac.compare_digest(chain_code(key, str(previous), line.body), line.code):
        verdict.problems.append(f"{told}: was changed, or does not follow the record before it")
    elif gap:
        missing = (
            f"records {expected} to {line.n - 1} are"
            if line.n > expected
            else "the numbers run back: records are"
        )
        verdict.problems.append(f"{told}: {missing} missing before it")
    elif record.get("event") == "cut" and record.get("reason") in CUTS:
        verdict.problems.append(f"{told}: {CUTS[record['reason']]}")
    if line.torn and not _tells_torn(line, record):
        verdict.problems.append(f"{told}: {len(line.torn)} bytes before it are no record")
    elif line.torn:
        verdict.notes.append(f"{told}: a power cut tore {len(line.torn)} bytes before it")


def _tells_torn(line: Line, record: dict[str, Any]) -> bool:
    same = record.get("sha256") == hashlib.sha256(line.torn).hexdigest()
    return record.get("event") in ("torn", "cut") and record.get("bytes") == len(line.torn) and same


def _check_rest(file: Path, rest: bytes, path: Path, verdict: Verdict) -> None:
    if rest and file == path:
        verdict.notes.append(f"{file.name}: its end is torn, {len(rest)} bytes: the next record will say so")
    elif rest:
        verdict.problems.append(f"{file.name}: {len(rest)} bytes at its end are no record")


def _check_end(end: Link | None, head: Head, anchored: Link | None, verdict: Verdict) -> None:
    """Hold the last record against what the head and the anchor say."""
    last, known = (end.n if end else 0), head.read()
    newest = max((link for link in (known, anchored) if link), key=lambda link: link.n, default=None)
    if newest is not None and newest.n > last:
        gone = "they were cut off" if end or known else "log and head were deleted"
        verdict.problems.append(f"records {last + 1} to {newest.n} are missing at the end: {gone}")
    elif known is not None and end is not None and known.n == end.n and known.code != end.code:
        verdict.problems.append(f"record {end.n} at the end is not the one that was written")
    elif end is not None and head.doubt(end) == "head_spoiled":
        verdict.problems.append(
            f"{head.path}: one of its two slots was spoiled, and no record is ahead of the other: a newest record "
            "may have been cut off"
        )
    if known is None and end is not None:
        verdict.problems.append(
            f"{head.path}: missing or changed: nobody can tell whether the end was cut off"
        )


def _record(line: Line, verdict: Verdict) -> dict[str, Any]:
    try:
        return line.record
    except ValueError:
        verdict.problems.append(f"{line.where}: record {line.n} cannot be read")
        return {}


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise AuditError(
            f"audit {file}: cannot be read: {error.strerror}: check the path and the rights"
        ) from None
