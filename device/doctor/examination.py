"""The whole examination: every check there is, each run so that no fault of it ends the others.

A check that loads libraries of C code runs in a process of its own: a driver that hangs and a library that this
processor cannot run become a line too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO

from device.address import one_line
from device.doctor.finding import Finding, Light, red, split_advice
from device.doctor.host import Host
from device.errors import FaceUnlockError

if TYPE_CHECKING:
    from device.config import Config

PATIENCE_S = 90.0  # for a check in a process of its own


@dataclass(frozen=True, slots=True)
class Setup:
    """What is examined: a door's configuration, where it stands, and the machine."""

    config: Config
    origin: str
    host: Host


@dataclass(frozen=True, slots=True)
class Check:
    """One check: the module of device.doctor.checks that has its `check(setup)`; `apart`: in a process of its own.

    `needs_config`: it says nothing where the configuration cannot be read.
    """

    module: str
    apart: bool = False
    needs_config: bool = True


CHECKS: dict[str, Check] = {
    "configuration": Check("configuration"),
    "services": Check("services", needs_config=False),
    "lock": Check("bolt"),
    "camera": Check("eye", apart=True),
    "networks": Check("networks", apart=True),
    "gallery": Check("templates"),
    "challenge": Check("challenge"),
    "clock": Check("clock"),
    "serial": Check("serial"),
    "link": Check("link"),
    "disk": Check("disk"),
    "board": Check("board", needs_config=False),
    "approaches": Check("visits"),
}


def examine(
    name: str,
    load: Callable[[], Config],
    origin: str,
    host: Host,
    command: Sequence[str] = (),
    *,
    alone: bool = False,
) -> Iterator[Finding]:
    """Yield the findings of one check; whatever goes wrong in it is a finding.

    Args:
        load: reads the configuration.
        alone: no other check is run, so this one says it too where the configuration cannot be read.
        command: runs this check alone in another process and prints its findings as JSON; empty: it runs here.
    """
    check = CHECKS[name]
    try:
        config = load()
    except FaceUnlockError as error:
        if name == "configuration" or (alone and check.needs_config):
            yield split_advice("configuration", error)
        if check.needs_config:
            return
        from device.config import Config

        config = Config()
    except Exception as error:
        yield unexpected(name, error)
        return
    if check.apart and command:
        yield from run_apart(name, command)
        return
    try:
        yield from import_module(f"device.doctor.checks.{check.module}").check(Setup(config, origin, host))
    except FaceUnlockError as error:
        yield split_advice(name, error)
    except ModuleNotFoundError as error:
        yield red(name, one_line(error), "run sudo scripts/install.sh again; on a checkout: make setup")
    except PermissionError as error:
        yield unseen(name, f"{error.filename or 'a file'} may not be read by this user")
    except Exception as error:
        yield unexpected(name, error)


def unseen(name: str, text: str) -> Finding:
    """Return the finding of something that only another user may see."""
    return Finding(name, Light.YELLOW, text, "run it with sudo to see it")


def unexpected(name: str, error: BaseException) -> Finding:
    """Return the finding of a fault that nobody thought of."""
    what = f"cannot be checked: {type(error).__name__}: {one_line(error)}"
    return red(name, what, "read the last lines of the door: journalctl -u face-unlock -n 20")


def run_apart(name: str, command: Sequence[str]) -> Iterator[Finding]:
    """Run one check in a process of its own and yield what it finds; its death and its silence are findings."""
    with TemporaryFile() as out, TemporaryFile() as words:
        try:
            code = ended(command, out, words)
        except OSError as error:
            yield unexpected(name, error)
            return
        yield from read_child(name, code, contents(out), contents(words))


def ended(command: Sequence[str], out: BinaryIO, words: BinaryIO) -> int | None:
    """Run a command and return its exit code; None where it gave no answer, and is left to its fate.

    It writes into files: a driver that hangs cannot be killed, and would hold on to a pipe for good.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=words, start_new_session=True
    )
    try:
        return process.wait(PATIENCE_S)
    except BaseException as fault:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(fault, subprocess.TimeoutExpired):
            return None
        raise


def contents(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def read_child(name: str, code: int | None, out: str, words: str) -> Iterator[Finding]:
    """Yield what a check in another process said, or how it ended without saying anything."""
    if code is None:
        hangs = f"gave no answer for {PATIENCE_S:g} s: a driver or a library hangs"
        yield red(name, hangs, "start the board anew; unplug the camera and plug it in again")
        return
    if code < 0:
        died = f"the check was ended by {signal_name(-code)}"
        advice = (
            "a library does not fit this processor, or memory is short: run sudo scripts/install.sh again"
        )
        yield red(name, died, advice)
        return
    try:
        yield from [read_finding(each) for each in json.loads(out)["findings"]]
    except (ValueError, KeyError, TypeError):
        last = next((line for line in reversed(words.split("\n")) if line.strip()), f"exit code {code}")
        advice = "run sudo scripts/install.sh again; on a checkout: make setup"
        yield red(name, f"the check cannot run: {last.strip()[:200]}", advice)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def as_json(finding: Finding) -> dict[str, str]:
    """Return a finding as it stands in JSON."""
    told = {"name": finding.name, "light": str(finding.light), "text": finding.text}
    return (
        told
        | ({"advice": finding.advice} if finding.advice else {})
        | ({"at": finding.at} if finding.at else {})
    )


def read_finding(told: dict[str, str]) -> Finding:
    """Return the finding that `as_json` wrote."""
    light = Light(told["light"])
    return Finding(told["name"], light, told["text"], told.get("advice", ""), told.get("at", ""))


def own_command(program: str, arguments: Iterable[str], name: str) -> list[str]:
    """Return the command that runs one check of this program in another process."""
    return [sys.executable, program, *arguments, "--only", name, "--json"]
