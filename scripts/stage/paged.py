"""A program with a page, run as a process of its own: its address, what it said, and how it ended."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Paged:
    """`enroll.py` or `scripts/aim.py`, started in a folder; `close` ends it where it has not ended."""

    def __init__(self, program: str, *options: str, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / program), *options],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        self.address = self._read_address()

    @property
    def port(self) -> int:
        found = re.search(r":(\d+)/", self.address)
        assert found is not None
        return int(found[1])

    @property
    def page_process(self) -> int:
        """Return the number of the page's process, a child of the program."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(
            encoding="ascii"
        )
        (number,) = children.split()
        return int(number)

    @property
    def is_served(self) -> bool:
        """Say whether anything listens at its port of this machine."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self, wait_s: float = 120) -> tuple[int, str, str]:
        """Wait for its end; return exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=wait_s)
        return self.process.returncode, out, self.said + err

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def _read_address(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"open (https?://\S+)", line):
                return found[1]
        raise AssertionError(f"no address: {self.said}")
