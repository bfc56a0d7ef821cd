"""The last word before the bolt moves: the subject's policy, the PIN, and the record that has to come first.

A granted face is not yet let in: the subject's policy may refuse, or ask for the PIN. The person then has
`pin_timeout_s` to enter it. The face need not be in view meanwhile, because people look at the keypad.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from device.access.lease import Lease
from device.access.lockout import PinLockout
from device.access.pin import is_pin
from device.access.pin_entry import PinEntry
from device.access.policy import Usage, judge
from device.access.profile import Profile
from device.errors import GalleryError
from device.journal.damper import Damper
from device.journal.trail import AuditTrail
from device.types import Decision, Is, Reason


class Profiles(Protocol):
    """Where the profile of a subject is kept, and the lease of who came from a keeper: the gallery."""

    def profile(self, subject_id: str) -> Profile: ...

    def lease(self, profile: Profile, at: datetime | None) -> Lease: ...


class Usages(Protocol):
    """Where entries and PIN times are kept: device/gallery/usage.py."""

    def of(self, profile: Profile) -> Usage: ...

    def keep(self, profile: Profile, usage: Usage) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRule:
    """How long a PIN is awaited, and whether a grant needs its record."""

    pin_timeout_s: float
    record_required: bool


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A granted face, and the time until which its PIN is awaited."""

    subject_id: str
    until_s: float


class Admission:
    """Confirm a grant of the decider, or refuse it with a reason.

    Args:
        usage: None in a demo: nothing is counted.
        entry: where PINs come from, None without a keypad.
        lockout: counts each person's wrong PINs.
        clock: the time of day, None while it is not set.
        alarm: told of a duress PIN.
        switched_off: says whether a subject's face was switched off from outside.
    """

    def __init__(
        self,
        rule: AdmissionRule,
        gallery: Profiles,
        audit: AuditTrail,
        *,
        usage: Usages | None,
        entry: PinEntry | None,
        lockout: PinLockout,
        clock: Callable[[], datetime | None],
        alarm: Callable[[], None] = lambda: None,
        switched_off: Callable[[Profile], bool] = lambda _: False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._switched_off = switched_off
        self._rule, self._gallery, self._audit = rule, gallery, audit
        self._usage, self._entry, self._lockout = usage, entry, lockout
        self._clock, self._alarm, self._now_s = clock, alarm, now_s
        self._awaited: _Awaited | None = None
        self._damper: Damper[tuple[str, str]] = Damper()
        self._failures = 0  # since the door was opened last
        self._failed_track: int | None = None

    def admit(self, decision: Decision) -> Decision:
        """Return the decision that the door acts on; call it for every frame, because a PIN may have been entered."""
        for (alias, reason), count in self._damper.quiet(self._now_s()):
            self._audit.record("refused", subject=alias, reason=reason, count=count)
        if decision.granted:
            return self._face(decision)
        if decision.reason.has(Is.FAILURE) and decision.track_id != self._failed_track:
            self._failed_track = decision.track_id
            self._failures += 1
        if self._awaited is None or decision.reason is Reason.STALE_FRAME:
            return decision
        return self._pin(decision, self._awaited)

    def not_opened(self, decision: Decision, reason: str) -> None:
        """Record that the lock process refused, so that what was granted to this person opened nothing."""
        alias = self._gallery.profile(str(decision.subject_id)).alias
        self._audit.record("command_refused", subject=alias, reason=reason)

    def opened(self) -> None:
        """Forget the failures before this grant: the door was opened."""
        self._failures = 0

    def reset(self) -> None:
        """Await nobody's PIN any longer: the camera was lost."""
        self._awaited = None

    def _face(self, decision: Decision) -> Decision:
        name = str(decision.subject_id)
        profile = self._gallery.profile(name)
        verdict = self._judge(profile)
        if verdict is Reason.GRANTED:
            return self._grant(decision, name, profile, by="face")
        if verdict is Reason.PIN_NEEDED:
            self._await(name)
            if self._lockout.left_s(profile.alias, self._now_s()):
                verdict = Reason.PIN_LOCKED
        return self._refuse(decision, name, profile, verdict)

    def _await(self, name: str) -> None:
        if self._entry is not None and (self._awaited is None or self._awaited.subject_id != name):
            self._entry.clear()
        self._awaited = _Awaited(name, self._now_s() + self._rule.pin_timeout_s)

    def _pin(self, decision: Decision, awaited: _Awaited) -> Decision:
        if self._now_s() >= awaited.until_s:
            self._awaited = None
            return decision
        pin = self._entry.take() if self._entry is not None else None
        name, profile = awaited.subject_id, self._gallery.profile(awaited.subject_id)
        if self._lockout.left_s(profile.alias, self._now_s()):
            if pin is not None:
                return self._refuse(decision, name, profile, Reason.PIN_LOCKED)
            told = decision.reason.has(Is.REFUSAL)  # an attack is one, whatever pause there is
            return decision if told else self._say(decision, name, profile, Reason.PIN_LOCKED)
        if pin is None:
            return decision
        self._lockout.tried(profile.alias, self._now_s())
        # Both are tried, so that the time does not tell a duress PIN from the other.
        right, duress = is_pin(profile.pin_hash, pin), is_pin(profile.duress_hash, pin)
        if not (right or duress):
            self._failures += 1
            return self._refuse(decision, name, profile, Reason.WRONG_PIN)
        self._awaited = None
        self._lockout.right(profile.alias)
        verdict = self._judge(profile)  # it may have changed meanwhile
        if verdict not in (Reason.GRANTED, Reason.PIN_NEEDED):
            return self._refuse(decision, name, profile, verdict)
        return self._grant(decision, name, profile, by="pin", duress=duress)

    def _judge(self, profile: Profile) -> Reason:
        usage = self._usage.of(profile) if self._usage is not None else Usage()
        now = self._clock()
        return judge(
            profile.policy,
            usage,
            now,
            failures=self._failures,
            has_pin=profile.pin_hash is not None,
            lease=self._gallery.lease(profile, now),
            switched_off=self._switched_off(profile),
        )

    def _grant(
        self, decision: Decision, name: str, profile: Profile, *, by: str, duress: bool = False
    ) -> Decision:
        if not self._count(profile, by_pin=by == "pin"):
            return self._refuse(decision, name, profile, Reason.NOT_RECORDED)
        # Before the bolt moves: a power cut in between leaves a record too many, never a grant without one.
        recorded = self._audit.record("granted", subject=profile.alias, reason=by)
        if not recorded and self._rule.record_required:
            return self._refuse(decision, name, profile, Reason.NOT_RECORDED)
        if duress:
            self._audit.record("duress", subject=profile.alias)
            self._alarm()
        return replace(decision, granted=True, reason=Reason.GRANTED, subject_id=name, method=by)

    def _count(self, profile: Profile, by_pin: bool) -> bool:
        """Keep an entry and a PIN; False where a guest's entry could not be counted."""
        at = self._clock() if by_pin else None
        limited = profile.policy.entries is not None
        if self._usage is None or not (limited or at):
            return True
        before = self._usage.of(profile)
        try:
            self._usage.keep(profile, Usage(before.entries + limited, at or before.last_pin_at))
        except GalleryError:
            return not limited
        return True

    def _refuse(self, decision: Decision, name: str, profile: Profile, reason: Reason) -> Decision:
        # A wrong PIN is a record each: there are no more of them than the lockout lets through.
        count = self._damper.see((profile.alias, str(reason)), self._now_s())
        if count or reason is Reason.WRONG_PIN:
            more = count if count > 1 else None
            self._audit.record("refused", subject=profile.alias, reason=str(reason), count=more)
        return self._say(decision, name, profile, reason)

    def _say(self, decision: Decision, name: str, profile: Profile, reason: Reason) -> Decision:
        left_s = self._lockout.left_s(profile.alias, self._now_s()) if reason is Reason.PIN_LOCKED else None
        hint = f"no PIN is looked at for {left_s:.0f} s" if left_s else reason.advice
        return replace(decision, granted=False, reason=reason, subject_id=name, wait_s=left_s, hint=hint)


class AdmitAll:
    """No rules and no record, for a replay or a test: whom the decider grants is let in."""

    def admit(self, decision: Decision) -> Decision:
        return decision

    def not_opened(self, decision: Decision, reason: str) -> None:
        """Record nothing."""

    def opened(self) -> None:
        """Count nothing."""

    def reset(self) -> None:
        """Forget nothing: nobody's PIN is awaited."""
