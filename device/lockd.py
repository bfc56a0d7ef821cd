"""The lock process: owns the pin, and unlocks it for one pulse when the recognizer asks; `python -m device.lockd`.

It loads no numpy, no camera and no network, and writes no file but the record of its pin (device/lock/claim.py), so
that little can go wrong in it. Guarantees, whatever the recognizer does:

- Only root and the named user are heard, one connection at a time. A pulse carries the nonce given out last, and the
  time of a frame that is young and has not opened before (device/lock/wire.py).
- No pulse is longer than `lock.pulse_s`, and of any minute the recognizer's pulses have the bolt drawn for 30 s at
  most (device/lock/budget.py); more is refused, and an alarm. No configuration exceeds that.
- Its pulse ends when the recognizer hangs up, stops beating, floods, or sends what is no command.
- A signal (buzzer, LED, silent alarm) is one of a closed set, bounded in time, and moves no bolt; keys of the keypad go
  to the recognizer and nowhere else.
- The exit button works with the recognizer dead, and nothing the recognizer does or asks for ends its pulse. It works
  without a buzzer, LED, alarm or keypad that cannot be claimed, too.
- Pin and switches are read again and again; what cannot be confirmed is `jammed`, and locked anew until it is.

Killed by SIGKILL it can do none of this: its unit relocks after any death (`python -m device.lock --relock`), and
its watchdog kills it when this loop stands still.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from device import __version__
from device.config import Config, load_config
from device.errors import ConfigError, FaceUnlockError, LockError, UsageError
from device.journal.status import StatusLog, stdout_writer
from device.journal.systemd import Notifier
from device.lock.bolt import MAX_OPEN_S
from device.lock.claim import ClaimFile, own_folder
from device.lock.door import DoorRule
from device.lock.drivers import board_pins, open_lock
from device.lock.panel.outputs import Outputs
from device.lock.panel.switches import DoorPins
from device.lock.server import LockServer
from device.lock.wiring import board_text, check_wiring
from device.programs import Parser, complain


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
    parser = Parser(prog="python -m device.lockd", description="Own the lock's pin.")
    parser.add_argument("--config", type=Path, metavar="PATH", help="TOML file (docs/owner/tune.md)")
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
        complain(f"lockd: {error}")
        return error.exit_code
    return 0


def serve(config: Config, args: argparse.Namespace, pin_factory: Any, stopped: Callable[[], bool]) -> None:
    """Claim the pins, locked, listen, and take everything down again, the lock first."""
    address = check(config, args)
    users = frozenset({0, user_number(args.client_user)})
    notifier = Notifier.from_environment(os.environ)
    status = StatusLog(writers=[stdout_writer()], demo=False)
    door = DoorRule(held_open_s=config.door.held_open_s, settle_s=config.door.settle_s)

    def warn(text: str) -> None:
        status.event("warning", error=text)

    try:
        with contextlib.ExitStack() as undo:
            factory = undo.enter_context(board_pins(pin_factory, driver=config.lock.driver))
            # The bolt first: until everything else stands, the door is held locked.
            record = ClaimFile(own_folder())
            lock = undo.enter_context(open_lock(config.lock, pin_factory=factory, record=record, warn=warn))
            lock.on_change = lambda locked: tell_bolt(status, locked, config.lock.pulse_s)
            pins = DoorPins(config.door, pin_factory=factory, warn=warn)
            undo.callback(pins.close)
            outputs = Outputs(config, pin_factory=factory, warn=warn)
            undo.callback(outputs.close)
            listener = undo.enter_context(listen(address))
            undo.callback(address.unlink, missing_ok=True)
            oldest_s = config.decision.max_frame_age_s
            server = LockServer(
                lock=lock,
                pins=pins,
                outputs=outputs,
                listener=listener,
                users=users,
                rule=door,
                oldest_s=oldest_s,
                status=status,
                opens_outside=config.link.opens,
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
    check_wiring(config, board_text())
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
