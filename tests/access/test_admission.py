"""The last word before the bolt: rules, PIN and record, looked at on the lock itself."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import time
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory

from device.access.admission import AdmissionRule
from device.access.pin import check_pin, hash_pin, is_pin
from device.access.pin_entry import ENTRY_S, PinEntry
from device.access.policy import Policy
from device.access.profile import Profile
from device.decide import backoff_file
from device.errors import LockError, LockRefused, UsageError
from device.journal.audit import Audit
from device.journal.trail import AuditTrail
from device.journal.verify import read_lines, verify
from device.lock.keypad import KeypadThread, MatrixKeypad, SerialKeypad
from device.pipeline import unlock
from device.protocols import Lock
from device.types import Decision, Reason
from device.vault import files as private_files
from tests.support.admitting import DURESS, KEYS, LOCKOUT, PIN, PIN_HASH, RULE, Door


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


# The PIN


def test_the_pin_opens_after_the_face_even_when_nobody_looks_up(door):
    door.enroll(access="face+pin")
    assert not door.face().granted
    assert not door.nobody().granted
    decision = door.type(PIN)
    assert (decision.granted, decision.reason, decision.subject_id) == (True, Reason.GRANTED, "alice")
    assert door.told()[-1] == ("granted", "pin")
    assert not door.type(PIN).granted  # once


def test_who_covers_the_lens_while_bending_over_the_keypad_is_still_awaited(door):
    door.enroll(access="face+pin")
    door.face()
    assert door.nobody(Reason.CAMERA_COVERED).reason is Reason.CAMERA_COVERED
    assert door.type(PIN).granted


def test_a_pin_without_a_face_opens_nothing(door):
    door.enroll(access="face+pin")
    assert not door.type(PIN).granted
    assert not door.face().granted  # typed before the face: forgotten
    assert not door.nobody().granted


def test_a_pin_that_comes_late_opens_nothing(door):
    door.enroll(access="face+pin")
    door.face()
    door.seconds += RULE.pin_timeout_s
    assert not door.type(PIN).granted
    assert not door.nobody().granted


def test_a_lost_camera_and_a_stale_frame_open_nothing(door):
    door.enroll(access="face+pin")
    door.face()
    for key in PIN + "#":
        door.entry.press(key)
    assert not door.nobody(Reason.STALE_FRAME).granted
    door.admission.reset()
    assert not door.nobody().granted


def test_the_pin_of_somebody_else_is_wrong(door):
    door.enroll(access="face+pin")
    other = Profile(pin_hash=hash_pin("1379"), policy=Policy(access="face+pin"))
    door.gallery.enroll("bob", np.eye(4, dtype=np.float32)[1:2], replace=True, profile=other)
    door.face("bob")
    assert door.type(PIN).reason is Reason.WRONG_PIN
    assert door.type("1379").granted


def test_wrong_pins_end_in_pauses_that_grow(door):
    door.enroll(access="face+pin")
    for pause_s in (60, 120, 240):
        for _ in range(3):
            door.face()
            assert door.type("1111").reason is Reason.WRONG_PIN
        door.face()
        assert door.type(PIN).reason is Reason.PIN_LOCKED
        door.seconds += pause_s - 1
        door.face()
        assert door.type(PIN).reason is Reason.PIN_LOCKED
        door.seconds += 1
    door.face()
    assert door.type(PIN).granted


def wrong(door: Door, times: int) -> None:
    for _ in range(times):
        door.face()
        assert door.type("1111").reason is Reason.WRONG_PIN


def pauses(door: Door) -> float:
    """Return how long the right PIN is not looked at, to a second."""
    began_s = door.seconds
    while True:
        door.face()
        decision = door.type(PIN)
        if decision.granted:
            return door.seconds - began_s
        assert decision.reason is Reason.PIN_LOCKED
        door.seconds += 1


@pytest.fixture
def boot(tmp_path, monkeypatch) -> Path:
    """The name of this start of the machine; its file may be changed."""
    file = tmp_path / "boot_id"
    file.write_text("first\n")
    monkeypatch.setattr(backoff_file, "BOOT_ID", file)
    return file


def test_a_restart_of_the_program_forgets_no_wrong_pin(door, boot):
    door.enroll(access="face+pin")
    wrong(door, 2)
    door.restart()
    wrong(door, 1)
    door.seconds += 10
    door.restart()
    assert pauses(door) == 50
    for _ in range(3):  # the right one forgave all
        door.restart()
        wrong(door, 2)
        assert pauses(door) == 0
    wrong(door, 3)
    assert pauses(door) == 60


def test_a_power_cut_begins_the_pause_anew_and_never_makes_it_longer(door, boot):
    door.enroll(access="face+pin")
    wrong(door, 3)
    for start in range(3):
        boot.write_text(f"start {start}\n")
        door.seconds = 5.0  # the clock of a start begins anew, the time of day may jump as it likes
        door.clock += timedelta(days=4000)
        door.restart()
    assert pauses(door) == 60


def test_a_try_is_wrong_pinsed_before_it_is_looked_at(door, boot, monkeypatch):
    """Whoever cuts the power when the PIN was wrong, and nothing has told so yet, wins no try."""
    door.enroll(access="face+pin")

    def cut(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("device.access.admission.is_pin", cut)
        for _ in range(3):
            door.face()
            with pytest.raises(KeyboardInterrupt):
                door.type("1111")
            door.restart()
    door.face()
    assert door.type(PIN).reason is Reason.PIN_LOCKED


def test_the_longest_pause_is_the_documented_one_whatever_the_file_says(door, boot, tmp_path):
    door.enroll(access="face+pin")
    states = [
        {"refusals": 10**9, "wait_s": 1e300, "until_s": 1e12},
        {"refusals": 3, "wait_s": 1e9, "until_s": 1e12},
    ]
    for state in states:
        (tmp_path / "wrong_pins").write_text(json.dumps({**state, "boot_id": "first"}))
        door.restart()
        assert door.admission._lockout.left_s("anybody", door.seconds) == 60 * 1024
    for count in (3 * 11, 3 * 12, 3 * 1000):
        assert LOCKOUT.wait_after(count) == 60 * 1024
    assert "1,024 times" in Path("docs/owner/secrets.md").read_text()


@pytest.mark.parametrize(
    "text", ["", "{}", "x", '{"refusals": -1, "wait_s": 0, "until_s": 0, "boot_id": ""}', "[" * 10**5]
)
def test_a_damaged_count_is_one_pause(door, boot, tmp_path, text):
    door.enroll(access="face+pin")
    (tmp_path / "wrong_pins").write_text(text)
    door.restart()
    assert door.pins.fault.startswith(f"wrong PINs: {tmp_path}/wrong_pins: ")
    assert pauses(door) == 60


def test_a_count_that_cannot_be_kept_is_said(door, boot, tmp_path):
    door.enroll(access="face+pin")
    (tmp_path / "wrong_pins").mkdir()
    wrong(door, 3)
    assert "wrong PINs are counted until the next start only" in door.pins.fault
    assert pauses(door) == 60


@pytest.mark.parametrize("how", ["deleted", "put back"])
def test_wrong_pins_that_are_gone_are_not_forgiven(door, how):
    """Two tries, the file away, two tries: that would be as many as somebody likes."""
    door.enroll(access="face+pin")
    door.face()
    door.type("7391")
    file = door.folder / "wrong_pins"
    before = file.read_bytes()
    door.type("7391")
    door.type("7391")
    assert door.type("2580").reason is Reason.PIN_LOCKED
    file.unlink() if how == "deleted" else file.write_bytes(before)
    door.restart()
    door.face()
    assert door.type("2580").reason is Reason.PIN_LOCKED
    assert "gallery_keys.py accept" in door.pins.fault


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
        assert "gallery_keys.py accept" in door.admission._usage.fault
        door.restart()
    assert door.face("bob").granted  # nothing is counted of Bob


def test_a_pin_of_before_is_not_taken_for_given_when_its_time_is_gone(door):
    door.enroll(pin_every_h=8)
    door.face()
    assert door.type("2580").granted
    assert door.face().granted
    (door.folder / "usage").unlink()
    assert door.face().reason is Reason.PIN_NEEDED
    assert door.type("2580").granted


def test_a_pin_costs_whoever_guesses_it_19_mib_a_try():
    """As it is stored, whatever a test of speed puts in its place: RFC 9106 and OWASP, where memory is scarce."""
    assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", hash_pin("2580"))
    assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", PIN_HASH)


def enroll_bob(door: Door) -> None:
    profile = Profile(pin_hash=hash_pin("1379"), policy=Policy(access="face+pin"))
    door.gallery.enroll("bob", np.eye(4, dtype=np.float32)[1:2], replace=True, profile=profile)


def test_nobody_elses_right_pin_forgives_wrong_ones(door):
    """Two guesses as one person, then one's own PIN, was 360 guesses an hour."""
    door.enroll(access="face+pin")
    enroll_bob(door)
    door.face(), door.type("1111"), door.face(), door.type("2222")
    door.face("bob")
    assert door.type("1379").granted
    door.face()
    assert door.type("3333").reason is Reason.WRONG_PIN
    door.face()
    assert door.type(PIN).reason is Reason.PIN_LOCKED


def test_a_pin_costs_whoever_guesses_at_its_hash_nineteen_megabytes_each():
    assert PIN_HASH.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_one_persons_mistakes_lock_nobody_elses_pin(door, boot):
    door.enroll(access="face+pin")
    enroll_bob(door)
    wrong(door, 3)
    for _ in range(2):
        door.face("bob")
        assert door.type("1379").granted
        assert door.face().reason is Reason.PIN_LOCKED
        door.restart()  # the counts of both are kept
    assert pauses(door) == 60


def test_the_pause_is_said_with_what_is_left_and_lasts_until_it_is_over(door):
    door.enroll(access="face+pin")
    wrong(door, 3)
    said = []
    for _ in range(59):
        said += [door.face(), door.nobody(), door.nobody(Reason.COOLDOWN)]
        door.seconds += 1
    assert {each.reason for each in said} == {Reason.PIN_LOCKED}
    assert [said[0].wait_s, said[-1].wait_s] == [60, 2]
    assert "60 s" in said[0].hint
    door.seconds += 1
    assert door.nobody().reason is Reason.NO_FACE
    assert door.face().reason is Reason.PIN_NEEDED
    assert door.type(PIN).granted


def test_an_attack_during_the_pause_is_still_said(door):
    door.enroll(access="face+pin")
    wrong(door, 3)
    door.face()
    assert door.nobody(Reason.SPOOF_SUSPECTED).reason is Reason.SPOOF_SUSPECTED


def test_the_count_of_an_earlier_release_holds_for_everybody(door, boot, tmp_path):
    door.enroll(access="face+pin")
    enroll_bob(door)
    old = {"refusals": 3, "wait_s": 60.0, "until_s": door.seconds + 40, "boot_id": "first"}
    (tmp_path / "wrong_pins").write_text(json.dumps(old))
    door.restart()
    for name in ("alice", "bob"):
        assert door.face(name).wait_s == 40
    assert pauses(door) == 40
    door.restart()
    assert door.face("bob").reason is Reason.PIN_NEEDED
    door.type("1111"), door.face("bob"), door.type("1111"), door.face("bob"), door.type("1111")
    assert door.face("bob").wait_s == 120  # his own right PIN has forgiven nothing yet


def test_failures_at_the_door_are_forgiven_by_an_opening_alone(door):
    """The lock process refused: nothing opened, so the next face still needs its PIN."""
    door.enroll(pin_after_failures=2)
    for track in (8, 9):
        door.nobody(Reason.BELOW_THRESHOLD, track_id=track)
    assert door.face().reason is Reason.PIN_NEEDED
    for key in PIN + "#":
        door.entry.press(key)
    assert door.admission.admit(Decision(False, Reason.NO_FACE, door.seconds)).granted
    assert door.face().reason is Reason.PIN_NEEDED


def test_a_rule_that_changed_meanwhile_counts(door):
    door.enroll(access="face+pin")
    door.face()
    door.enroll(access="disabled")
    assert door.type(PIN).reason is Reason.DISABLED


def test_a_duress_pin_opens_and_raises_a_silent_alarm(door):
    door.enroll(access="face+pin")
    door.face()
    decision = door.type(DURESS)
    assert (decision.granted, decision.reason) == (True, Reason.GRANTED)  # as with the other PIN
    assert door.alarms == 1
    assert door.told()[-2:] == [("granted", "pin"), ("duress", None)]
    door.face()
    door.type(PIN)
    assert door.alarms == 1


@pytest.mark.parametrize(
    "reason", [Reason.BELOW_THRESHOLD, Reason.SPOOF_SUSPECTED, Reason.CHALLENGE_FAILED], ids=str
)
def test_the_pin_after_failures_at_the_door(door, reason):
    door.enroll(pin_after_failures=2)
    for _ in range(5):
        door.nobody(reason, track_id=7)  # one stranger, however many frames
    assert door.face().granted
    for track in (8, 9):
        door.nobody(reason, track_id=track)
    assert door.face().reason is Reason.PIN_NEEDED
    assert door.type(PIN).granted
    assert door.face().granted


def test_the_pin_every_72_hours_is_remembered_over_a_restart(door):
    door.enroll(pin_every_h=72)
    assert door.face().reason is Reason.PIN_NEEDED
    assert door.type(PIN).granted
    door.restart()
    door.clock += timedelta(hours=71)
    assert door.face().granted
    door.clock += timedelta(hours=1)
    assert door.face().reason is Reason.PIN_NEEDED


def test_a_clock_that_is_not_set_means_the_pin(door):
    door.enroll(hours="00:00-24:00")
    assert door.face().granted
    door.clock = None
    assert door.face().reason is Reason.PIN_NEEDED
    assert door.type(PIN).granted


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


# PINs


@pytest.mark.parametrize(
    "pin", ["", "123", "1234", "9876", "0000", "12a4", "1" * 13, "٤٥٦٧", " 2580", "7890"]
)
def test_pins_that_are_none_or_guessed_first(pin):
    with pytest.raises(UsageError) as caught:
        check_pin(pin)
    assert not pin.strip() or pin not in str(caught.value)


def test_a_pin_is_an_argon2id_hash(door):
    assert PIN_HASH.startswith("$argon2id$")
    assert is_pin(PIN_HASH, PIN)
    assert not is_pin(PIN_HASH, DURESS)
    assert not is_pin(None, PIN)
    assert not is_pin("damaged", PIN)
    assert hash_pin(PIN) != PIN_HASH


# Keypads


def test_an_entry_is_ended_started_over_and_forgotten():
    now = [0.0]
    entry = PinEntry(lambda: now[0])

    def press(keys: str) -> str | None:
        for key in keys:
            entry.press(key)
        return entry.take()

    assert press("2580") is None
    assert press("#") == "2580"
    assert press("#") is None
    assert press("99*2580\r") == "2580"
    assert press("ABC2580D#") == "2580"
    assert press("1" * 40 + "#") == "1" * 13  # longer than any: wrong, and no more memory
    press("25")
    now[0] += ENTRY_S + 1
    assert press("80#") == "80"
    entry.press("2")
    entry.press("#")
    now[0] += ENTRY_S + 1
    assert entry.take() is None


class Matrix:
    """The wires of a keypad: a key that is down leads its row's level to its column."""

    ROWS, COLUMNS = (5, 6, 13, 19), (16, 20, 21)

    def __init__(self) -> None:
        self.factory, self.down = MockFactory(), set()
        self.pressed: list[str] = []
        self.keypad = MatrixKeypad(self.ROWS, self.COLUMNS, self.pressed.append, pin_factory=self.factory)
        for row in self.ROWS:
            pin = self.factory.pin(row)
            pin._change_state = self.wired(pin, pin._change_state)

    def wired(self, pin, change):
        def changed(value):
            done = change(value)
            for row, column in self.down:
                if pin is self.factory.pin(self.ROWS[row]):
                    wire = self.factory.pin(self.COLUMNS[column])
                    wire.drive_high() if value else wire.drive_low()
            return done

        return changed


def test_a_matrix_keypad_tells_each_key_once():
    matrix = Matrix()
    for row, keys in enumerate(("123", "456", "789", "*0#")):
        for column, key in enumerate(keys):
            matrix.pressed.clear()
            matrix.down = {(row, column)}
            for _ in range(3):
                matrix.keypad.scan()
            matrix.down = set()
            matrix.keypad.scan()
            assert matrix.pressed == [key]
    matrix.down = {(0, 0), (1, 1)}
    matrix.pressed.clear()
    matrix.keypad.scan()
    assert matrix.pressed == []
    matrix.keypad.close()
    assert all(matrix.factory.pin(pin).state == 0 for pin in Matrix.ROWS)


def test_a_keypad_pin_in_use_is_one_line():
    factory = MockFactory()
    first = MatrixKeypad((5, 6, 13, 19), (16, 20, 21), lambda key: None, pin_factory=factory)
    with pytest.raises(LockError, match="keypad: a pin cannot be claimed"):
        MatrixKeypad((19, 22, 23, 24), (25, 26, 27), lambda key: None, pin_factory=factory)
    first.close()
    with pytest.raises(LockError, match="expected 4 rows"):
        MatrixKeypad((1,), (2, 3, 4), lambda key: None, pin_factory=factory)


def test_a_pin_typed_on_a_serial_port():
    ours, theirs = pty.openpty()
    entry = PinEntry()
    port = SerialKeypad(os.ttyname(theirs), 9600, entry.press)
    thread = KeypadThread(port.step, port.close)
    until_s, pin = time.monotonic() + 20, None
    while pin is None and time.monotonic() < until_s:
        os.write(ours, b"2580\r")  # again and again: what comes before the port is open is lost
        time.sleep(0.3)
        pin = entry.take()
    thread.close()
    os.close(ours)
    os.close(theirs)
    assert pin == PIN


def test_a_serial_port_that_is_absent_costs_the_keypad_only():
    thread = KeypadThread(SerialKeypad("/dev/nonexistent", 9600, print).step, lambda: None)
    time.sleep(0.1)
    thread.close()


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
