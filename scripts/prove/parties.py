"""Who takes part in the proof of fail_secure.py: a supervisor like systemd, recognizers, and a wire to spoil."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

from scripts.prove.disk import watched
from scripts.prove.stores import GUEST
from scripts.prove.waits import Waits, threads_of, waited_s

MOCK = [sys.executable, str(ROOT / "scripts/stage/mock_pins.py")]
WATCHDOG_S = 1.0  # the unit's WatchdogSec= is longer, and so is its bound
START_S = 60.0  # a busy machine starts a Python with its networks slowly


def wait_for(condition: Callable[[], bool], patience_s: float, waits: Waits | None = None) -> bool:
    """Wait for a condition; what `waits` counted meanwhile is not held against it, up to `START_S`."""
    began_s = time.monotonic()
    while not condition():
        gone_s = time.monotonic() - began_s
        if gone_s > patience_s and gone_s - min(START_S, waits.since(began_s) if waits else 0.0) > patience_s:
            return False
        time.sleep(0.005)
    return True


def enroll(folder: Path) -> tuple[Path, Path]:
    """Make a clip of somebody, and a door that knows them as a guest with counted entries."""
    clip, state = folder / "clip.mp4", folder / "state"
    photo = str(ROOT / "tests/data/astronaut.jpg")
    make = [sys.executable, str(ROOT / "scripts/make_clip.py"), str(clip), "nobody:0.3", f"{photo}:8"]
    learn = [sys.executable, str(ROOT / "enroll.py"), "--name", GUEST, "--images", photo, "--no-sheet"]
    (folder / "empty.toml").touch()
    learn += ["--gallery", str(state / "gallery.db"), "--config", str(folder / "empty.toml")]
    for command in (make, [*learn, "--entries", "100000"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return clip, state


class Supervisor:
    """What systemd does for the lock process: READY, watchdog, relock after death, restart.

    Args:
        powered: False lets the dead lie, until `boot()`.
    """

    def __init__(self, folder: Path, toml: str) -> None:
        self.folder, self.address, self.powered = folder, folder / "bolt.sock", True
        (folder / "config.toml").write_text(toml)
        self.process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0  # when that lock process was started, on the monotonic clock
        self._ready, self._ending = threading.Event(), False
        self._fed_s = self._fed_waited_s = 0.0
        self._relocking: subprocess.Popen[bytes] | None = None
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(folder / "notify"))
        self._manager.settimeout(0.02)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def await_ready(self) -> bool:
        """Wait until a lock process listens."""
        return self._ready.wait(START_S)

    @property
    def thread(self) -> int:
        """The native number of the thread that supervises."""
        return self._thread.native_id or 0

    def pids(self) -> list[int]:
        """Return the processes that move the pin: the lock process, and a relock."""
        return [each.pid for each in (self.process, self._relocking) if each is not None]

    def await_quiet(self) -> bool:
        """Wait until the lock process has handled all that was sent to it: then it greets a newcomer."""
        return wait_for(self._greets, START_S)

    def _greets(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as newcomer,
        ):
            newcomer.settimeout(1)
            newcomer.connect(str(self.address))
            return newcomer.recv(4096).startswith(b"hello")
        return False

    def boot(self) -> None:
        self.powered = True

    def close(self) -> None:
        self._ending = True
        self._thread.join(10)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._manager.close()

    def _run(self) -> None:
        while not self._ending:
            self._listen()
            if self.process is None:
                if self.powered:
                    self._start()
            elif self.process.poll() is not None:
                self._ready.clear()
                self.process = None
                if self.powered:
                    self._relock()
            elif self._ready.is_set() and self._is_hungry(self.process.pid):
                self.process.kill()

    def _is_hungry(self, pid: int) -> bool:
        """Say whether its watchdog has not been fed for too long; a wait for a processor is no fault of its own."""
        fasted_s = time.monotonic() - self._fed_s
        return fasted_s > WATCHDOG_S and fasted_s - (self._waited_s(pid) - self._fed_waited_s) > WATCHDOG_S

    @staticmethod
    def _waited_s(pid: int) -> float:
        return sum(waited_s(threads_of(pid)).values())

    def _listen(self) -> None:
        with contextlib.suppress(TimeoutError):
            told = self._manager.recv(4096)
            self._fed_s = time.monotonic()
            self._fed_waited_s = self._waited_s(self.process.pid) if self.process else 0.0
            if told.startswith(b"READY=1"):
                self._ready.set()

    def _start(self) -> None:
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        }
        environment.pop("WATCHDOG_PID", None)
        options = ["--config", str(self.folder / "config.toml"), "--socket", str(self.address)]
        with (self.folder / "lockd.log").open("ab") as log:
            command = [*MOCK, str(self.folder), "lockd", *options]
            self.started_s = time.monotonic()
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _relock(self) -> None:
        command = [
            *MOCK,
            str(self.folder),
            "relock",
            "--relock",
            "--config",
            str(self.folder / "config.toml"),
        ]
        self._relocking = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._relocking.wait()
        self._relocking = None


class Recognizer:
    """A process that asks for pulses: the client alone, or the whole unlock.py on a clip.

    `calls`: where strace writes its system calls, None for not at all.
    """

    def __init__(
        self, folder: Path, address: Path, clip: Path | None, gallery: Path | None, calls: Path | None = None
    ) -> None:
        self.asked, self.whole = 0, clip is not None
        if clip is None:
            command = [*MOCK, str(folder), "visit", str(address)]
        else:
            options = ["--camera", str(clip), "--gallery", str(gallery), "--json", "--no-liveness"]
            options += ["--config", str(folder / "config.toml"), "--lock-socket", str(address)]
            command = [*MOCK, str(folder), "unlock", *options]
        command = watched(command, calls, aside=True) if calls else command
        with (folder / "recognizer.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self.lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def await_ready(self) -> bool:
        """Wait until it watches the door."""
        return wait_for(lambda: any(b"ready" in line for line in list(self.lines)), START_S)

    def told(self, event: str) -> bool:
        """Say whether unlock.py has told an event."""
        return any(f'"event": "{event}"'.encode() in line for line in list(self.lines))

    def count(self, event: str) -> int:
        """Count how often unlock.py has told an event."""
        return sum(f'"event": "{event}"'.encode() in line for line in list(self.lines))

    def ask(self) -> None:
        """Let somebody enrolled step before the camera."""
        self.asked += 1
        if not self.whole:
            with contextlib.suppress(OSError, ValueError):  # gone, or its camera was pulled before
                self.process.stdin.write(b"\n")
                self.process.stdin.flush()

    def pull_camera(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):
            self.lines.extend(iter(self.process.stdout.readline, b""))


class Tap:
    """A wire between recognizer and lock process on which each packet may be spoilt."""

    def __init__(self, address: Path, onward: Path) -> None:
        self.spoil: Callable[[bytes], list[bytes]] = lambda packet: [packet]
        self._onward, self._ending = onward, False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(address))
        self._listener.listen(1)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._ending = True
        self._listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while not self._ending:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                try:
                    far.connect(str(self._onward))
                except OSError:  # nobody listens there now
                    near.close()
                    continue
                for source, target, spoilt in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._carry, args=(source, target, spoilt), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, spoilt: bool) -> None:
        with contextlib.suppress(OSError), source, target:
            while packet := source.recv(4096):
                for each in self.spoil(packet) if spoilt else [packet]:
                    if self._ending:  # whoever sent it is gone, and nobody keeps a packet for later
                        return
                    target.send(each)
            target.shutdown(socket.SHUT_RDWR)
            source.shutdown(socket.SHUT_RDWR)
