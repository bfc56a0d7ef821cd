"""RemoteLock: the bolt of another process, device/lockd.py, spoken to over its socket.

Each command waits for its answer. `check()`, which the camera loop calls for every frame, sends the beat: a loop that
hangs stops beating, and the lock process locks. When that process is gone every call is a `LockError`; the program
ends, and its service starts it anew.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

from device.errors import LockError, LockRefused
from device.lock.door import Report
from device.lock.wire import LONGEST_BYTES, NEWS, SIGNAL, Answer, Command, Refusal, read_answer, write_command

ANSWER_S = 1.0  # the lock process answers within milliseconds
BEAT_S = 0.5  # a quarter of what the lock process waits for
PATIENCE_S = 10.0  # both services start together at boot, and a predecessor has to be missed first
NEXT_STEP = "see `systemctl status face-unlock-lock`, or run without --lock-socket"


class RemoteLock:
    """A connection to the lock process.

    Args:
        address: its socket.
        life_s: how old a frame may be when its command arrives.
        patience_s: how long to try until somebody listens there and nobody else is served.
    """

    def __init__(self, address: Path, *, life_s: float, patience_s: float = PATIENCE_S) -> None:
        self.on_change: Callable[[bool], None] | None = None
        self.on_door: Callable[[Report, Report], None] | None = None
        self.on_key: Callable[[str], None] | None = None
        self._address, self._life_s = address, life_s
        self._socket: socket.socket | None = None
        self._report, self._bolt, self._nonce = Report(), "jammed", ""
        self._told_locked = True
        self._unanswered = False
        self._beat_s = 0.0
        self._connect(time.monotonic() + patience_s)

    def __str__(self) -> str:
        return f"lock process at {self._address}"

    @property
    def is_locked(self) -> bool | None:
        """True locked, False unlocked, None when jammed or the lock process is gone."""
        with contextlib.suppress(LockError):
            self._drain()
            if self._socket is not None:
                return {"locked": True, "unlocked": False}.get(self._bolt)
        return None

    def check(self) -> None:
        """Beat; raise LockError when the lock process is gone."""
        self._drain()
        if time.monotonic() - self._beat_s >= BEAT_S:
            self._beat_s = time.monotonic()
            with contextlib.suppress(
                LockRefused
            ):  # a beat that came late on a busy board; the next one tells
                self._ask("beat", time.monotonic())

    def unlock(self, frame_at_s: float | None = None) -> None:
        """Ask for one pulse; raise LockRefused when this one may not be, LockError when the process is gone."""
        self._ask("pulse", time.monotonic() if frame_at_s is None else frame_at_s)

    def signal(self, name: str) -> None:
        """Have a pattern played, or the silent alarm raised; raise LockRefused when it came too late."""
        self._ask(f"{SIGNAL}{name}", time.monotonic())

    def lock(self) -> None:
        """Have it locked now; raise LockError when that is not confirmed.

        It waits for no earlier answer, which a signal's exception may have swallowed: `lock` needs no nonce. Where the
        lock process hung up meanwhile it is connected to anew.
        """
        if self._socket is None:
            return
        until_s = time.monotonic() + ANSWER_S
        try:
            self._send("lock", time.monotonic())
            while (answer := self._receive()).word in NEWS or answer.bolt != "locked":
                if time.monotonic() > until_s:
                    break
        except TimeoutError:
            pass
        except OSError as error:
            self._come_back(error)
        if self._bolt != "locked":
            raise LockError(f"{self}: the bolt is {self._bolt}, expected locked: check the wiring")

    def close(self) -> None:
        """Have it locked and hang up; the lock process locks when it hears that, too."""
        try:
            self.lock()
        finally:
            self._hang_up()

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

    def _come_back(self, error: OSError) -> None:
        """Connect anew: a lock process that hung up has locked, and its greeting tells; a camera that hangs is enough.

        Whoever waits for a frame in mid-pulse is silent, and hung up on before the frame is missed.
        """
        before = self._socket
        try:
            self._try_to_connect()
        except (OSError, LockError):
            self._hang_up()
            self._socket = before  # nobody may take this lock for one that was closed
            raise LockError(f"{self}: is gone: {error}: {NEXT_STEP}") from error
        self._unanswered = False
        if before is not None:
            before.close()

    def _ask(self, verb: str, frame_at_s: float) -> None:
        """Send a command and wait for its answer."""
        if self._socket is None:
            raise LockError(f"{self}: {verb} after close(): build a new lock")
        try:
            if self._unanswered:  # a signal's exception came between a command and its answer
                with contextlib.suppress(TimeoutError):
                    self._wait_for_answer()
            self._unanswered = True
            self._send(verb, frame_at_s)
            refusal = self._wait_for_answer()
        except OSError as error:
            raise LockError(f"{self}: does not answer: {error}: {NEXT_STEP}") from error
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
        """Take what the lock process told by itself."""
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
            raise LockError(f"{self}: is gone: {error}: {NEXT_STEP}") from error
        finally:
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
        """Tell of a bolt that moved and a door that changed; what a listener raises is dropped."""
        locked = self._bolt != "unlocked"
        if locked != self._told_locked:
            self._told_locked = locked
            if self.on_change is not None:
                with contextlib.suppress(Exception):
                    self.on_change(locked)
        if self._report != before and self.on_door is not None:
            with contextlib.suppress(Exception):
                self.on_door(before, self._report)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
