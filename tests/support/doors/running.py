"""unlock.py in a process of its own, on mock pins whose waveform is written down."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from device.journal.verify import read_lines
from tests.support.checkout import ROOT
from tests.support.galleries import copy_gallery

PULSE_S = 1.0
LONG_PULSE_S = 30.0  # nothing but the program's end can end it during a test


class Door:
    """A running unlock.py with recorded pins."""

    def __init__(self, folder: Path, gallery: Path) -> None:
        self.pins = folder / "pins.txt"
        self.gallery = gallery
        self.config = folder / "config.toml"
        self.process: subprocess.Popen[str] | None = None

    def configure(self, pulse_s: float, extra: str = "") -> None:
        liveness = '[liveness]\nmode = "off"\n'  # a portrait has to open it: this is about the lock
        self.config.write_text(f"{extra}\n{liveness}[lock]\npulse_s = {pulse_s}\n")

    def start(self, *arguments: str, mode: str = "unlock", **environment: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "tests.support.recorded_unlock",
            str(self.pins),
            mode,
            "--config",
            str(self.config),
        ]
        options = ["--gallery", str(self.gallery), "--json", "--no-liveness"]
        command += [*options, *arguments] if mode == "unlock" else arguments
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        return self.process

    def levels(self) -> list[int]:
        return (
            [int(line.split()[1]) for line in self.pins.read_text().splitlines()]
            if self.pins.exists()
            else []
        )

    def pulses_s(self) -> list[float]:
        times = [float(line.split()[0]) for line in self.pins.read_text().splitlines()]
        return [fall - rise for rise, fall in zip(times[::2], times[1::2], strict=False)]

    def wait_until_high(self, patience_s: float = 240) -> None:
        until_s = time.monotonic() + patience_s
        while self.levels()[-1:] != [1]:
            assert self.process is not None
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until_s, "the door never opened"
            time.sleep(0.02)

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        assert self.process is not None
        out, err = self.process.communicate(timeout=240)
        # LiteRT tells, now and then, where its memory happened to lie: that is none of the program's words
        err = re.sub(r"^(WARNING: Logging before InitGoogle|[IW]\d{4} ).*\n", "", err, flags=re.MULTILINE)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def names(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


# Rules, the key and the audit, at the real program's pin


def own_gallery(door: Door, tmp_path: Path) -> Path:
    door.gallery = copy_gallery(door.gallery, tmp_path)
    return door.gallery


def events(gallery: Path, log: str = ".audit") -> list[str]:
    lines = read_lines(gallery.with_name(f"{gallery.name}{log}"))
    return [line.record["event"] for line in lines if not isinstance(line, tuple)]
