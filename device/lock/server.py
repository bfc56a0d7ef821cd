"""LockServer: obey or refuse the recognizer's commands, and watch the door; device/lockd.py runs it."""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import struct
import time
from collections.abc import Callable

from device.errors import LockError
from device.journal.status import StatusLog
from device.journal.systemd import Notifier
from device.lock.bolt import Asker, PulseLock
from device.lock.budget import WINDOW_S, Budget
from device.lock.door import Alarm, Door, DoorRule, Report, advance, news, report
from device.lock.panel.outputs import Outputs
from device.lock.panel.switches import DoorPins
from device.lock.wire import (
    LONGEST_BYTES,
    OPEN,
    OPENING,
    PARDONED,
    QUIET,
    RELEASED,
    Answer,
    Command,
    Refusal,
    judge,
    read_command,
    write_answer,
)

SILENCE_S = 2.0  # unlocked, a recognizer that does not beat for this long hangs
FLOOD = (100, 1.0)  # so many packets within so many seconds are no recognizer's
SIGNAL_FLOOD = (10, 1.0)  # and so many signals: a challenge asks for one move at a time
LOOK_S = (0.02, 0.1)  # between two looks at pin and switches: while something moves or is wired, and else
TELL_S = 5.0  # each kind of refusal is logged this often


class Rate:
    """At most so many within so many seconds."""

    def __init__(self, limit: tuple[int, float], now_s: float) -> None:
        self._most, self._span_s = limit
        self._count, self._from_s = 0, now_s

    def exceeded(self, now_s: float) -> bool:
        """Count one more, and say whether that is too many."""
        if now_s - self._from_s > self._span_s:
            self._count, self._from_s = 0, now_s
        self._count += 1
        return self._count > self._most


class Client:
    """The connection of one recognizer."""

    def __init__(self, connection: socket.socket, now_s: float) -> None:
        self.connection = connection
        self.nonce = secrets.token_hex(16)
        self.heard_s = now_s
        self.packets, self.signals = Rate(FLOOD, now_s), Rate(SIGNAL_FLOOD, now_s)


class LockServer:
    """One bolt, its door, and at most one recognizer.

    Args:
        listener: a listening SOCK_SEQPACKET socket.
        users: the numbers of those who may ask for a pulse.
        oldest_s: a frame that is older opens nothing.
        opens_outside: the verb `open` is obeyed: somebody elsewhere may open the door.
    """

    def __init__(
        self,
        *,
        lock: PulseLock,
        pins: DoorPins,
        outputs: Outputs,
        listener: socket.socket,
        users: frozenset[int],
        rule: DoorRule,
        oldest_s: float,
        status: StatusLog,
        opens_outside: bool,
    ) -> None:
        self._lock, self._pins, self._outputs = lock, pins, outputs
        self._listener, self._users = listener, users
        self._rule, self._oldest_s, self._status = rule, oldest_s, status
        self._opens_outside = opens_outside
        self._client: Client | None = None
        self._door, self._report, self._told = Door(), Report(), ""
        self._budget = Budget(lock.pulse_s)
        self._overdrawn_s = float("-inf")  # when the recognizer last asked for more than that
        self._pressed_s = float("-inf")  # when the exit button's last pulse began
        self._opened_by_s = -1.0  # time of the newest frame that opened
        self._logged_s: dict[Refusal, float] = {}
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def run(self, stopped: Callable[[], bool], notifier: Notifier) -> None:
        """Serve until `stopped()`; the caller closes the lock."""
        while not stopped():
            self.step()
            notifier.watchdog(time.monotonic())

    def step(self) -> None:
        """Wait for a packet or for the next look at the door, and do what either asks for."""
        moving = self._pins.watched or self._outputs.scanned or self._lock.is_pulsing
        ready = [key for key, _ in self._selector.select(LOOK_S[0] if moving else LOOK_S[1])]
        # The recognizer first: one that hung up must not turn its successor away as busy.
        for key in sorted(ready, key=lambda key: key.fileobj is self._listener):
            if key.fileobj is self._listener:
                self._accept()
            elif self._client is not None:
                self._read(self._client)
        self._watch_client(time.monotonic())
        self._watch_door(time.monotonic())
        self._watch_keypad(time.monotonic())

    def close(self) -> None:
        """Hang up; the listener and the lock are the caller's."""
        self._drop()
        self._selector.close()

    # --- the recognizer

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        now_s = time.monotonic()
        if peer_uid(connection) not in self._users:
            self._turn_away(connection, Refusal.WRONG_USER)
        elif self._client is not None and now_s - self._client.heard_s <= SILENCE_S:
            self._turn_away(connection, Refusal.BUSY)
        else:
            self._drop()
            self._watch_door(now_s)  # the greeting tells of the bolt as it is now
            self._welcome(connection, now_s)

    def _welcome(self, connection: socket.socket, now_s: float) -> None:
        connection.setblocking(False)
        self._client = Client(connection, now_s)
        self._selector.register(connection, selectors.EVENT_READ)
        self._send(self._client, "hello")

    def _turn_away(self, connection: socket.socket, refusal: Refusal) -> None:
        self._log(refusal)
        with connection, contextlib.suppress(OSError):
            connection.setblocking(False)
            answer = Answer("refused", "0" * 32, self._bolt(), self._report, refusal)
            connection.send(write_answer(answer))

    def _read(self, client: Client) -> None:
        try:
            packet = client.connection.recv(LONGEST_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        now_s = time.monotonic()
        if not packet:
            self._drop()
        elif client.packets.exceeded(now_s):
            self._expel(client, Refusal.FLOOD)
        elif isinstance(command := read_command(packet), Refusal):
            self._expel(client, command)
        else:
            self._obey(client, command, now_s)

    def _obey(self, client: Client, command: Command, now_s: float) -> None:
        refusal = None
        if command.verb == "lock":  # always safe: an old one, a repeated one, one without a nonce
            self._end_pulse(now_s)
        else:
            refusal = judge(
                command,
                nonce=client.nonce,
                now_s=now_s,
                oldest_s=self._oldest_s,
                opened_by_s=self._opened_by_s,
            )
        if refusal is None and command.verb == OPEN and not self._opens_outside:
            refusal = Refusal.NOT_ALLOWED
        if refusal is None and command.verb in OPENING:
            refusal = self._pulse(command.frame_at_s, now_s)
        if refusal is None and command.signal is not None:
            refusal = self._signal(client, command.signal, now_s)
        if refusal is None or refusal in PARDONED:
            client.heard_s, client.nonce = now_s, secrets.token_hex(16)
            self._answer(client, refusal, now_s)
        else:
            self._expel(client, refusal)

    def _signal(self, client: Client, name: str, now_s: float) -> Refusal | None:
        if client.signals.exceeded(now_s):
            return Refusal.FLOOD
        self._outputs.play(name)
        return None

    def _answer(self, client: Client, refusal: Refusal | None, now_s: float) -> None:
        if refusal is not None:
            self._log(refusal)
        self._watch_door(now_s)  # the answer tells of the bolt as it is now
        if self._client is client:
            self._send(client, "refused" if refusal else "ok", refusal)

    def _send(self, client: Client, word: str, refusal: Refusal | None = None, key: str = "") -> None:
        answer = Answer(word, client.nonce, self._bolt(), self._report, refusal, key)
        self._told = f"{answer.bolt} {answer.report}"
        try:
            client.connection.send(write_answer(answer))
        except OSError:  # gone, or it does not read: either way nobody to be trusted with an open door
            self._drop()

    def _expel(self, client: Client, refusal: Refusal) -> None:
        """Disconnect a client that breaks the protocol, and lock."""
        self._log(refusal)
        with contextlib.suppress(OSError):
            answer = Answer("refused", client.nonce, self._bolt(), self._report, refusal)
            client.connection.send(write_answer(answer))
        self._drop()

    def _drop(self) -> None:
        """Hang up and end the recognizer's pulse; a pulse of the exit button goes on."""
        client, self._client = self._client, None
        if client is not None:
            self._end_pulse(time.monotonic())
            self._outputs.play(QUIET)  # an alarm goes on: whoever kills the recognizer must not end it
            self._selector.unregister(client.connection)
            client.connection.close()

    def _watch_client(self, now_s: float) -> None:
        client = self._client
        if client is not None and self._lock.runs(Asker.OUTSIDE) and now_s - client.heard_s > SILENCE_S:
            self._expel(client, Refusal.SILENT)

    # --- the bolt and its door

    def _pulse(self, frame_at_s: float, now_s: float) -> Refusal | None:
        """Unlock for the recognizer, within its budget."""
        if not self._budget.allows(now_s):
            self._overdrawn_s = now_s
            return Refusal.TOO_OFTEN
        self._opened_by_s = frame_at_s
        self._budget.begin(now_s)
        return self._unlock(Asker.OUTSIDE)

    def _unlock(self, asker: Asker) -> Refusal | None:
        try:
            self._lock.unlock(asker=asker)
        except LockError as error:
            self._log(Refusal.JAMMED, str(error))
            return Refusal.JAMMED
        return None

    def _end_pulse(self, now_s: float) -> None:
        """End what the recognizer asked for."""
        self._budget.end(now_s)
        with contextlib.suppress(LockError):  # the lock's own thread tries again; meanwhile it is jammed
            self._lock.end(Asker.OUTSIDE)

    def _relock(self) -> None:
        with contextlib.suppress(LockError):
            self._lock.lock()

    def _pin_locked(self) -> bool | None:
        """Read the pin back; None when it is not where it was driven to."""
        is_locked = self._lock.is_locked
        if is_locked is False and not self._lock.is_pulsing:
            self._relock()  # somebody else drove it, or a pulse ended between the two looks
            is_locked = self._lock.is_locked
        try:
            self._lock.check()
        except LockError:
            return None
        return is_locked

    def _watch_door(self, now_s: float) -> None:
        opened_at_s = self._door.opened_at_s
        self._door = advance(self._door, self._pins.look(self._pin_locked(), now_s), now_s, self._rule)
        if self._door.relock:
            self._fell_shut(now_s, opened_at_s)
        if self._door.release:
            self._pressed_s = now_s
            self._unlock(Asker.INSIDE)
        self._tell_door(now_s)

    def _fell_shut(self, now_s: float, opened_at_s: float | None) -> None:
        """End the pulse that opened the leaf, now that it fell shut; a later press of the exit button still counts."""
        self._end_pulse(now_s)
        if opened_at_s is None or self._pressed_s <= opened_at_s:
            self._relock()

    def _tell_door(self, now_s: float) -> None:
        """Report changes to the log and to the recognizer, and drive the alarm."""
        found = report(self._door)
        if now_s - self._overdrawn_s < WINDOW_S:
            found = Report(found.door, found.alarms | {str(Alarm.TOO_OFTEN)})
        self._pins.alarm(bool(found.alarms))
        before, self._report = self._report, found
        for name, details in news(before, self._report):
            self._status.event(name, **details)
        if self._client is not None and self._told != f"{self._bolt()} {self._report}":
            self._send(self._client, "state")

    def _bolt(self) -> str:
        """Return what the recognizer is told of the bolt."""
        bolt = self._door.bolt
        return (
            RELEASED
            if bolt == "unlocked" and self._lock.runs(Asker.INSIDE) and not self._lock.runs(Asker.OUTSIDE)
            else bolt
        )

    def _watch_keypad(self, now_s: float) -> None:
        """Hand keys to the recognizer, and to nobody else: no log, and no later one of another person."""
        for key in self._outputs.keys(now_s):
            if self._client is not None:
                self._send(self._client, "key", key=key)

    def _log(self, refusal: Refusal, error: str | None = None) -> None:
        """Write one line, and for each kind no other one in the next seconds."""
        now_s = time.monotonic()
        if now_s - self._logged_s.get(refusal, -TELL_S) >= TELL_S:
            self._logged_s[refusal] = now_s
            self._status.event("command_refused", reason=str(refusal), error=error)


def peer_uid(connection: socket.socket) -> int:
    """Return the user of the process at the other end, as the kernel knows it."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
