"""RemoteLock: the bolt of another process, device/lockd.py, spoken to over its socket.

There are two signs of life. The *beat* shows that this program lives: a thread sends it as long as the camera loop has
called `check()` within `HANGS_S`. So a slow frame cuts no pulse, and a loop that hangs stops the beat. The time of the
*frame* behind a pulse shows that the frame is fresh; it goes along with each request.

When the lock process goes away, this class connects again. Until then every request is refused as `gone`. If the lock
process stays away for `patience_s`, that is a `LockError`, and the program ends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device.errors import LockError, LockRefused
from device.lock.door import Report, news
from device.lock.wire import (
    LONGEST_BYTES,
    NEWS,
    OPEN,
    PULSE,
    RELEASED,
    SIGNAL,
    Answer,
    Command,
    Refusal,
    read_answer,
    write_command,
)

ANSWER_S = 1.0  # the lock process answers within milliseconds
BEAT_S = 0.5  # a quarter of what the lock process waits for
HANGS_S = 10.0  # a loop that did not turn for this long hangs; a frame on a slow, hot board takes less
PATIENCE_S = 10.0  # both services start together at boot, and a predecessor has to be missed first
RETRY_S = 0.2  # a lock process that is gone is looked for this often
GONE = "gone"  # the reason of a request that reached no lock process
NEXT_STEP = "see `systemctl status face-unlock-lock`, or run without --lock-socket"


class RemoteLock:
    """A connection to the lock process.

    `on_news(event, details)` hears of the door, of alarms, and of a lock process that went or came back. Listeners are
    called from the beat's thread too; what they raise is dropped.

    Args:
        address: its socket.
        life_s: how old a frame may be when its command arrives.
        patience_s: how long to try until somebody listens there and nobody else is served.
    """

    def __init__(self, address: Path, *, life_s: float, patience_s: float = PATIENCE_S) -> None:
        self.on_change: Callable[[bool], None] | None = None
        self.on_news: Callable[[str, dict[str, Any]], None] | None = None
        self.on_key: Callable[[str], None] | None = None
        self._address, self._life_s, self._patience_s = address, life_s, patience_s
        self._guard = threading.RLock()  # one command at a time, of the loop or of the beat
        self._socket: socket.socket | None = None
        self._report, self._bolt, self._nonce = Report(), "jammed", ""
        self._told_locked = True
        self._unanswered = False
        self._closed = threading.Event()
        self._lost_s: float | None = None  # since when the lock process is gone
        self._lost: Exception | None = None
        self._fault: LockError | None = None  # what the beat's thread was told, for the loop to raise
        self._beat_s = self._tried_s = 0.0
        self._turned_s = time.monotonic()
        self._connect(time.monotonic() + patience_s)
        self._thread = threading.Thread(target=self._beat, name="beat", daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return f"lock process at {self._address}"

    @property
    def is_locked(self) -> bool | None:
        """True locked, False unlocked, None when jammed or the lock process is gone."""
        with self._guard:
            self._drain()
            if self._socket is None:
                return None
            return {"locked": True, "unlocked": False, RELEASED: False}.get(self._bolt)

    @property
    def report(self) -> Report:
        """The door and its alarms as the lock process told them last."""
        return self._report

    def check(self) -> None:
        """Say that the loop turns; raise LockError when the lock process stays away."""
        self._turned_s = time.monotonic()
        with self._guard:
            if self._closed.is_set():
                return
            self._tend()
            self._raise_if_away()

    def unlock(self, frame_at_s: float | None = None) -> None:
        """Ask for one pulse; raise LockRefused when this one may not be, or reaches no lock process."""
        self._ask(PULSE, time.monotonic() if frame_at_s is None else frame_at_s)

    def open_from_outside(self) -> None:
        """Ask for one pulse for somebody elsewhere; raise LockRefused as `unlock` does."""
        self._ask(OPEN, time.monotonic())

    def signal(self, name: str) -> None:
        """Have a pattern played, or the silent alarm raised; raise LockRefused when it came too late."""
        self._ask(f"{SIGNAL}{name}", time.monotonic())

    def lock(self) -> None:
        """Have this program's pulse ended now; raise LockError when that is not confirmed.

        It waits for no earlier answer, which a signal's exception may have swallowed: `lock` needs no nonce. The pulse
        of the exit button goes on. A lock process that is gone has locked, or its unit has.
        """
        self._turned_s = time.monotonic()
        with self._guard:
            if self._closed.is_set() or not self._is_there():
                return
            until_s = time.monotonic() + ANSWER_S
            try:
                self._send("lock", time.monotonic())
                while (answer := self._receive()).word in NEWS or answer.bolt not in ("locked", RELEASED):
                    if time.monotonic() > until_s:
                        break
            except TimeoutError:
                pass
            except OSError as error:
                self._lose(error)
                if not self._is_there():
                    return
            if self._bolt not in ("locked", RELEASED):
                raise LockError(f"{self}: the bolt is {self._bolt}, expected locked: check the wiring")

    def close(self) -> None:
        """Ask for the lock and hang up; the lock process locks when the connection ends, too."""
        with self._guard:
            if self._closed.is_set():
                return
            try:
                self.lock()
                if self._socket is None:
                    raise LockError(f"{self}: is gone: {self._lost}: {NEXT_STEP}")
            finally:
                self._closed.set()
                self._hang_up()

    def _beat(self) -> None:
        """Beat while the loop turns; whatever is raised here, the loop hears it at its next `check()`."""
        while not self._closed.wait(BEAT_S / 2):
            if time.monotonic() - self._turned_s > HANGS_S:
                continue
            try:
                with self._guard:
                    self._tend()
            except LockError as error:
                self._fault = error
            except Exception:
                continue

    def _tend(self) -> None:
        """Handle news, send the beat, or look for a lock process that is gone."""
        self._drain()
        now_s = time.monotonic()
        if self._socket is None:
            self._is_there()
        elif now_s - self._beat_s >= BEAT_S:
            self._beat_s = now_s
            with contextlib.suppress(LockRefused):  # it came late on a busy board; the next one tells
                self._ask("beat", now_s)

    def _is_there(self) -> bool:
        """Return whether the lock process is connected; one that is gone is looked for now and then."""
        now_s = time.monotonic()
        if self._socket is not None or self._closed.is_set():
            return self._socket is not None
        if now_s - self._tried_s < RETRY_S:
            return False
        self._tried_s = now_s
        try:
            self._try_to_connect()
        except (OSError, LockError) as error:
            self._hang_up()
            self._lost = error
            return False
        self._lost_s, self._unanswered = None, False
        self._tell_news("lock_back", {})
        return True

    def _lose(self, error: Exception) -> None:
        """Note that the lock process is gone, and look for it at once: after a slow frame it only hung up."""
        self._hang_up()
        self._lost = error
        self._bolt, self._tried_s = "jammed", 0.0
        if self._lost_s is None:
            self._lost_s = time.monotonic()
            self._tell_news("lock_lost", {"error": f"{error}: {NEXT_STEP}"})

    def _raise_if_away(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._lost_s is not None and time.monotonic() - self._lost_s >= self._patience_s:
            raise LockError(f"{self}: is gone: {self._lost}: {NEXT_STEP}")

    def _connect(self, until_s: float) -> None:
        while True:
            try:
                self._try_to_connect()
                return
            except (OSError, LockError) as error:
                self._hang_up()
                if time.monotonic() >= until_s:
                    raise LockError(f"{self}: cannot be reached: {error}: {NEXT_STEP}") from error
            time.sleep(0.1)

    def _try_to_connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect(str(self._address))
        answer = self._receive()
        if answer.word != "hello":
            raise LockError(str(answer.refusal or answer.word))

    def _ask(self, verb: str, frame_at_s: float) -> None:
        """Send a command and wait for its answer."""
        self._turned_s = self._turned_s if verb == "beat" else time.monotonic()
        with self._guard:
            if self._closed.is_set():
                raise LockError(f"{self}: {verb} after close(): build a new lock")
            self._drain()
            if not self._is_there():
                raise LockRefused(GONE)
            try:
                if self._unanswered:  # a signal's exception came between a command and its answer
                    with contextlib.suppress(TimeoutError):
                        self._wait_for_answer()
                self._unanswered = True
                self._send(verb, frame_at_s)
            except OSError as error:
                self._lose(error)
                raise LockRefused(GONE) from error
            try:
                refusal = self._wait_for_answer()
            except OSError as error:
                self._lose(error)  # it may have been done, and counts as done
                return
        if refusal is not None:
            raise LockRefused(str(refusal))

    def _send(self, verb: str, frame_at_s: float) -> None:
        assert self._socket is not None
        self._socket.send(write_command(Command(verb, self._nonce, frame_at_s, self._life_s)))

    def _wait_for_answer(self) -> Refusal | None:
        while (answer := self._receive()).word in NEWS:
            pass
        self._unanswered = False
        return answer.refusal

    def _drain(self) -> None:
        """Handle what the lock process sent unasked."""
        if self._socket is None:
            return
        self._socket.settimeout(0)
        try:
            while True:
                if self._receive().word not in NEWS:
                    self._unanswered = False
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error)
        finally:
            if self._socket is not None:
                self._socket.settimeout(ANSWER_S)

    def _receive(self) -> Answer:
        assert self._socket is not None
        packet = self._socket.recv(LONGEST_BYTES + 1)
        if not packet:
            raise ConnectionResetError("it hung up")
        answer = read_answer(packet)
        if answer is None:
            # A key would be a digit of a PIN, and this text goes to logs.
            shown = "a broken key" if packet.startswith(b"key") else repr(packet[:40])
            raise LockError(f"{self}: expected a line of its protocol, received {shown}: {NEXT_STEP}")
        self._nonce, self._bolt = answer.nonce, answer.bolt
        before, self._report = self._report, answer.report
        self._tell(before)
        if answer.word == "key" and self.on_key is not None:
            with contextlib.suppress(Exception):
                self.on_key(answer.key)
        return answer

    def _tell(self, before: Report) -> None:
        """Tell of a bolt that moved and a door that changed."""
        locked = self._bolt not in ("unlocked", RELEASED)
        if locked != self._told_locked:
            self._told_locked = locked
            if self.on_change is not None:
                with contextlib.suppress(Exception):
                    self.on_change(locked)
        for name, details in news(before, self._report):
            self._tell_news(name, details)

    def _tell_news(self, name: str, details: dict[str, Any]) -> None:
        if self.on_news is not None:
            with contextlib.suppress(Exception):
                self.on_news(name, details)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
