"""What has to be there after a fault: the gallery as it was, each entry counted, each event in a whole audit."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.access.policy import Usage
from device.build import build_kept, build_keys, build_usage, open_any_gallery, open_audit, open_outside_audit
from device.config import Config
from device.errors import FaceUnlockError
from device.journal.events import EVENTS
from device.journal.trail import BY_RULES
from device.journal.verify import Line, Verdict, read_lines, verify

GUEST = "Eileen"
STAMP_S = 0.002  # a record tells milliseconds


def wall_offset_s() -> float:
    """Return the wall clock less the monotonic one; of some readings the one that was interrupted least."""

    def reading() -> tuple[float, float]:
        before_s, wall_s, after_s = time.monotonic(), time.time(), time.monotonic()
        return after_s - before_s, wall_s - (before_s + after_s) / 2

    return min(reading() for _ in range(20))[1]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the files of a door hold at one moment; `fault` says why they cannot be read."""

    gallery: str = ""  # a digest of all subjects, templates and rules; empty where nobody was ever enrolled
    subjects: tuple[str, ...] = ()
    entries: int = 0  # of the guest
    records: list[dict[str, Any]] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    fault: str = ""
    offset_s: float = field(default_factory=wall_offset_s, compare=False)

    @property
    def granted(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record["event"] == "granted"]

    @property
    def torn(self) -> int:
        """How often the end of the log was torn: told in a record, or still to be told."""
        return len(self.verdict.notes)


def stored(folder: Path) -> Stored:
    """Read the files of a door as it does itself, without writing any."""
    config = config_of(folder)
    if not config.gallery_path.exists() or not config.gallery_path.stat().st_size:
        return Stored()
    try:
        with open_any_gallery(config, read_only=True) as gallery:
            tables = gallery.dump()["tables"]
            names = tuple(each.subject_id for each in gallery.subjects())
            build_kept(config, "usage").read()  # what is lost is a fault
            usage_file = build_usage(config)
            usage = usage_file.of(gallery.profile(GUEST)) if GUEST in names else Usage()
        digest = hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()
        return Stored(digest, names, usage.entries, *_audit(config))
    except FaceUnlockError as error:
        return Stored(fault=str(error))


def config_of(folder: Path) -> Config:
    return replace(Config(), gallery=str(folder / "gallery.db"))


def _audit(config: Config) -> tuple[list[dict[str, Any]], Verdict]:
    ring = build_keys(config).read()
    if ring is None:
        return [], Verdict(problems=["there is no key"])
    records: list[dict[str, Any]] = []
    verdict = Verdict()
    for audit in (open_audit(config, ring), open_outside_audit(config, ring)):
        found = verify(audit.path, ring.audit_keys, audit.head, audit.anchored())
        verdict.records += found.records
        verdict.problems += found.problems
        verdict.notes += found.notes
        # One that does not verify may be anything; that it does not is told.
        lines = [line for line in read_lines(audit.path) if isinstance(line, Line) and not found.problems]
        records += [{**line.record, "mac": line.code} for line in lines]
    return sorted(records, key=lambda record: record["at"]), verdict


def lost(before: Stored, now: Stored, openings: int) -> list[str]:
    """Say what is no longer there: a gallery that does not open or is another one, an entry that was not counted."""
    if now.fault:
        return [now.fault]
    found = [] if now.gallery == before.gallery else ["the gallery is not what it was"]
    if now.entries < before.entries + openings:
        found.append(f"{openings} openings, {now.entries - before.entries} entries counted")
    return found


def unaudited(
    before: Stored, now: Stored, opened_s: Sequence[float], lines: Iterable[bytes], *, may_tear: bool
) -> list[str]:
    """Say what the audit lacks: a chain that does not verify, an opening without its record before it, an event.

    Args:
        opened_s: when the pin opened, monotonic.
        lines: what the recognizer told as JSON; it records an event before it tells it.
        may_tear: the power was cut.
    """
    if now.fault:
        return []  # told as lost already
    found = list(now.verdict.problems)
    if now.torn > before.torn and not may_tear:
        found.append("its end is torn")
    if now.records[: len(before.records)] != before.records:
        found.append("records of before are gone")
    granted = [_wall_s(each) - now.offset_s for each in now.granted[len(before.granted) :]]
    stamp_s = STAMP_S + abs(now.offset_s - before.offset_s)  # the wall clock may be set meanwhile, a little
    for number, at_s in enumerate(sorted(opened_s), 1):
        if sum(told_s <= at_s + stamp_s for told_s in granted) < number:
            found.append(f"opening {number} has no record before it")
    return found + _untold(now.records[len(before.records) :], lines)


def _wall_s(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["at"].replace("Z", "+00:00")).timestamp()


def _untold(records: Sequence[dict[str, Any]], lines: Iterable[bytes]) -> list[str]:
    """Say which status events have no record; not of the time after `audit_lost`, which a later record counts."""
    told: Counter[str] = Counter()
    for line in lines:
        event = _event(line)
        if event.get("event") == "audit_lost":
            break
        name = event.get("event")
        told_of = "granted" if name == "granted" else EVENTS[name].record if name in EVENTS else ""
        if told_of and event.get("reason") not in BY_RULES:
            told[told_of] += 1
    known = Counter("stopped" if each["event"] == "fault" else each["event"] for each in records)
    return [f"{count} {event} told, {known[event]} recorded" for event, count in (told - known).items()]


def _event(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # the line of a program that was killed in it
        return {}
    return found if isinstance(found, dict) else {}
