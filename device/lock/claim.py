"""Claim: a record of the pin that holds the door, so that relock.py finds it.

The record lies in the RuntimeDirectory of the service, or in the state folder of the user who runs the program. It is
valid until the board restarts, and only if nobody else could have written it: a false record could make a relock drive
a pin to the level that opens. This module imports little, because a relock has to be quick.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from device.config import LockConfig

FILE = "claimed_pin.json"
SERVICE_FOLDER = "/run/face-unlock-lock"  # RuntimeDirectory= of face-unlock-lock.service
BOOT_ID = "/proc/sys/kernel/random/boot_id"
GPIOZERO, GPIOCHIP = "gpiozero", "gpiochip"


class Claim(NamedTuple):
    """One output pin: the driver's name, the chip (of gpiozero "", or lgpio's number of it), and the line on it."""

    driver: str
    chip: str
    line: int
    active_high: bool

    def __str__(self) -> str:
        return f"GPIO{self.line}" if self.driver == GPIOZERO else f"{self.chip} line {self.line}"

    def is_pin_of(self, other: Claim) -> bool:
        """Say whether both mean the same pin, whatever level opens the door."""
        return self._replace(active_high=True) == other._replace(active_high=True)


class ClaimFile:
    """The record of one folder; `fault` says why it could not be written, None where it was."""

    def __init__(self, folder: Path) -> None:
        self.path, self.fault = folder / FILE, ""
        self._claim: Claim | None = None

    def read(self) -> tuple[Claim, bool] | None:
        """Return the claim and whether it is still held; None: there is none that counts."""
        try:
            if any(_is_writable_by_others(path) for path in (self.path, self.path.parent)):
                return None
            known = json.loads(self.path.read_text(encoding="utf-8"))
            claim = Claim(*(known[name] for name in Claim._fields))
            types = tuple(type(value) for value in claim)
            if known["boot"] != boot() or types != (str, str, int, bool):
                return None
            return claim, bool(known["held"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def hold(self, claim: Claim) -> None:
        """Write down that a pin is held; a record that cannot be written must not keep the door from working."""
        self._claim = claim
        self._write(claim, True)

    def release(self) -> None:
        """Write down that it was given back, locked."""
        if self._claim is not None:
            self._write(self._claim, False)

    def _write(self, claim: Claim, held: bool) -> None:
        text = json.dumps({**claim._asdict(), "held": held, "boot": boot()})
        beside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            beside.replace(self.path)
        except OSError as error:
            self.fault = (
                f"{self.path}: the claimed pin cannot be written down: {error}: check the folder; until then "
                "a relock needs a valid configuration"
            )


def own_folder() -> Path:
    """Return where this program writes its record."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    return Path(folder) if folder else Path(state) / "face-unlock"


def claim_of(settings: LockConfig) -> Claim:
    """Return the pin that a `[lock]` section names."""
    if settings.is_gpiochip:
        return Claim(GPIOCHIP, settings.chip, settings.line, settings.active_high)
    return Claim(GPIOZERO, "", settings.pin, settings.active_high)


def set_lgpio_folder() -> None:
    """Let lgpio put its pipes into the service's RuntimeDirectory: its working folder is read-only there."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if folder:
        os.environ.setdefault("LG_WD", folder)


def recorded_claims() -> list[Claim]:
    """List the pins that were claimed since the board started: the service's, and who runs this program's."""
    folders = dict.fromkeys([own_folder(), Path(SERVICE_FOLDER)])
    found = [ClaimFile(folder).read() for folder in folders]
    return list(dict.fromkeys(each[0] for each in found if each is not None))


def boot() -> str:
    """Return what tells one start of the board from the next."""
    try:
        return Path(BOOT_ID).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _is_writable_by_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))
