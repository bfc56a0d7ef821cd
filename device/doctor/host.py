"""What the doctor reads of the machine: other programs' answers, running processes, open sockets and devices.

It only reads. Nothing here connects to the lock process, claims a pin or stops anything, so it works beside a running
door. What may not be read comes back as nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 20.0  # for another program's answer
LISTENING, CONNECTED = 0x10000, "03"  # of /proc/net/unix: the flag of a listener, the state of a connection


@dataclass(frozen=True, slots=True)
class Process:
    """A running program: its number and its command line."""

    number: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return Path(self.words[0]).name if self.words else "?"

    def option(self, flag: str) -> str | None:
        """Return the value of an option on its command line, None where it is not given."""
        for word, after in zip(self.words, (*self.words[1:], ""), strict=True):
            if word == flag:
                return after
            if word.startswith(f"{flag}="):
                return word.partition("=")[2]
        return None

    def runs(self, program: str) -> bool:
        """Say whether this is Python with that program: a file's name, or a module's."""
        return self.name.startswith("python") and any(Path(word).name == program for word in self.words[1:])


@dataclass(frozen=True, slots=True)
class Host:
    """The machine; tests name folders of their own.

    `proc` and `dev` are where /proc and /dev are.
    """

    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    environ: dict[str, str] = field(default_factory=lambda: {**os.environ, "LC_ALL": "C"})

    def ask(self, *command: str) -> str | None:
        """Return what a program prints, None where it is missing, fails or gives no answer in time."""
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=PATIENCE_S, env=self.environ, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    def processes(self) -> Iterator[Process]:
        """Yield every other running program."""
        for folder in self.proc.glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                number = int(folder.name)
            except (OSError, ValueError):  # it has just ended
                continue
            if number not in (os.getpid(), os.getppid()):
                yield Process(number, tuple(word for word in words if word))

    def doors(self, camera: str | None = None) -> list[Process]:
        """List the running doors: `unlock.py` by whatever name, a demo of it too.

        Args:
            camera: only those before this camera: one that was started with another one is left out.
        """
        found = [each for each in self.processes() if each.runs("unlock.py") or _is_unlock_command(each)]
        return [each for each in found if camera is None or each.option("--camera") in (None, camera)]

    def lock_processes(self) -> list[Process]:
        return [each for each in self.processes() if each.runs("device.lockd")]

    def holders(self, devices: Sequence[Path]) -> list[Process]:
        """List who has one of these devices open, of the processes whose files may be seen."""
        wanted = {str(device) for device in devices}
        found = []
        for each in self.processes():
            try:
                links = list((self.proc / str(each.number) / "fd").iterdir())
            except OSError:
                continue
            if any(_target(link) in wanted for link in links):
                found.append(each)
        return found

    def socket(self, address: Path) -> tuple[bool, bool]:
        """Say whether somebody listens at a socket, and whether somebody is connected to it.

        The kernel lists the sockets of each network namespace by itself, and the lock process has one of its own.
        """
        listening = connected = False
        for number in ("self", *(str(each.number) for each in self.lock_processes())):
            try:
                lines = (self.proc / number / "net/unix").read_text(errors="replace").splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                parts = line.split(maxsplit=7)
                if len(parts) == 8 and parts[7] == str(address):
                    listening |= bool(int(parts[3], 16) & LISTENING)
                    connected |= parts[5] == CONNECTED
        return listening, connected


def _is_unlock_command(process: Process) -> bool:
    return process.runs("face_unlock.py") and "unlock" in process.words


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
