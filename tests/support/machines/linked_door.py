"""A door with a desk, a real link process and a real broker; the camera alone is missing."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from gpiozero.pins.mock import MockFactory

from device.access.admission import Admission, AdmissionRule
from device.access.lockout import LockoutRule, PinLockout
from device.access.pin import hash_pin
from device.config import Config, LinkConfig, LockConfig
from device.desk.desk import Desk, DeskRule, LinkWriter
from device.desk.line import Line
from device.desk.opening import Freshness, Opening, OpeningRule
from device.desk.switches import Switches
from device.desk.wire import LONGEST_COMMAND
from device.errors import LockRefused
from device.gallery.gallery import Gallery
from device.journal.audit import Audit
from device.journal.events import Sink
from device.journal.status import Filtered, StatusLog
from device.journal.trail import AuditTrail
from device.journal.verify import read_lines
from device.lock.front import LocalFront
from device.types import Decision, Reason
from tests.support.checkout import ROOT
from tests.support.kept import kept_with
from tests.support.machines.broker import Mosquitto, write_access

CODE = "2580"
CODE_HASH = hash_pin(CODE)
PULSE_S = 0.4
KEYS = {1: bytes(32)}


class Memory:
    """An output of the status log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def put(self, line: dict[str, object]) -> None:
        self.lines.append(line)

    def close(self, wait_s: float) -> None:
        """Keep them."""


class LinkedDoor:
    """A door that a test turns, as the loop around the camera would.

    Args:
        link: keys of [link] that differ from a door that opens from outside and may be switched.
    """

    def __init__(self, folder: Path, name: str = "front", **link: object) -> None:
        self.folder, self.name = folder, name
        folder.mkdir(exist_ok=True)
        self.address = folder / "link.sock"
        about: dict[str, object] = {"open_code": CODE_HASH, "switches": True, **link}
        self.config = Config(
            lock=LockConfig(pulse_s=PULSE_S),
            link=LinkConfig(socket=str(self.address), name=name, **about),  # type: ignore[arg-type]
        )
        self.factory = MockFactory()
        self.front = LocalFront(self.config, pin_factory=self.factory)
        self.pin = self.factory.pin(17)
        self.gallery = Gallery(folder / "gallery.db", model_id="m", dimension=4, read_only=False)
        self.audit = AuditTrail(lambda: Audit(folder / "audit", KEYS), demo=False)
        self.now: datetime | None = None  # None: the machine's
        self.is_believed, self.off_by = True, timedelta(0)
        self.memory = Memory()
        self.start()

    def start(self) -> None:
        """Put desk and admission together, as a start of the program does."""
        link = self.config.link
        self.line = Line(self.address, longest=LONGEST_COMMAND)
        lockout = PinLockout(LockoutRule(wrong_pins=3, lockout_s=60), {}, lambda _: None)
        self.switches = Switches(
            kept_with(self.gallery, self.folder / "switches", "switches"),
            may_switch=link.switches,
            may_loosen=link.loosen,
        )
        self.desk = Desk(
            DeskRule(door=self.name, pulse_s=PULSE_S, names=link.names, proven=True),
            self.line,
            front=self.front,
            freshness=Freshness(self.name, link.command_life_s, self.clock),
            opening=Opening(
                OpeningRule(code_hash=link.open_code, hours=link.open_hours),
                front=self.front,
                audit=self.audit,
                lockout=lockout,
                clock=self.clock,
            ),
            switches=self.switches,
            audit=self.audit,
            profiles=self.gallery.profiles,
        )
        self.admission = Admission(
            AdmissionRule(pin_timeout_s=20, record_required=False),
            self.gallery,
            self.audit,
            usage=None,
            entry=None,
            lockout=lockout,
            clock=self.clock,
            switched_off=self.switches.is_off,
        )
        self.status = StatusLog(
            writers=[self.memory, Filtered(LinkWriter(self.line, names=link.names), Sink.LINK)], demo=False
        )

    def clock(self) -> datetime | None:
        return datetime.now(timezone.utc) + self.off_by if self.is_believed else None

    def enroll(self, name: str, row: int = 0) -> None:
        self.gallery.enroll(name, np.eye(4, dtype=np.float32)[row : row + 1], replace=True)

    def turn(self, seconds: float = 0.0) -> None:
        """Turn as the loop does, once or for so long."""
        until_s = time.monotonic() + seconds
        while True:
            for name, details in self.desk.step():
                self.status.event(name, **details)
            if time.monotonic() >= until_s:
                return
            time.sleep(0.01)

    def turn_until(self, condition, seconds: float = 20.0) -> None:  # type: ignore[no-untyped-def]
        until_s = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until_s, (self.told(), self.memory.lines[-5:])
            self.turn()
            time.sleep(0.01)

    def face(self, name: str) -> Decision:
        """Let a face come that was recognized."""
        decision = self.admission.admit(Decision(True, Reason.GRANTED, time.monotonic(), name, track_id=1))
        if decision.granted:
            try:
                self.front.unlock()
                self.desk.face_opened()
                self.status.event("granted", subject_id=name, method=decision.method)
            except LockRefused:
                return decision
        else:
            self.status.event("refused", reason=str(decision.reason))
        return decision

    def pulses(self) -> int:
        """Return how often the pin went up."""
        return sum(1 for state in self.pin.states if state.state)

    def told(self) -> list[tuple[object, object]]:
        return [(line["event"], line.get("reason")) for line in self.memory.lines]

    def refusals(self) -> list[object]:
        return [reason for event, reason in self.told() if event == "outside_refused"]

    def recorded(self) -> list[str]:
        return [
            line.record["event"] for line in read_lines(self.folder / "audit") if not isinstance(line, tuple)
        ]

    def command(self, do: str = "open", *, age_s: float = 0.0, **fields: object) -> dict[str, object]:
        """Return a command as Home Assistant issues it."""
        fresh = {
            "do": do,
            "door": self.name,
            "code": CODE,
            "at": time.time() - age_s,
            "nonce": secrets.token_hex(10),
        }
        return {**fresh, **fields}

    def close(self) -> None:
        self.desk.close()
        self.front.close()
        self.gallery.close()
        self.factory.close()


class LinkProcess:
    """The real process.

    Args:
        own: a folder with its access to the broker; None makes one.
    """

    def __init__(  # type: ignore[no-untyped-def]
        self,
        door: LinkedDoor | SimpleNamespace,
        mosquitto: Mosquitto,
        credential=None,
        *,
        own: Path | None = None,
    ) -> None:
        self.folder = own or write_access(door.folder / "link", mosquitto, door.name, credential)
        options = ["--folder", str(self.folder), "--socket", str(door.address)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "device.link", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[dict[str, object]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line) if line.startswith("{") else {"event": line})

    def told(self) -> list[object]:
        return [line.get("error") or line["event"] for line in self.lines]

    def end(self, number: int = 15) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=240)
