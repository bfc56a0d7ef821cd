"""Where the status lines of unlock.py go, and how they read for a person at a terminal."""

from __future__ import annotations

import json
import time
from typing import Any

from device.config import StatusConfig
from device.journal.events import Sink
from device.journal.status import Filtered, LineWriter, StatusLog, Writer, serial_writer, stdout_writer
from device.journal.trail import AuditTrail
from device.watch import RECONNECT_S

DEMO_MARK = "[demo: no pin is driven] "


def open_log(
    settings: StatusConfig,
    audit: AuditTrail,
    *more: Writer,
    as_json: bool,
    demo: bool,
    no_liveness: bool,
    link: Writer | None = None,
) -> StatusLog:
    """Write status to the audit, to the link, to the serial port, and to stdout as JSON or for a person.

    Args:
        more: what has all that the console has.
    """
    console = stdout_writer() if as_json else LineWriter(open_output=Console, reopen=False)
    writers: list[Writer] = [audit, *(Filtered(each, Sink.CONSOLE) for each in (console, *more))]
    if link is not None:
        writers.append(Filtered(link, Sink.LINK))
    if settings.serial_port:
        port = serial_writer(settings.serial_port, settings.baud, DEMO_MARK if demo else "")
        writers.append(Filtered(port, Sink.SERIAL))
    status = StatusLog(writers=writers, demo=demo, no_liveness=no_liveness)
    audit.tell = lambda written, cause: status.event(
        "audit_back" if written else "audit_lost", error=cause or None
    )
    return status


class Console:
    """Print status lines for a person; the queue before it keeps a stopped terminal from stopping the door."""

    def write(self, data: bytes) -> int:
        line = json.loads(data)
        mark = DEMO_MARK if line.get("demo") else ""
        print(f"{time.strftime('%H:%M:%S')} {mark}{describe(line)}", flush=True)
        return len(data)

    def close(self) -> None:
        """Leave stdout to the process."""


def describe(line: dict[str, Any]) -> str:
    """Say a status line in words: the event, then its details."""
    details = dict(line)
    if line["event"] == "camera_lost":
        if details.get("camera", "") in details.get("error", ""):
            details.pop("camera", None)  # the error names it
        details.pop("retry_s", None)
        again = f"trying again, at most every {RECONNECT_S[1]:g} s"
        return ": ".join(
            ["camera lost", *(details[key] for key in ("camera", "error") if key in details), again]
        )
    event = details.pop("event").replace("_", " ")
    said = [str(details.pop(key)).replace("_", " ") for key in ("subject_id", "reason") if key in details]
    said += [
        f"{key.replace('_', ' ')} {str(value).lower() if isinstance(value, bool) else value}"
        for key, value in details.items()
        if key not in ("at", "demo")
    ]
    return f"{event}{': ' if said else ''}{', '.join(said)}"
