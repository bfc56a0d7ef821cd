"""Wrong PINs end in pauses that grow, whatever happens to their count."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from device.access.pin import hash_pin
from device.access.policy import Policy
from device.access.profile import Profile
from device.decide import backoff_file
from device.types import Decision, Reason
from tests.support.doors.admitting import LOCKOUT, PIN, Door


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


def test_a_try_is_counted_before_it_is_looked_at(door, boot, monkeypatch):
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
    "text",
    [
        *("", "{}", "x", "[" * 10**5),
        '{"refusals": -1, "wait_s": 0, "until_s": 0, "boot_id": ""}',
        '{"refusals": 3, "wait_s": Infinity, "until_s": 9, "boot_id": "first"}',
        '{"refusals": 3, "wait_s": NaN, "until_s": 9, "boot_id": "first"}',
        '{"refusals": 3, "wait_s": 60, "until_s": Infinity, "boot_id": "first"}',
    ],
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
    assert "keys accept" in door.pins.fault


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
