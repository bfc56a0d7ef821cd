"""A machine as the doctor sees it: programs that answer what a test says, processes and devices that it makes up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device.doctor.host import Host

RUNNING = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNRestarts=0\n"
STOPPED = "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nNRestarts=0\nExecMainStatus=5\n"


class MadeUpHost:
    """A folder with programs, /proc and /dev; `host` is what the doctor is handed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "proc", "dev"):
            (folder / name).mkdir(parents=True)
        self.host = Host(
            proc=folder / "proc",
            dev=folder / "dev",
            environ={"PATH": f"{folder / 'bin'}:/usr/bin:/bin"},
        )

    def answers(self, program: str, text: str, code: int = 0) -> None:
        """Let a program print a text and end with that code."""
        told = self.folder / f"{program}.txt"
        told.write_text(text)
        file = self.folder / "bin" / program
        file.write_text(f"#!/bin/sh\ncat {told}\nexit {code}\n")
        file.chmod(0o755)

    def has_no(self, *programs: str) -> None:
        for program in programs:
            self.answers(program, "", 1)

    def journal(self, *messages: str, at_s: float = 1_780_000_000.0) -> None:
        """Let journalctl print these lines of the door, the newest last as they were written."""
        records = [
            json.dumps({"MESSAGE": text, "__REALTIME_TIMESTAMP": str(int((at_s + i) * 1e6))})
            for i, text in enumerate(messages)
        ]
        self.answers("journalctl", "\n".join(reversed(records)) + "\n")

    def runs(self, number: int, *words: str, devices: tuple[Path, ...] = ()) -> None:
        """Let a process run with that command line and these devices open."""
        folder = self.folder / "proc" / str(number)
        (folder / "fd").mkdir(parents=True)
        (folder / "cmdline").write_bytes("\0".join([*words, ""]).encode())
        for i, device in enumerate(devices):
            (folder / "fd" / str(i)).symlink_to(device)


@pytest.fixture
def machine(tmp_path: Path) -> MadeUpHost:
    """A machine without systemd; tests/conftest.py gives it to every test."""
    made = MadeUpHost(tmp_path / "machine")
    made.has_no("systemctl", "journalctl")
    return made
