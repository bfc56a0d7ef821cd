"""A program's end of its page: starts the page's process, hands views over, and knows what the visitor said.

The process has a user of its own where systemd starts it: the socket of systemd/face-unlock-live.socket is there on an
installed board, for the service's user alone. Elsewhere it is started from here, in the cage that it makes itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.errors import EnrollmentError
from device.page.drawing import Box, as_data_address, drawn
from device.page.live.wire import (
    AGREED,
    DECLINED,
    ENDED,
    MAX_SAID_BYTES,
    SAYINGS,
    SETTLED,
    TAKEN,
    Packet,
    Wire,
)
from device.page.place import Place
from device.types import Image

UNIT_SOCKET = Path("/run/face-unlock-live.sock")  # of face-unlock-live.socket
ROOT = Path(__file__).resolve().parents[2]
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")  # of the environment; a key may be in the rest
EVERY_S = 1 / 6  # between two pictures
START_S = 60.0  # for the page's process; a Raspberry Pi 3 with a slow card takes some seconds
END_S = SETTLE_S = 5.0


@dataclass(frozen=True)
class Started:
    """A page's process: the program's socket to it, how to wait for its end, and where it says why it ended."""

    control: socket.socket
    process: subprocess.Popen[bytes] | None
    log: str

    def fate(self) -> str:
        """Say how it ended, once it did."""
        if self.process is None:
            return ""
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            return " (it hangs)"
        return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"

    def end(self) -> None:
        """Wait for its end, and no longer than is decent."""
        if self.process is not None:
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start() -> Started:
    """Start a page's process: by systemd where that has its unit, else as a child."""
    control = socket.socket(socket.AF_UNIX)
    try:
        control.connect(str(UNIT_SOCKET))
    except OSError:  # no such unit, or another user's
        control.close()
        return start_child()
    return Started(control, None, "journalctl -u 'face-unlock-live@*'")


def start_child() -> Started:
    """Start it from here; it hears no Ctrl-C, for this program says when it ends."""
    ours, theirs = socket.socketpair()
    environment = {key: os.environ[key] for key in KEPT if key in os.environ}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "device.page.live"],
            cwd=ROOT,
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=own_stderr(),
            start_new_session=True,
        )
    return Started(ours, process, "the lines above")


def own_stderr() -> int:
    """Return this program's stderr, where a page says why it cannot start."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return sys.stderr.fileno()
    return subprocess.DEVNULL


class Window:
    """A page of a place, from now until it is closed.

    Args:
        place: where it listens; its socket is handed over.
        view: the page with the picture.
        question: the page before it, "" for none.
        start: starts the page's process.
        now: a clock that nobody sets, s.

    Raises EnrollmentError where the process does not start.
    """

    def __init__(
        self,
        place: Place,
        *,
        view: str,
        question: str = "",
        start: Callable[[], Started] = start,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._said: set[str] = set()
        self._is_lost = self._is_closed = False
        self._shown_s, self._asked_s = -EVERY_S, now()
        self.token = self.fingerprint = ""
        self._started = start()
        self._wire = Wire(self._started.control, longest=MAX_SAID_BYTES)
        about = {"host": place.host, "address": place.ip, "is_tls": place.is_tls}
        self._wire.send({**about, "view": view, "question": question}, place.socket)
        self._listener = place.socket
        self._reader = threading.Thread(target=self._read, name="page", daemon=True)
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self.token or self._is_lost, START_S)
        if not self.token:
            self._wire.end()
            fate = self._started.fate()
            self.close()
            raise EnrollmentError(
                f"the page's process did not start{fate}: nothing was stored: see {self._started.log}"
            )

    @property
    def has_agreed(self) -> bool:
        return AGREED in self._said

    @property
    def has_declined(self) -> bool:
        return DECLINED in self._said

    @property
    def is_guessed_at(self) -> bool:
        """Say whether five codes were wrong."""
        return ENDED in self._said

    @property
    def is_lost(self) -> bool:
        """Say whether the page's process is gone before its time."""
        return self._is_lost and not self._is_closed

    @property
    def is_ended(self) -> bool:
        return self.has_declined or self.is_guessed_at or self.is_lost

    @property
    def loss(self) -> str:
        """Say what became of a process that is lost."""
        return f"the page's process is gone{self._started.fate()}"

    @property
    def unasked_s(self) -> float:
        """How long no browser has asked for a view."""
        return self._now() - self._asked_s

    def is_due(self) -> bool:
        """Say whether it is time for another picture; the camera may be far quicker."""
        return self._now() - self._shown_s >= EVERY_S

    def show(self, image: Image, box: Box | None, **told: Any) -> None:
        """Show an (H, W, 3) uint8 RGB image and what is said of it, in place of what was."""
        self._shown_s = self._now()
        self._wire.send({"show": {"picture": as_data_address(drawn(image, box)), **told}})

    def settle(self) -> bool:
        """Let a no come too late from now on; False where it came before, or the page does not answer."""
        self._wire.send({"settle": True})
        self._wait(lambda: SETTLED in self._said or self.is_ended, SETTLE_S)
        return SETTLED in self._said and not self.is_ended

    def end(self, **told: Any) -> None:
        """Show the last view: whoever waits is told, and nothing follows."""
        self._wire.send({"last": told})

    def wait_for_start(self, wait_s: float) -> None:
        """Wait until the visitor agrees, or it ends."""
        self._wait(lambda: self.has_agreed or self.is_ended, wait_s)

    def wait_until_taken(self, wait_s: float) -> None:
        """Wait until a browser has the last view."""
        self._wait(lambda: TAKEN in self._said or self.is_lost, wait_s)

    def close(self) -> None:
        """Leave no address that answers."""
        self._is_closed = True
        self._wire.end()
        self._started.end()
        self._reader.join(END_S)
        self._shut_address()
        self._wire.close()

    def _shut_address(self) -> None:
        """Let nothing listen, also where the page's process hangs: a shut socket is shut for all who have it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _wait(self, condition: Callable[[], bool], wait_s: float) -> None:
        with self._changed:
            self._changed.wait_for(condition, wait_s)

    def _read(self) -> None:
        for packet in self._wire.packets():
            self._take(packet)
        self._shut_address()
        with self._changed:
            self._is_lost = True
            self._changed.notify_all()

    def _take(self, packet: Packet) -> None:
        """Note what the page says; it may be in other hands, so nothing but the words that are known counts."""
        said = packet.get("said")
        with self._changed:
            if not self.token:
                self.token, self.fingerprint = texts_of(packet)
            elif said in SAYINGS:
                self._said.add(said)
                if said not in (ENDED, DECLINED, SETTLED):
                    self._asked_s = (
                        self._now()
                    )  # a slow phone needs a moment to load the page with the picture
            self._changed.notify_all()


def texts_of(packet: Mapping[str, Any]) -> tuple[str, str]:
    """Return token and fingerprint, letters alone: they are printed at a terminal."""
    token, fingerprint = str(packet.get("token", "")), str(packet.get("fingerprint", ""))
    return ("", "") if not (token + fingerprint).replace(":", "").isalnum() else (token, fingerprint)
