"""The audit of a running program: goes on when a record cannot be written, and counts what was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from device.audit import Audit
from device.errors import AuditError

# Status events that are records too, with the fields that go along. Grants are not among them: their record comes
# before the bolt moves (admission.py). Texts of faults stay in the status lines: they may hold a name.
RECORDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "started": ("started", ("version",)),
    "stopping": ("stopped", ("reason", "exit_code")),
    "refused": ("refused", ("reason",)),
    "camera_lost": ("camera_lost", ()),
    "camera_back": ("camera_back", ()),
}


class AuditTrail:
    """Write records; an output of the status log, which repeats no refusal within 5 s.

    Args:
        audit: None where there is no key yet, and so nothing to record.
        tell: hears once that records are lost, and once that they are written again.
    """

    def __init__(self, audit: Audit | None, *, demo: bool, tell: Callable[[str], None]) -> None:
        self._audit, self._demo, self._tell = audit, demo, tell
        self._guard = threading.Lock()
        self._lost = 0

    def record(self, event: str, **fields: Any) -> bool:
        """Write a record and say whether it is on the disk."""
        if self._audit is None:
            return False
        with self._guard:
            try:
                if self._lost:
                    self._audit.append("lost", count=self._lost)
                    self._lost = 0
                    self._tell("the audit log is written again")
                self._audit.append(event, **fields, demo=self._demo or None)
            except AuditError as error:
                self._lost += 1
                if self._lost == 1:
                    self._tell(str(error))
                return False
            return True

    def put(self, line: dict[str, Any]) -> None:
        """Record a status line, if it is one to be recorded."""
        if line["event"] in RECORDED:
            event, names = RECORDED[line["event"]]
            self.record(event, **{name: line.get(name) for name in names})

    def close(self, wait_s: float) -> None:
        """Leave nothing open: each record is on the disk already."""
