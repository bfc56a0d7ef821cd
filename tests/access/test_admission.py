"""The last word before the bolt: rules, guests and the record, looked at on the lock itself."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import date, timedelta
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

from device.access.admission import AdmissionRule
from device.access.profile import Profile
from device.errors import LockRefused
from device.journal.audit import Audit
from device.journal.trail import AuditTrail
from device.journal.verify import read_lines, verify
from device.pipeline import unlock
from device.protocols import Lock
from device.types import Reason
from device.vault import files as private_files
from tests.support.doors.admitting import KEYS, NOW, PIN, PIN_HASH, Door


@pytest.mark.parametrize(("days", "reason"), [(0, "granted"), (8, "pin_needed"), (31, "lease_over")])
def test_who_came_from_a_keeper_needs_the_pin_after_a_week_and_is_refused_after_a_month(
    door: Door, days: int, reason: str
) -> None:
    renewed = (NOW - timedelta(days=days)).isoformat()
    door.gallery.change_fleet("member", lambda _: {"renewed": renewed})
    door.enroll("bob")
    profile = Profile(pin_hash=PIN_HASH, fleet_id="f")
    door.gallery.enroll("alice", np.eye(4, dtype=np.float32)[:1], replace=True, profile=profile)
    assert str(door.face("alice").reason) == reason
    assert door.face("bob").granted  # enrolled here
    if reason == "pin_needed":
        door.face("alice")
        assert door.type(PIN).granted
        assert door.type(PIN).method == "face"  # nobody's PIN is awaited any more
    if reason == "lease_over":
        assert not door.type(PIN).granted


def test_who_came_from_a_keeper_without_a_pin_is_refused_where_it_would_be_needed(door: Door) -> None:
    old = {"renewed": (NOW - timedelta(days=8)).isoformat()}
    door.gallery.change_fleet("member", lambda _: old)
    profile = Profile(fleet_id="f")
    door.gallery.enroll("alice", np.eye(4, dtype=np.float32)[:1], replace=True, profile=profile)
    assert door.face("alice").reason is Reason.NO_PIN
    door.clock = None
    assert door.face("alice").reason is Reason.NO_PIN


def test_without_rules_a_granted_face_is_let_in_and_recorded_first(door, tmp_path):
    door.enroll()
    decision = door.face()
    assert (decision.granted, decision.reason, decision.subject_id) == (True, Reason.GRANTED, "alice")
    assert door.told() == [("granted", "face")]
    assert b"alice" not in (tmp_path / "audit").read_bytes()
    assert verify(tmp_path / "audit", KEYS).problems == []


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"access": "disabled"}, Reason.DISABLED),
        ({"hours": "Tue 08:00-18:00", "time_zone": "UTC"}, Reason.OUTSIDE_HOURS),
        ({"valid_until": date(2026, 11, 1)}, Reason.NOT_VALID),
        ({"entries": 0}, Reason.NO_ENTRIES_LEFT),
        ({"access": "face+pin"}, Reason.PIN_NEEDED),
    ],
)
def test_a_rule_that_says_no_is_a_refusal_with_its_own_reason(door, rules, reason):
    door.enroll(**rules)
    decision = door.face()
    assert (decision.granted, decision.reason) == (False, reason)
    assert door.told() == [("refused", reason.value)]


def test_a_refused_frame_stays_refused(door):
    door.enroll()
    assert door.nobody(Reason.BELOW_THRESHOLD).reason is Reason.BELOW_THRESHOLD
    assert door.told() == []


@pytest.mark.parametrize("how", ["deleted", "put back"])
def test_entries_of_a_guest_that_are_gone_are_used_up(door, how):
    door.enroll(entries=3)
    door.enroll("bob")
    assert door.face().granted
    file = door.folder / "usage"
    before = file.read_bytes()
    assert door.face().granted
    file.unlink() if how == "deleted" else file.write_bytes(before)
    for _ in range(2):
        assert door.face().reason is Reason.NO_ENTRIES_LEFT
        assert "keys accept" in door.admission._usage.fault
        door.restart()
    assert door.face("bob").granted  # nothing is counted of Bob


# Guests


def test_a_guests_entries_are_counted_over_restarts(door):
    door.enroll(entries=2)
    assert door.face().granted
    door.restart()
    assert door.face().granted
    door.restart()
    assert door.face().reason is Reason.NO_ENTRIES_LEFT
    door.enroll(entries=2)  # a new policy counts anew
    assert door.face().granted


def test_an_entry_that_cannot_be_counted_is_not_let_in(door, tmp_path):
    door.enroll(entries=2)
    (tmp_path / "usage.new").mkdir()  # the file cannot be written
    decision = door.face()
    assert (decision.granted, decision.reason) == (False, Reason.NOT_RECORDED)
    door.enroll("bob")
    assert door.face("bob").granted  # nothing to be counted


def test_a_program_that_holds_the_folder_does_not_hang_the_door(door, tmp_path, monkeypatch):
    monkeypatch.setattr(private_files, "HOLD_TIMEOUT_S", 0.05)
    door.enroll(entries=2)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert door.face().reason is Reason.NOT_RECORDED
    os.close(folder)
    assert door.face().granted


# The record


def test_without_room_for_the_record_the_door_goes_on_and_says_so(door, tmp_path):
    told: list[tuple[bool, str]] = []
    door.audit.tell = lambda written, cause: told.append((written, cause))
    door.enroll()
    (tmp_path / "audit").mkdir()
    assert door.face().granted
    assert door.face().granted
    assert [written for written, _ in told] == [False]
    (tmp_path / "audit").rmdir()
    assert door.face().granted
    assert [written for written, _ in told] == [False, True]
    assert door.told() == [("lost", None), ("granted", "face")]


def test_with_record_required_nobody_enters_unrecorded(tmp_path):
    door = Door(tmp_path, AdmissionRule(pin_timeout_s=20, record_required=True))
    door.enroll()
    (tmp_path / "audit").mkdir()
    assert door.face().reason is Reason.NOT_RECORDED
    (tmp_path / "audit").rmdir()
    assert door.face().granted
    door.gallery.close()


def test_status_lines_that_are_records(door):
    for line in (
        {"event": "started", "version": "1"},
        {"event": "refused", "reason": "too_dark"},
        {"event": "refused", "reason": "wrong_pin"},  # recorded with the alias already
        {"event": "granted", "subject_id": "alice"},
        {"event": "heartbeat"},
        {"event": "stopping", "reason": "fault", "exit_code": 5, "error": "a template of 'alice'"},
    ):
        door.audit.put(line)
    assert door.told() == [("started", None), ("refused", "too_dark"), ("fault", "fault")]


def test_what_the_lock_process_refused_is_recorded_with_the_person_it_concerns(door):
    """The grant's record comes first; whoever asks for this person finds both."""
    door.enroll()
    lock = create_autospec(Lock, instance=True)
    lock.unlock.side_effect = LockRefused("stale")
    device = SimpleNamespace(lock=lock, admission=door.admission)
    with pytest.raises(LockRefused):
        unlock(device, door.face())
    granted, refused = [
        line.record for line in read_lines(door.folder / "audit") if not isinstance(line, tuple)
    ]
    assert (granted["event"], refused["event"], refused["reason"]) == ("granted", "command_refused", "stale")
    assert granted["subject"] == refused["subject"] == door.gallery.profile("alice").alias


def test_what_the_lock_process_tells_is_recorded(tmp_path):
    trail = AuditTrail(lambda: Audit(tmp_path / "audit", KEYS), demo=False)
    for line in (
        {"event": "door", "door": "open"},
        {"event": "alarm", "reason": "forced"},
        {"event": "command_refused", "reason": "stale"},  # recorded with the alias already
        {"event": "heartbeat"},
    ):
        trail.put(line)
    found = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(row["event"], row.get("door"), row.get("reason")) for row in found] == [
        ("door", "open", None),
        ("alarm", None, "forced"),
    ]
