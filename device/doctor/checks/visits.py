"""The last visits: the door's own lines in the journal, or the records of the audit where there is none."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from device.build import open_any_gallery, outside_audit_path
from device.config import Config
from device.console import describe
from device.doctor.checks.services import is_installed
from device.doctor.examination import Setup, unseen
from device.doctor.finding import Finding, Light, green
from device.doctor.host import Host
from device.errors import FaceUnlockError
from device.journal.verify import read_lines
from device.moment import in_utc

NAME = "approaches"
SHOWN = 10
UNIT = "face-unlock"
CLOCK = re.compile(r"^\d\d:\d\d:\d\d (\[demo[^\]]*\] )?")
TROUBLE = "docs/owner/trouble.md has the cure of each reason"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the door: when it was written, s since 1970, and its text."""

    at_s: float
    text: str

    @property
    def at(self) -> str:
        """The moment in UTC, ISO 8601."""
        return in_utc(datetime.fromtimestamp(self.at_s, timezone.utc))


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of a running door."""

    age_s: float
    fps: float
    camera_lost: bool
    link: str = (
        ""  # how the link stands with the broker: one of device.desk.wire.LINKS, "" where there is none
    )


def check(setup: Setup) -> Iterator[Finding]:
    """Yield the last visits, the newest last."""
    lines = read_journal(setup.host, "approach", SHOWN)
    if lines is None:
        if is_installed(setup.host):
            yield unseen(NAME, "this user may not read the journal, where each visit has its line")
            return
        lines = read_audit(setup.config)
    if not lines:
        yield green(NAME, "no visit is recorded yet")
    yield from map(judge, lines)


def judge(line: Line) -> Finding:
    """Return the finding of one visit: green where the door opened."""
    text = line.text.removeprefix("approach: ")
    opened = "stage opened" in text or text.startswith("granted")
    return Finding(NAME, Light.GREEN if opened else Light.YELLOW, text, "" if opened else TROUBLE, line.at)


def read_journal(host: Host, event: str, most: int) -> list[Line] | None:
    """Return the door's last lines of that event, the oldest first; None where the journal cannot be read."""
    what = ("-u", UNIT, "--no-pager", "-q", "-o", "json", "-r", "-n", str(most))
    told = host.ask("journalctl", *what, "-g", f'{event}(: |")')
    if told is None:
        # journalctl fails where nothing matches, and where it may not look
        may_look = host.ask("journalctl", "-u", UNIT, "--no-pager", "-q", "-o", "cat", "-n", "1")
        return [] if may_look else None
    found = [line for line in map(read_line, told.splitlines()) if line is not None]
    return [line for line in reversed(found) if line.text.startswith(f"{event}: ")]


def read_audit(config: Config) -> list[Line]:
    """Return the last entries and refusals of the audit, the oldest first: of a door without a journal."""
    names = names_of(config)
    found: deque[Line] = deque(maxlen=2 * SHOWN)
    for path in (config.audit_path, outside_audit_path(config)):
        kept: deque[Line] = deque(maxlen=SHOWN)
        for line in read_lines(path):
            if isinstance(line, tuple):  # bytes at the end that are no record
                continue
            try:
                record = line.record
                at_s = datetime.fromisoformat(record["at"].replace("Z", "+00:00")).timestamp()
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if record.get("event") in ("granted", "refused"):
                who = names.get(record.get("subject", ""), record.get("subject"))
                words = [who, record.get("reason", "").replace("_", " ")]
                kept.append(Line(at_s, f"{record['event']}: {', '.join(word for word in words if word)}"))
        found.extend(kept)
    return sorted(found, key=lambda line: line.at_s)[-SHOWN:]


def names_of(config: Config) -> dict[str, str]:
    """Return the name of each alias, none where the gallery cannot be read."""
    try:
        with closing(open_any_gallery(config, read_only=True)) as gallery:
            return gallery.aliases()
    except FaceUnlockError:
        return {}


def read_line(text: str) -> Line | None:
    """Return a line of journalctl's JSON as the door meant it for a person, None where it is none."""
    try:
        record: dict[str, Any] = json.loads(text)
        message, at_s = record["MESSAGE"], int(record["__REALTIME_TIMESTAMP"]) / 1e6
        if isinstance(message, list):  # bytes that are no UTF-8
            message = bytes(message).decode(errors="replace")
        said = CLOCK.sub("", message)
        return Line(at_s, describe(json.loads(said)) if said.startswith("{") else said)
    except (ValueError, KeyError, TypeError):
        return None


def last_heartbeat(host: Host) -> Heartbeat | None:
    """Return what the door said last of its camera, None where that is not to be seen."""
    lines = read_journal(host, "heartbeat", 1)
    if not lines:
        return None
    told = lines[-1]
    rate = re.search(r"fps ([\d.]+)", told.text)
    lost = "camera lost true" in told.text
    link = re.search(r"link (\w+)", told.text)
    age_s = max(0.0, time.time() - told.at_s)
    return Heartbeat(age_s, float(rate[1]) if rate else 0.0, lost, link[1] if link else "")
