"""The audit of a running program: goes on when a record cannot be written, and counts what was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from device.errors import AuditError
from device.journal.audit import Audit
from device.types import Is, Reason

# Status events that are records too, with the fields that go along. Grants are not among them: their record comes
# before the bolt moves, and what the lock process refused names the same person (admission.py). Texts of faults stay
# in the status lines: they may hold a name.
# A refusal by the subject's policy is recorded there too, with the alias.
BY_RULES = {str(reason) for reason in Reason if reason.has(Is.BY_RULES)}
RECORDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "started": ("started", ("version",)),
    "stopping": ("stopped", ("reason", "exit_code")),
    "refused": ("refused", ("reason",)),
    "camera_lost": ("camera_lost", ()),
    "camera_back": ("camera_back", ()),
    "camera_covered": ("camera_covered", ("reason",)),
    "camera_frozen": ("camera_frozen", ()),
    "camera_clear": ("camera_clear", ("reason",)),
    "lock_lost": ("lock_lost", ()),
    "lock_back": ("lock_back", ()),
    "clock_jumped": ("clock_jumped", ("jump_s",)),
    "clock_ok": ("clock_ok", ()),
    "door": ("door", ("door",)),
    "alarm": ("alarm", ("reason",)),
    "alarm_over": ("alarm_over", ("reason",)),
}


class AuditTrail:
    """Write records; an output of the status log, which repeats no refusal within 5 s.

    Args:
        opened: gives the log with the keys as they are now, for another program may rotate them; None where there is
            no key yet, and so nothing to record.

    `tell` hears once that records are lost (False and the cause), and once that they are written again (True).
    """

    def __init__(self, opened: Callable[[], Audit | None], *, demo: bool) -> None:
        self._opened, self._demo = opened, demo
        self.tell: Callable[[bool, str], None] = lambda written, cause: None
        self._guard = threading.Lock()
        self._lost = 0

    def record(self, event: str, **fields: Any) -> bool:
        """Write a record and say whether it is on the disk."""
        with self._guard:
            lost = self._lost
            try:
                audit = self._opened()
                if audit is None:
                    return False
                if lost:
                    audit.append("lost", count=lost)
                    self._lost = 0
                audit.append(event, **fields, demo=self._demo or None)
                cause = ""
            except AuditError as error:
                self._lost += 1
                cause = str(error)
            change = (lost == 0) != (self._lost == 0)
        if change:  # outside the guard: whoever hears it may record something
            self.tell(not self._lost, cause)
        return not cause

    def put(self, line: dict[str, Any]) -> None:
        """Record a status line, if it is one to be recorded."""
        if line["event"] in RECORDED and line.get("reason") not in BY_RULES:
            event, names = RECORDED[line["event"]]
            event = "fault" if "error" in line and event == "stopped" else event
            self.record(event, **{name: line.get(name) for name in names})

    def close(self, wait_s: float) -> None:
        """Leave nothing open: each record is on the disk already."""
