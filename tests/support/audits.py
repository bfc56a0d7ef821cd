"""An audit with one key, and what stands in it."""

from __future__ import annotations

from pathlib import Path

from device.journal.audit import Audit
from device.journal.verify import read_lines, verify

KEYS = {1: bytes(range(32))}


def fill_audit(audit: Audit, count: int = 6) -> None:
    for number in range(count):
        audit.append("granted", subject=f"{number:016x}")


def records(path: Path) -> list[dict]:
    return [line.record for line in read_lines(path) if not isinstance(line, tuple)]


def problems(path: Path) -> list[str]:
    return verify(path, KEYS).problems
