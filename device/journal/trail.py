"""The audit of a running program: it goes on when a record cannot be written, and counts the lost ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from device.errors import AuditError
from device.journal.audit import Audit
from device.journal.events import EVENTS, Sink
from device.types import Is, Reason

# A refusal by a person's rules is recorded where it happens, with the alias (admission.py). Texts of faults stay in the
# status lines: they may hold a name.
BY_RULES = {str(reason) for reason in Reason if reason.has(Is.BY_RULES)}


class AuditTrail:
    """Write records; an output of the status log.

    Args:
        opened: gives the log with the keys as they are now, for another program may rotate them; None where there is
            no key yet, and so nothing to record.
        outside: the same for the log of what anybody before the door can cause, so that no flood of refusals takes the
            room of grants, enrollments and alarms; None: one log for all.

    `tell` hears once that records are lost (False and the cause), and once that they are written again (True).
    """

    def __init__(
        self,
        opened: Callable[[], Audit | None],
        *,
        demo: bool,
        outside: Callable[[], Audit | None] | None = None,
    ) -> None:
        self._opened, self._outside, self._demo = opened, outside or opened, demo
        self.tell: Callable[[bool, str], None] = lambda written, cause: None
        self._guard = threading.Lock()
        self._lost = 0

    def record(self, event: str, **fields: Any) -> bool:
        """Write a record and say whether it is on the disk."""
        with self._guard:
            lost = self._lost
            try:
                audit = (self._outside if EVENTS[event].sinks & Sink.OUTSIDE else self._opened)()
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
        event = EVENTS[line["event"]]
        if event.record and line.get("reason") not in BY_RULES:
            record = "fault" if "error" in line and event.record == "stopped" else event.record
            self.record(record, **{name: line.get(name) for name in event.fields})

    def close(self, wait_s: float) -> None:
        """Leave nothing open: each record is on the disk already."""
