"""The records of a running program: in two logs, so that what anybody can cause takes no room from the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device.journal.approaches import Approaches
from device.journal.audit import Audit, Limits, full_files
from device.journal.events import EVENTS, Sink
from device.journal.status import StatusLog
from device.journal.trail import AuditTrail
from device.journal.verify import read_lines, verify
from device.types import Decision, Reason

KEYS = {1: bytes(32)}
SMALL = Limits(max_bytes=4000, keep_files=2)


class Journal:
    """A status log with an audit of small files."""

    def __init__(self, folder: Path) -> None:
        self.main, self.outside = folder / "audit", folder / "audit-outside"
        self.trail = AuditTrail(
            lambda: Audit(self.main, KEYS, limits=SMALL),
            outside=lambda: Audit(self.outside, KEYS, limits=SMALL),
            demo=False,
        )
        self.log = StatusLog(writers=[self.trail], demo=False)

    def records(self, path: Path) -> list[dict[str, Any]]:
        return [line.record for line in read_lines(path) if not isinstance(line, tuple)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.log.close()


def test_a_flood_of_refusals_and_covered_lenses_leaves_grants_enrollments_and_alarms_where_they_are(journal):
    journal.trail.record("enrolled", subject="a")
    journal.trail.record("granted", subject="a", reason="face")
    journal.log.event("alarm", reason="forced")
    for number in range(150):
        journal.log.event("refused", reason="below_threshold")
        journal.trail.record("refused", subject="a", reason="disabled")
        journal.log.event(("camera_covered", "camera_clear")[number % 2], reason="dark")
    assert [each["event"] for each in journal.records(journal.main)] == ["enrolled", "granted", "alarm"]
    assert full_files(journal.main) == []
    assert len(full_files(journal.outside)) == SMALL.keep_files
    assert verify(journal.main, KEYS).problems == []
    assert verify(journal.outside, KEYS).problems == []


def test_two_reasons_in_turn_for_an_hour_are_a_few_records_that_count_every_frame(journal):
    """They were a record each: 20 MB of audit in 3.6 hours."""
    approaches, frames = Approaches(), 36_000
    for number in range(frames):
        reason = (Reason.BELOW_THRESHOLD, Reason.SPOOF_SUSPECTED)[number % 2]
        for name, fields in approaches.see(Decision(False, reason, number / 10), number / 10):
            journal.log.event(name, **fields)
    for name, fields in approaches.end():
        journal.log.event(name, **fields)
    records = journal.records(journal.outside)
    assert (
        len(records) <= 60 * 2 * 6
    )  # of a minute: so often is each of two reasons told, and what was held back
    assert all(each["event"] in ("refused", "rotated", "pruned") for each in records)
    kept = sum(each.get("count", 1) for each in records if each["event"] == "refused")
    assert kept <= frames


def test_without_a_second_log_there_is_one_for_all(tmp_path):
    trail = AuditTrail(lambda: Audit(tmp_path / "audit", KEYS), demo=False)
    trail.record("refused", reason="below_threshold")
    trail.record("granted", subject="a", reason="face")
    lines = read_lines(tmp_path / "audit")
    assert [each.record["event"] for each in lines if not isinstance(each, tuple)] == ["refused", "granted"]


def test_what_anybody_at_the_door_can_cause_is_in_the_log_of_its_own():
    outside = {name for name, event in EVENTS.items() if event.sinks & Sink.OUTSIDE}
    assert {"refused", "held_back", "camera_covered", "camera_clear"} <= outside
    assert not outside & {
        "granted",
        "duress",
        "enrolled",
        "removed",
        "policy",
        "alarm",
        "stopping",
        "started",
    }
