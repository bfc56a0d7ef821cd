"""The lock process: owns the pin, and unlocks it for one pulse when the recognizer asks; `python -m device.lockd`.

It loads no numpy, no camera and no network, and writes no file, so that little can go wrong in it. What holds,
whatever the recognizer does:

- Only root and the named user are heard, one connection at a time. A pulse carries the nonce given out last, and the
  time of a frame that is young and has not opened before (device/lock_protocol.py).
- No pulse is longer than `lock.pulse_s`, and however many follow each other, the bolt is locked again 30 s
  after the first one began. No configuration exceeds that.
- It locks when the recognizer hangs up, stops beating while unlocked, floods, or sends what is no command.
- The exit button works with the recognizer dead, and its pulse does not end when the recognizer does.
- Pin and switches are read again and again; what cannot be confirmed is `jammed`, and locked anew until it is.

Killed by SIGKILL it can do none of this: its unit relocks after any death (`python -m device.lock --relock`), and
its watchdog kills it when this loop stands still.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import secrets
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from device import __version__
from device.config import Config, load_config
from device.door import Door, DoorRule, Report, advance, news, report
from device.door_pins import DoorPins
from device.errors import ConfigError, FaceUnlockError, LockError, UsageError
from device.lock import MAX_OPEN_S, PulseLock, board_text, open_lock
from device.lock_protocol import (
    LONGEST_BYTES,
    PARDONED,
    Answer,
    Command,
    Refusal,
    judge,
    read_command,
    write_answer,
)
from device.notify import Notifier
from device.pins import check_pins
from device.status import StatusLog, stdout_writer

SILENCE_S = 2.0  # unlocked, a recognizer that does not beat for this long hangs
FLOOD = (100, 1.0)  # so many packets within so many seconds are no recognizer's
LOOK_S = (0.02, 0.1)  # between two looks at pin and switches: while something moves or is wired, and else
TELL_S = 5.0  # each kind of refusal is logged this often
TRAVEL_S = 0.5  # from the decision to here, on top of the age that the decision allows


class Client:
    """The connection of one recognizer."""

    def __init__(self, connection: socket.socket, now_s: float) -> None:
        self.connection = connection
        self.nonce = secrets.token_hex(16)
        self.heard_s = now_s
        self.packets, self.counted_from_s = 0, now_s

    def floods(self, now_s: float) -> bool:
        """Count one packet, and say whether there were too many."""
        if now_s - self.counted_from_s > FLOOD[1]:
            self.packets, self.counted_from_s = 0, now_s
        self.packets += 1
        return self.packets > FLOOD[0]


class LockServer:
    """One bolt, its door, and at most one recognizer.

    Args:
        listener: a listening SOCK_SEQPACKET socket.
        users: the numbers of those who may ask for a pulse.
        oldest_s: a frame that is older opens nothing.
    """

    def __init__(
        self,
        *,
        lock: PulseLock,
        pins: DoorPins,
        listener: socket.socket,
        users: frozenset[int],
        rule: DoorRule,
        oldest_s: float,
        status: StatusLog,
    ) -> None:
        self._lock, self._pins, self._listener, self._users = lock, pins, listener, users
        self._rule, self._oldest_s, self._status = rule, oldest_s, status
        self._client: Client | None = None
        self._door, self._report, self._told = Door(), Report(), ""
        self._from_inside = False  # the running pulse is the exit button's
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
        moving = self._pins.watched or self._lock.is_pulsing
        for key, _ in self._selector.select(LOOK_S[0] if moving else LOOK_S[1]):
            if key.fileobj is self._listener:
                self._accept()
            elif self._client is not None:
                self._read(self._client)
        self._watch_client(time.monotonic())
        self._watch_door(time.monotonic())

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
            answer = Answer("refused", "0" * 32, self._door.bolt, self._report, refusal)
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
        elif client.floods(now_s):
            self._expel(client, Refusal.FLOOD)
        elif isinstance(command := read_command(packet), Refusal):
            self._expel(client, command)
        else:
            self._obey(client, command, now_s)

    def _obey(self, client: Client, command: Command, now_s: float) -> None:
        if command.verb == "lock":  # always safe: an old one and a repeated one too
            self._relock()
            command = replace(command, frame_at_s=now_s)
        refusal = judge(
            command, nonce=client.nonce, now_s=now_s, oldest_s=self._oldest_s, opened_by_s=self._opened_by_s
        )
        if refusal is None and command.verb == "pulse":
            refusal = self._pulse(from_inside=False)
            self._opened_by_s = command.frame_at_s
        if refusal is None or refusal in PARDONED:
            client.heard_s, client.nonce = now_s, secrets.token_hex(16)
            self._answer(client, refusal, now_s)
        else:
            self._expel(client, refusal)

    def _answer(self, client: Client, refusal: Refusal | None, now_s: float) -> None:
        if refusal is not None:
            self._log(refusal)
        self._watch_door(now_s)  # the answer tells of the bolt as it is now
        if self._client is client:
            self._send(client, "refused" if refusal else "ok", refusal)

    def _send(self, client: Client, word: str, refusal: Refusal | None = None) -> None:
        answer = Answer(word, client.nonce, self._door.bolt, self._report, refusal)
        self._told = f"{answer.bolt} {answer.report}"
        try:
            client.connection.send(write_answer(answer))
        except OSError:  # gone, or it does not read: either way nobody to be trusted with an open door
            self._drop()

    def _expel(self, client: Client, refusal: Refusal) -> None:
        """Lock, and let go of a recognizer that is broken or none."""
        self._log(refusal)
        self._relock()
        with contextlib.suppress(OSError):
            answer = Answer("refused", client.nonce, self._door.bolt, self._report, refusal)
            client.connection.send(write_answer(answer))
        self._drop()

    def _drop(self) -> None:
        """Hang up and lock, unless somebody is on the way out by the button."""
        client, self._client = self._client, None
        if client is not None:
            if not self._from_inside:
                self._relock()
            self._selector.unregister(client.connection)
            client.connection.close()

    def _watch_client(self, now_s: float) -> None:
        client = self._client
        open_for_it = self._lock.is_pulsing and not self._from_inside
        if client is not None and open_for_it and now_s - client.heard_s > SILENCE_S:
            self._expel(client, Refusal.SILENT)

    # --- the bolt and its door

    def _pulse(self, *, from_inside: bool) -> Refusal | None:
        try:
            self._lock.unlock()
        except LockError as error:
            self._status.event("command_refused", reason=str(Refusal.JAMMED), error=str(error))
            return Refusal.JAMMED
        self._from_inside = from_inside
        return None

    def _relock(self) -> None:
        with contextlib.suppress(
            LockError
        ):  # the lock's own thread tries again, and the door is jammed meanwhile
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
        self._door = advance(self._door, self._pins.look(self._pin_locked(), now_s), now_s, self._rule)
        if self._door.relock:
            self._relock()
        if self._door.release:
            self._pulse(from_inside=True)
        if not self._lock.is_pulsing:
            self._from_inside = False
        self._pins.alarm(bool(self._door.alarms))
        before, self._report = self._report, report(self._door)
        for name, details in news(before, self._report):
            self._status.event(name, **details)
        if self._client is not None and self._told != f"{self._door.bolt} {self._report}":
            self._send(self._client, "state")

    def _log(self, refusal: Refusal) -> None:
        """Write one line, and for each kind no other one in the next seconds."""
        now_s = time.monotonic()
        if now_s - self._logged_s.get(refusal, -TELL_S) >= TELL_S:
            self._logged_s[refusal] = now_s
            self._status.event("command_refused", reason=str(refusal))


def peer_uid(connection: socket.socket) -> int:
    """Return the user of the process at the other end, as the kernel knows it."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def listen(address: Path) -> socket.socket:
    """Listen where owner and group may connect; take over a socket that nobody serves any more."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o117)
    try:
        if address.is_socket() and not _is_served(address):
            address.unlink()
        listener.bind(str(address))
        listener.listen(4)
    except OSError as error:
        listener.close()
        raise LockError(
            f"{address}: cannot be listened on: {error}: check --socket and its folder"
        ) from error
    finally:
        os.umask(before)
    return listener


def _is_served(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(address))
        except ConnectionRefusedError:
            return False
        return True


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM, SIGINT and SIGHUP into a question."""
    caught: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in numbers}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m device.lockd", description="Own the lock's pin.")
    parser.add_argument("--config", type=Path, metavar="PATH", help="TOML file (docs/tune.md)")
    parser.add_argument("--socket", metavar="PATH", help="where to listen; overrides lock.socket")
    parser.add_argument("--client-user", metavar="NAME", help="who is heard beside root; default: this user")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, *, pin_factory: Any = None) -> int:
    """Hold the door until a signal, and return the exit code."""
    args = parse(arguments)
    try:
        config = load_config(args.config)
        with stop_signals() as stopped:
            serve(config, args, pin_factory, stopped)
    except FaceUnlockError as error:
        print(f"lockd: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def serve(config: Config, args: argparse.Namespace, pin_factory: Any, stopped: Callable[[], bool]) -> None:
    """Claim the pins, locked, listen, and take everything down again, the lock first."""
    address = check(config, args)
    users = frozenset({0, user_number(args.client_user)})
    notifier = Notifier.from_environment(os.environ)
    status = StatusLog(writers=[stdout_writer()], demo=False)
    door = DoorRule(held_open_s=config.door.held_open_s, settle_s=config.door.settle_s)
    try:
        with open_lock(config.lock, pin_factory=pin_factory) as lock, contextlib.ExitStack() as undo:
            lock.on_change = lambda locked: tell_bolt(status, locked, config.lock.pulse_s)
            pins = DoorPins(config.door, pin_factory=pin_factory)
            undo.callback(pins.close)
            listener = undo.enter_context(listen(address))
            undo.callback(address.unlink, missing_ok=True)
            oldest_s = config.decision.max_frame_age_s + TRAVEL_S
            server = LockServer(
                lock=lock,
                pins=pins,
                listener=listener,
                users=users,
                rule=door,
                oldest_s=oldest_s,
                status=status,
            )
            undo.callback(server.close)
            undo.callback(lock.close)  # runs first
            status.event("started", version=__version__, lock=config.lock.driver, pulse_s=config.lock.pulse_s)
            notifier.ready(f"holding {lock}")
            server.run(stopped, notifier)
    finally:
        notifier.stopping()
        status.event("stopping")
        status.close()


def tell_bolt(status: StatusLog, locked: bool, pulse_s: float) -> None:
    status.event("locked") if locked else status.event("unlocked", pulse_s=pulse_s)


def check(config: Config, args: argparse.Namespace) -> Path:
    """Refuse what cannot be safe; return the address to listen on."""
    check_pins(config.lock, config.door, config.status.serial_port, board_text())
    if config.lock.pulse_s > MAX_OPEN_S:
        raise ConfigError(
            f"lock.pulse_s: expected at most {MAX_OPEN_S:g} s with a lock process, received {config.lock.pulse_s:g}"
        )
    address = args.socket or config.lock.socket
    if not address:
        raise UsageError("--socket: expected a path, received none: give one, or set lock.socket")
    return Path(address)


def user_number(name: str | None) -> int:
    """Return the number of a user; None is who runs this."""
    if name is None:
        return os.getuid()
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise UsageError(f"--client-user: expected a user of this system, received {name!r}") from None


if __name__ == "__main__":
    sys.exit(main())
