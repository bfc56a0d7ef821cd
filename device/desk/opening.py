"""Opening from outside: whether a command that came over a broker may move the bolt. Off unless link.open_code is set.

A broker may deliver a command late, twice, or to whoever connects next year. So nothing is obeyed that this door's own
clock does not call young, and nothing at all while that clock is not believed:

    issue time     not older than link.command_life_s, not of the future, not from before this program's start
    nonce          once; remembered for longer than a believed clock may be set back
    code           Argon2id, with the lockout of wrong PINs; looked at last, so that an old command tests no code
    hours          link.open_hours
    record         on the disk before the bolt moves; without it nothing opens
    lock process   a verb of its own, refused unless its own configuration allows it, within the minute's budget
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from device.access.clock import JUMP_S
from device.access.lockout import PinLockout
from device.access.pin import is_pin
from device.access.policy import within
from device.desk.wire import Request
from device.errors import LockRefused
from device.journal.trail import AuditTrail
from device.protocols import Front

AHEAD_S = 2.0  # clocks of one network differ by less
NONCES = 256  # within the time that they are remembered; more is no person's
WHO = "outside"  # whose wrong codes they are; no alias is one


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRule:
    """`code_hash` "": nothing opens."""

    code_hash: str
    hours: str


class Freshness:
    """Say whether a command is young, new and meant for this door.

    Args:
        clock: the time of day, None while it is not believed.
        now_s: a clock that nobody sets.
    """

    def __init__(
        self,
        door: str,
        life_s: float,
        clock: Callable[[], datetime | None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door, self._life_s, self._clock, self._now_s = door, life_s, clock, now_s
        self._started_s = now_s()
        self._nonces: dict[str, float] = {}  # until when each is remembered

    def doubt(self, request: Request) -> str:
        """Return why a command may not be obeyed, "" where it is fresh; its nonce is used up by that."""
        now = self._clock()
        if request.door != self._door:
            return "another_door"
        if now is None:
            return "clock_not_set"
        age_s, now_s = now.timestamp() - request.at_s, self._now_s()
        if age_s < -AHEAD_S:
            return "ahead"
        if age_s > min(self._life_s, now_s - self._started_s):
            return "stale"
        self._nonces = {nonce: until_s for nonce, until_s in self._nonces.items() if until_s > now_s}
        if request.nonce in self._nonces:
            return "replay"
        if len(self._nonces) >= NONCES:
            return "too_often"
        self._nonces[request.nonce] = now_s + 2 * JUMP_S + self._life_s
        return ""


class Opening:
    """Open for a command, or say why not.

    Args:
        lockout: counts wrong codes, as it does wrong PINs.
    """

    def __init__(
        self,
        rule: OpeningRule,
        *,
        front: Front,
        audit: AuditTrail,
        lockout: PinLockout,
        clock: Callable[[], datetime | None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rule, self._front, self._audit = rule, front, audit
        self._lockout, self._clock, self._now_s = lockout, clock, now_s

    @property
    def is_on(self) -> bool:
        """Whether anything opens from outside."""
        return bool(self._rule.code_hash)

    def open(self, request: Request) -> str:
        """Open for a fresh command, and return ""; else the reason why not."""
        now = self._clock()
        if not self.is_on:
            return "not_allowed"
        if now is None:
            return "clock_not_set"
        if self._rule.hours and not within(self._rule.hours, "", now):
            return "outside_hours"
        if refusal := self._wrong_code(request.code):
            return refusal
        if not self._audit.record("outside_opened"):
            return "not_recorded"
        try:
            self._front.open_from_outside()
        except LockRefused as refused:
            self._audit.record("command_refused", reason=refused.reason)
            return refused.reason
        return ""

    def _wrong_code(self, code: str) -> str:
        now_s = self._now_s()
        if self._lockout.left_s(WHO, now_s):
            return "pin_locked"
        self._lockout.tried(WHO, now_s)  # before it is looked at: a cut of the power gains no try
        if not is_pin(self._rule.code_hash, code):
            return "wrong_code"
        self._lockout.right(WHO)
        return ""
