"""Status lines: one JSON object each, to a serial port and to stdout, without ever blocking the door.

    {"event": "refused", "at": "2026-03-01T07:30:00.125Z", "reason": "below_threshold"}

Only the fields of `FIELDS` exist, each of one type, so a similarity, an embedding or a picture cannot be
sent, not even by mistake. `event()` puts a line into a bounded queue per output; a thread each writes. An
output that is missing, blocked or unplugged loses its oldest lines, counts them (`dropped` in its next line)
and is opened again; of a serial port, stderr tells once that it is away and once that it is back.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, Protocol

from device.journal.events import CONSOLE_ONLY, EVENTS, LINK_FIELDS, Sink

# Order and type of all there is to say. `error` is a line for a person; `reason` is a word.
FIELDS: dict[str, type] = {
    "subject_id": str,
    "reason": str,
    "method": str,
    "action": str,
    "stage": str,
    "closeness": str,
    "liveness": str,
    "error": str,
    "version": str,
    "model": str,
    "camera": str,
    "lock": str,
    "door": str,
    "link": str,
    "advice": str,
    "count": int,
    "subjects": int,
    "templates": int,
    "frames": int,
    "is_locked": bool,
    "camera_lost": bool,
    "exit_code": int,
    "fps": float,
    "temperature_c": float,
    "jump_s": float,
    "pulse_s": float,
    "retry_s": float,
    "uptime_s": float,
    "wait_s": float,
    "took_s": float,
    "measured": float,
    "limit": float,
}
QUEUE_LINES = 256
REOPEN_S = (0.5, 10.0)  # first and longest wait before a lost output is tried again
WRITE_TIMEOUT_S = 1.0
BLOCKED_S = 0.05  # between two writes to an output that takes nothing now
TEXT_LIMIT = 200


class Output(Protocol):
    """What a LineWriter writes to: an open pyserial port, a raw file."""

    def write(self, data: bytes, /) -> int | None: ...
    def close(self) -> None: ...


class Writer(Protocol):
    """What a StatusLog hands its lines to: a LineWriter, the audit."""

    def put(self, line: dict[str, Any]) -> None: ...
    def close(self, wait_s: float) -> None: ...


class LineWriter:
    """One output with its queue and its thread.

    Args:
        open_output: opens the output; it may fail, hang and be called again.
        reopen: False when a lost output does not come back (a pipe).
        tell: hears once of each outage and of its end, in the output's own thread; None: nobody does.
    """

    def __init__(
        self,
        *,
        open_output: Callable[[], Output],
        reopen: bool,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._open_output = open_output
        self._reopen = reopen
        self._tell = tell
        self._out = False
        self._lines: collections.deque[dict[str, Any]] = collections.deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._busy = False
        self._closing = False
        self._broken_off = False
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._thread.start()

    def put(self, line: dict[str, Any]) -> None:
        """Queue a line; never waits for the output."""
        with self._changed:
            if len(self._lines) >= QUEUE_LINES:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(line)
            self._changed.notify_all()

    def close(self, wait_s: float) -> None:
        """Give the last lines `wait_s` to get out, then stop; never hangs."""
        deadline_s = time.monotonic() + wait_s
        with self._changed:
            while (self._lines or self._busy) and self._thread.is_alive():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline_s - time.monotonic()))

    def _run(self) -> None:
        wait_s = REOPEN_S[0]
        while not self._closing:
            what = "cannot be opened"
            try:  # no port, no permission, unplugged, timed out: all the same
                output = self._open_output()
                what = "cannot be written"
                try:
                    while (line := self._next()) is not None:
                        self._write(output, line)
                        wait_s = REOPEN_S[0]
                        self._tell_change(out=False, text="is back")
                finally:
                    with contextlib.suppress(Exception):
                        output.close()
            except Exception as error:
                again = f"trying again every {REOPEN_S[1]:g} s"
                self._tell_change(out=True, text=f"{what}: {_cause(error)}: {again}")
            if not self._reopen:
                return
            with self._changed:
                self._busy = False
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing, wait_s)
            wait_s = min(wait_s * 2, REOPEN_S[1])

    def _tell_change(self, *, out: bool, text: str) -> None:
        """Tell that an outage began or ended, once each."""
        changed, self._out = out != self._out, out
        if changed and self._tell is not None and not self._closing:
            with contextlib.suppress(Exception):
                self._tell(text)

    def _next(self) -> dict[str, Any] | None:
        """Wait for a line; None when closing."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._lines or self._closing)
            if self._closing:
                return None
            self._busy = True
            return self._lines.popleft()

    def _write(self, output: Output, line: dict[str, Any]) -> None:
        dropped = self._dropped
        told = {**line, "dropped": dropped} if dropped else line
        # A reader that saw half a line before the break finds its feet again at the line feed.
        data = (b"\n" if self._broken_off else b"") + json.dumps(told).encode() + b"\n"
        try:
            while data:
                written = output.write(data) or 0
                data = data[written:]
                if not written:
                    time.sleep(BLOCKED_S)
        except BaseException:
            self._broken_off = True
            self._put_back(line)
            raise
        self._broken_off = False
        with self._changed:
            self._dropped -= dropped

    def _put_back(self, line: dict[str, Any]) -> None:
        with self._changed:
            if len(self._lines) < QUEUE_LINES:
                self._lines.appendleft(line)
            else:
                self._dropped += 1


class Filtered:
    """Pass to one output the events and fields that the table of events allows it."""

    def __init__(self, writer: Writer, sink: Sink) -> None:
        self._writer, self._sink = writer, sink

    def put(self, line: dict[str, Any]) -> None:
        if EVENTS[line["event"]].sinks & self._sink:
            self._writer.put({key: value for key, value in line.items() if self._passes(key)})

    def close(self, wait_s: float) -> None:
        self._writer.close(wait_s)

    def _passes(self, key: str) -> bool:
        if self._sink is Sink.LINK:
            return key in LINK_FIELDS
        return self._sink is Sink.CONSOLE or key not in CONSOLE_ONLY


class StatusLog:
    """The events of one run, written to all outputs.

    Args:
        writers: outputs; none at all is fine.
        demo: True marks every line with `"demo": true`.
        no_liveness: True marks every line with `"liveness": "off"`.
    """

    def __init__(self, *, writers: Sequence[Writer], demo: bool, no_liveness: bool = False) -> None:
        self._writers = list(writers)
        self._demo = demo
        self._always = {"liveness": "off"} if no_liveness else {}

    def event(self, name: str, **fields: Any) -> None:
        """Queue one line; raise ValueError for an event or field that the documents do not know.

        Fields that are None are left out. Safe to call from any thread.
        """
        line = make_line(name, {**fields, **self._always}, at=datetime.now(timezone.utc), demo=self._demo)
        for writer in self._writers:
            writer.put(line)

    def close(self, wait_s: float = 1.0) -> None:
        """Give all outputs `wait_s` together to write what is queued."""
        deadline_s = time.monotonic() + wait_s
        for writer in self._writers:
            writer.close(max(0.05, deadline_s - time.monotonic()))


def make_line(name: str, fields: dict[str, Any], *, at: datetime, demo: bool) -> dict[str, Any]:
    """Check an event and return it with its keys in their fixed order."""
    if name not in EVENTS:
        raise ValueError(f"event {name!r}: expected one of {', '.join(EVENTS)}")
    for key in fields:
        if key not in FIELDS:
            raise ValueError(f"field {key!r} of event {name!r}: expected one of {', '.join(FIELDS)}")
    line: dict[str, Any] = {"event": name, "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    if demo:
        line["demo"] = True
    for key, kind in FIELDS.items():
        if fields.get(key) is not None:
            line[key] = _checked(key, fields[key], kind)
    return line


def _checked(key: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) in (int, float):
        return round(float(value), 3)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"field {key!r}: expected {kind.__name__}, received {value!r}")
    if kind is not str:
        return value
    text = str(value)[:TEXT_LIMIT]
    if key in ("reason", "method", "action", "stage", "closeness") and not re.fullmatch(r"[a-z_]+", text):
        raise ValueError(f"field {key!r}: expected a word such as no_face, received {text!r}")
    # an address may carry a password, and this line leaves the board
    return re.sub(r"(\w:/*)\S*@", r"\1***@", " ".join(text.split()))


def serial_writer(port: str, baud: int, prefix: str = "") -> LineWriter:
    """Write to a serial port, which may be absent now and plugged in later; say on stderr when it is away."""

    def open_port() -> Output:
        import serial

        return serial.Serial(port, baud, write_timeout=WRITE_TIMEOUT_S, exclusive=True)

    def tell(text: str) -> None:
        if sys.stderr is not None:  # else number 2 may be another file by now
            # Past Python's buffer: a stopped terminal holds this thread, and no lock that another one needs.
            os.write(2, f"{prefix}serial port {port}: {text}\n".encode(errors="backslashreplace"))

    return LineWriter(open_output=open_port, reopen=True, tell=tell)


def _cause(error: Exception) -> str:
    """Say in a line why an output failed; pyserial packs the number, the port and the cause into one text."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split()) or type(error).__name__


def stdout_writer() -> LineWriter:
    """Write to stdout, past its buffer: a broken pipe is noticed here and not at the interpreter's exit."""
    binary = getattr(sys.stdout, "buffer", None)
    raw = getattr(binary, "raw", binary)

    class Stdout:
        def write(self, data: bytes, /) -> int | None:
            if raw is None:  # a stream of text only, as an editor's console
                sys.stdout.write(data.decode())
                return len(data)
            return raw.write(data)

        def close(self) -> None:
            """Leave stdout to the process."""

    return LineWriter(open_output=Stdout, reopen=False)
