"""Measure a fleet of many doors on one machine: python scripts/measure/fleet_scale.py --doors 200 --people 10

A real mosquitto with the shipped configuration, the keeper's own program, one real link process for each door, and
behind each link the shipped follower with a gallery of its own; these run in this program, one after the other.
Prints seconds of a core for a door, its link, the broker and the keeper, which do not depend on what else the machine
does, and bytes and memory. Everything lies in a folder that goes at the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.access.profile import Profile
from device.build import manifest_path
from device.config import Config
from device.desk.line import Line
from device.desk.wire import LONGEST_PACKET
from device.errors import UsageError
from device.fleet.__main__ import Follower
from device.fleet.authority import utc_now
from device.fleet.folder import OWN, folder_of, write_broker, write_client
from device.fleet.keeper import KEEPER, Keeper
from device.fleet.member import Member
from device.gallery.gallery import Gallery
from device.gallery.rows import Arrival
from device.journal.status import StatusLog
from device.journal.trail import AuditTrail
from device.programs import Parser, run, stop_signals_raise
from device.vision.embed import load_manifest

TEMPLATES = 5
PATIENCE_S = 3_600.0
IDLE_S = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and return the exit code."""
    return run("fleet_scale", lambda: act(parse(arguments)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="fleet_scale.py", description="Measure a fleet of many doors on one machine.")
    parser.add_argument(
        "--doors", type=int, default=200, metavar="N", help="doors, a link process each (200)"
    )
    parser.add_argument("--people", type=int, default=10, metavar="N", help="people, all at every door (10)")
    args = parser.parse_args(arguments)
    for name in ("doors", "people"):
        if not 1 <= getattr(args, name) <= 2_000:
            parser.error(f"--{name}: expected 1 to 2000, received {getattr(args, name)}")
    return args


def act(args: argparse.Namespace) -> int:
    mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if mosquitto is None:
        raise UsageError("mosquitto: expected on this machine, found none: apt install mosquitto")
    with stop_signals_raise(), tempfile.TemporaryDirectory() as name, ExitStack() as undo:
        Measurement(Path(name), args.doors, args.people, mosquitto, undo).take()
    return 0


class Door:
    """One door: its gallery and the shipped follower of the keeper, at the socket of its link."""

    def __init__(self, folder: Path, bundle: dict[str, object], model_id: str, dimension: int) -> None:
        self.gallery = Gallery(folder / "gallery.db", model_id=model_id, dimension=dimension, read_only=False)
        self.gallery.change_fleet("member", lambda _: dict(bundle))  # type: ignore[call-overload]
        member = Member(
            self.gallery,
            folder / "gallery.db",
            model_id=model_id,
            judge=lambda *_: [],
            audit=AuditTrail(lambda: None, demo=True),
            entries=lambda _: 0,
            now=utc_now,
        )
        self.line = Line(folder / "link.sock", longest=LONGEST_PACKET, flood=None)
        self._follower = Follower(member, self.line, StatusLog(writers=[], demo=False))
        self.cpu_s = 0.0

    def turn(self) -> None:
        """Take what came, apply what is whole, answer what changed."""
        began_s = time.thread_time()
        self._follower.turn(time.monotonic())
        self.cpu_s += time.thread_time() - began_s


class Measurement:
    """A house of doors, from nothing until all are in sync, and three more pushes."""

    def __init__(self, folder: Path, doors: int, people: int, mosquitto: str, undo: ExitStack) -> None:
        self.folder, self.people, self.undo = folder, people, undo
        manifest = load_manifest(manifest_path(Config().model))
        self.model_id, self.dimension = manifest.model_id, manifest.embedding_dim
        self.toml = folder / "keeper.toml"
        self.toml.write_text(f'gallery = "{folder}/keeper.db"\n', encoding="utf-8")
        self.port = free_port()
        with self._keeping() as (gallery, _):
            self.keeper = Keeper.found(gallery, self.model_id, "127.0.0.1", self.port, utc_now())
            self.authority = self.keeper.authority
            write_client(folder_of(folder / "keeper.db") / OWN, self.keeper.issue(KEEPER, utc_now()))
        self.doors: dict[str, Door] = {}
        self.broker = self._start_broker(mosquitto, self.port)
        self.names = [f"door-{number}" for number in range(doors)]
        self.links: list[subprocess.Popen[bytes]] = []

    def take(self) -> None:
        """Measure and print."""
        rng = np.random.default_rng(0)
        names = [
            f"person {chr(97 + n // 676 % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}"
            for n in range(self.people + 1)
        ]
        with self._keeping() as (gallery, keep):
            self._enroll(gallery, names[:-1], rng)
            self._add_doors(keep())
            self._give_all(gallery, names[:-1])
        self._start_links()
        self._report("links, connected")
        self._push("first push, everybody to all")
        self._push("nothing changed")
        with self._keeping() as (gallery, keep):
            self._enroll(gallery, names[-1:], rng)
            keep().assign(names[-1], self.names, gives=True)
        self._push("one person more")
        with self._keeping() as (_, keep):
            keep().assign(names[0], self.names, gives=False)
        self._push("one person fewer")
        self._idle()
        self._reconnect()
        self._report("at the end")

    @contextmanager
    def _keeping(self) -> Iterator[tuple[Gallery, Callable[[], Keeper]]]:
        """Open the keeper's gallery; it is closed while the keeper's own programs run."""
        path = self.folder / "keeper.db"
        with Gallery(path, model_id=self.model_id, dimension=self.dimension, read_only=False) as gallery:
            yield gallery, lambda: Keeper(gallery, self.model_id)

    def _give_all(self, gallery: Gallery, names: Sequence[str]) -> None:
        """Give everybody to every door in one change."""
        aliases = [gallery.profile(name).alias for name in names]

        def given(known: dict[str, Any]) -> dict[str, Any]:
            return {
                **known,
                "doors": {d: {**about, "people": aliases} for d, about in known["doors"].items()},
            }

        gallery.change_fleet("keeper", given)

    def _start_broker(self, mosquitto: str, port: int) -> subprocess.Popen[bytes]:
        folder = self.folder / "broker"
        now, authority = utc_now(), self.authority
        write_broker(folder, authority, authority.server("127.0.0.1", now), authority.revocations([], now))
        shipped = (ROOT / "systemd/mosquitto/face-unlock.conf").read_text(encoding="utf-8")
        shipped = shipped.replace("/etc/mosquitto/face-unlock", str(folder))
        shipped = shipped.replace("listener 8883", f"listener {port} 127.0.0.1")
        (folder / "conf").write_text(f"user root\n{shipped}persistence_location {folder}/\nlog_dest none\n")
        process = subprocess.Popen([mosquitto, "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
        self.undo.callback(end, process)
        self._turn_until(lambda: listens(port), "the broker")
        return process

    def _enroll(self, gallery: Gallery, names: Sequence[str], rng: np.random.Generator) -> None:
        """Enroll people in one change; one by one the file is written anew for each."""
        rows = rng.normal(size=(len(names), TEMPLATES, self.dimension)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        gallery.take_over(
            [Arrival(name, row, Profile()) for name, row in zip(names, rows, strict=True)],
            lambda known: known,
        )

    def _add_doors(self, keeper: Keeper) -> None:
        for name in self.names:
            folder = self.folder / name
            bundle = keeper.add_door(name, utc_now())
            write_client(folder / "link", bundle["access"])
            self.doors[name] = Door(folder, bundle["member"], self.model_id, self.dimension)
            self.undo.callback(self.doors[name].gallery.close)

    def _start_links(self) -> None:
        for name in self.names:
            folder = self.folder / name
            options = ["--folder", f"{folder}/link", "--socket", f"{folder}/link.sock"]
            command = [sys.executable, "-m", "device.link", *options]
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self.links.append(process)
            self.undo.callback(end, process)
        self._turn_until(lambda: all(door.line.is_up for door in self.doors.values()), "the links")

    def _push(self, what: str) -> None:
        """Let the keeper's own program push, until every door answered that it is in sync."""
        command = [sys.executable, "scripts/fleet.py", "push", "--wait", "3600", "--config", str(self.toml)]
        before, began_s = self._used(), time.perf_counter()
        keeper = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        ended: list[tuple[int, int, resource.struct_rusage]] = []

        def is_over() -> bool:
            pid, code, used = os.wait4(keeper.pid, os.WNOHANG)
            ended.extend([(pid, code, used)] if pid else [])
            return bool(pid)

        self._turn_until(is_over, what)
        [(_, code, used)] = ended
        keeper.returncode = os.waitstatus_to_exitcode(code)
        said = keeper.stdout.read() if keeper.stdout else ""
        if code:
            raise UsageError(f"{what}: the push ended with {keeper.returncode}: {said[-400:]}")
        self._tell(what, before, time.perf_counter() - began_s, used.ru_utime + used.ru_stime)

    def _idle(self) -> None:
        """Let nothing happen for a minute."""
        before, began_s = self._used(), time.perf_counter()
        self._turn_until(lambda: time.perf_counter() - began_s > IDLE_S, "idle")
        self._tell(f"idle for {IDLE_S:g} s", before, time.perf_counter() - began_s, 0.0)

    def _reconnect(self) -> None:
        """Let each door connect anew: all that lies at the broker comes once more."""
        before, began_s = self._used(), time.perf_counter()
        for door in self.doors.values():
            door.line.close()
        self._turn_until(lambda: time.perf_counter() - began_s > IDLE_S, "reconnect")
        self._tell("each door connects anew", before, time.perf_counter() - began_s, 0.0)

    def _used(self) -> Used:
        return Used(
            [door.cpu_s for door in self.doors.values()],
            [cpu_of(link.pid) for link in self.links],
            cpu_of(self.broker.pid),
            written_bytes(self.broker.pid),
        )

    def _tell(self, what: str, before: Used, took_s: float, keeper_s: float) -> None:
        now = self._used()
        doors = sorted(1000 * (b - a) for a, b in zip(before.doors, now.doors, strict=True))
        links = sorted(1000 * (b - a) for a, b in zip(before.links, now.links, strict=True))
        size = (self.folder / "broker/mosquitto.db").stat().st_size
        wrote = now.written - before.written
        print(
            f"{what:28} a door {doors[len(doors) // 2]:8.0f} ms (at most {doors[-1]:.0f}), its link "
            f"{links[len(links) // 2]:6.0f} ms (at most {links[-1]:.0f}), the broker "
            f"{now.broker - before.broker:6.2f} s, the keeper {keeper_s:6.2f} s of a core; the broker wrote "
            f"{wrote / 1e6:.1f} MB, its file {size / 1e6:.2f} MB some {wrote / size:.0f} times; "
            f"took {took_s:.0f} s here",
            flush=True,
        )

    def _turn_until(self, condition: Callable[[], bool], what: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not condition():
            for door in self.doors.values():
                door.turn()
            if time.monotonic() > until_s:
                raise UsageError(f"{what}: not done within {PATIENCE_S:g} s: use fewer doors or people")
            time.sleep(0.05)

    def _report(self, when: str) -> None:
        own = sorted(private_mb(link.pid) for link in self.links)
        cpu = [cpu_of(link.pid) for link in self.links]
        print(
            f"{when:28} a link has {own[len(own) // 2]:.1f} MB of its own (median), {own[-1]:.1f} MB at most, and used "
            f"{sum(cpu) / len(cpu):.2f} s of a core; the broker has {private_mb(self.broker.pid):.0f} MB",
            flush=True,
        )


@dataclass(frozen=True)
class Used:
    """What was used so far: seconds of a core, and bytes that the broker wrote."""

    doors: list[float]
    links: list[float]
    broker: float
    written: int


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def private_mb(pid: int) -> float:
    """Return the memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


def cpu_of(pid: int) -> float:
    """Return how long the threads of a process ran, s of one core."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def written_bytes(pid: int) -> int:
    """Return how much a process handed to the disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


if __name__ == "__main__":
    sys.exit(main())
