"""The PIN after the face: what is typed, when, by whom; wrong ones, their pauses, and duress."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pytest

from device.access.pin import check_pin, hash_pin, is_pin
from device.access.pin_entry import ENTRY_S, PinEntry
from device.access.policy import Policy
from device.access.profile import Profile
from device.errors import UsageError
from device.types import Reason
from tests.support.doors.admitting import DURESS, PIN, PIN_HASH, RULE


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


def test_a_pin_of_before_is_not_taken_for_given_when_its_time_is_gone(door):
    door.enroll(pin_every_h=8)
    door.face()
    assert door.type("2580").granted
    assert door.face().granted
    (door.folder / "usage").unlink()
    assert door.face().reason is Reason.PIN_NEEDED
    assert door.type("2580").granted


def test_a_pin_costs_whoever_guesses_it_19_mib_a_try(full_cost):
    """RFC 9106 and OWASP, where memory is scarce."""
    stored = hash_pin("2580")
    assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", stored)
    assert is_pin(stored, "2580")
    assert not is_pin(stored, "2581")


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
