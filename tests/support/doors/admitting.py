"""The last word before the bolt, with a gallery, an audit and clocks that the test moves."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from device.access.admission import Admission, AdmissionRule
from device.access.lockout import LockoutRule, PinLockout, is_wrong_pins
from device.access.pin import hash_pin
from device.access.pin_entry import PinEntry
from device.access.policy import Policy
from device.access.profile import Profile
from device.decide.backoff import Count
from device.decide.backoff_file import BEYOND_ANY_CLOCK_S, BackoffFile
from device.gallery.gallery import Gallery
from device.journal.audit import Audit
from device.journal.trail import AuditTrail
from device.journal.verify import read_lines
from device.types import Decision, Reason
from tests.support.kept import kept_with, usage_of

KEYS = {1: bytes(32)}
PIN, DURESS = "2580", "8521"
PIN_HASH, DURESS_HASH = hash_pin(PIN), hash_pin(DURESS)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
RULE = AdmissionRule(pin_timeout_s=20, record_required=False)
LOCKOUT = LockoutRule(wrong_pins=3, lockout_s=60)


class Door:
    """An Admission with a real gallery, audit and usage file, and clocks that the test moves."""

    def __init__(self, folder: Path, rule: AdmissionRule = RULE) -> None:
        self.folder, self.seconds, self.clock, self.alarms = folder, 1000.0, NOW, 0
        self.gallery = Gallery(folder / "gallery.db", model_id="m", dimension=4, read_only=False)
        self.audit = AuditTrail(lambda: Audit(folder / "audit", KEYS), demo=False)
        self.entry = PinEntry(lambda: self.seconds)
        self.restart(rule)

    def restart(self, rule: AdmissionRule = RULE, lockout: LockoutRule = LOCKOUT) -> None:
        damaged = Count(lockout.wrong_pins, lockout.lockout_s, BEYOND_ANY_CLOCK_S)
        self.pins = BackoffFile(
            kept_with(self.gallery, self.folder / "wrong_pins", "wrong_pins"),
            damaged,
            is_wrong_pins,
            "wrong PINs",
        )
        self.admission = Admission(
            rule,
            self.gallery,
            self.audit,
            usage=usage_of(self.gallery, self.folder / "usage"),
            entry=self.entry,
            lockout=PinLockout(lockout, self.pins.load(), self.pins.save),
            clock=lambda: self.clock,
            alarm=self.alarm,
            now_s=lambda: self.seconds,
        )

    def alarm(self) -> None:
        self.alarms += 1

    def enroll(self, name: str = "alice", **rules: object) -> None:
        profile = Profile(policy=Policy(**rules), pin_hash=PIN_HASH, duress_hash=DURESS_HASH)
        self.gallery.enroll(name, np.eye(4, dtype=np.float32)[:1], replace=True, profile=profile)

    def face(self, name: str = "alice") -> Decision:
        return self.admit(Decision(True, Reason.GRANTED, self.seconds, name, track_id=1))

    def nobody(self, reason: Reason = Reason.NO_FACE, track_id: int | None = None) -> Decision:
        return self.admit(Decision(False, reason, self.seconds, track_id=track_id))

    def admit(self, decision: Decision) -> Decision:
        admitted = self.admission.admit(decision)
        if admitted.granted:
            self.admission.opened()
        return admitted

    def type(self, pin: str) -> Decision:
        for key in pin + "#":
            self.entry.press(key)
        return self.nobody()

    def told(self) -> list[tuple[str, str | None]]:
        lines = [line.record for line in read_lines(self.folder / "audit") if not isinstance(line, tuple)]
        return [(each["event"], each.get("reason")) for each in lines]
