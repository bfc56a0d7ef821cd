"""What the keeper prints of its doors: one line each, and how far a set has come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from device.fleet.records import Ack

HEAD = ("door", "in sync", "people", "manifest", "version", "model", "last seen", "")
REASONS = {
    "incomplete": "waits for records: push again",
    "older_manifest": "was given an older manifest: an old broker, or an attack",
    "conflict": "two keepers signed the same manifest number: settle which one leads, then push --overtake",
    "other_model": "has another network model: set `model` alike, enroll anew",
    "not_stored": "could not store it: look at its disk",
    "name_taken": "somebody enrolled at that door has the same name: rename one of the two",
    "removed_here": "somebody was removed at that door: push again, or take them from it",
    "behind": "is applying it",
    "nothing_yet": "has applied nothing yet",
    "not_the_keepers": "was given something that the keeper did not sign",
    "unreadable": "cannot read it: is it of another release?",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A door as its keeper knows it; `ack` None: it never answered."""

    door: str
    sequence: int
    ack: Ack | None

    @property
    def in_sync(self) -> bool:
        return self.ack is not None and self.ack.in_sync and self.ack.sequence == self.sequence

    @property
    def reason(self) -> str:
        """Why it is not in sync, in words."""
        if self.in_sync:
            return ""
        if self.ack is None:
            return "never answered"
        if self.ack.reason:
            return REASONS.get(self.ack.reason, self.ack.reason)
        return "behind: away, or nothing was pushed since"


def people(count: int) -> str:
    return f"{count} {'person' if count == 1 else 'people'}"


def progress(row: Row) -> str:
    """Say in one line how far a door has come."""
    if row.ack is None:
        return f"{row.door}: no answer yet"
    if row.in_sync:
        return f"{row.door}: in sync, {people(row.ack.people)}"
    came = row.ack.wanted - row.ack.missing
    return f"{row.door}: {came} of {people(row.ack.wanted)} came ({row.reason})"


def table(rows: Sequence[Row], now: datetime) -> str:
    """Return the doors as a table."""
    lines = [HEAD, *(_cells(row, now) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Row, now: datetime) -> tuple[str, ...]:
    ack = row.ack
    if ack is None:
        return (row.door, "no", "-", f"- of {row.sequence}", "-", "-", "never", row.reason)
    return (
        row.door,
        "yes" if row.in_sync else "no",
        f"{ack.people} of {ack.wanted}",
        f"{ack.sequence} of {row.sequence}",
        ack.version,
        ack.model_id,
        _ago(ack.at, now),
        row.reason,
    )


def _ago(at: str, now: datetime) -> str:
    try:
        seconds = (now - datetime.fromisoformat(at)).total_seconds()
    except (ValueError, TypeError):
        return "unknown"
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"
