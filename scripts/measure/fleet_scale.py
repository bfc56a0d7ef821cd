"""Measure a fleet of many doors on one machine: python scripts/measure/fleet_scale.py --doors 200 --people 10

A real mosquitto with the shipped configuration, a keeper, and one real link process for each door. The fleets behind
the links, one gallery each, run in this program, one after the other: boards would apply their sets at the same time.
Prints times, bytes and memory. Everything lies in a folder that goes at the end.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.desk.credentials import Access
from device.desk.line import Line
from device.desk.wire import LONGEST_PACKET, Packet, pack, unpack
from device.errors import UsageError
from device.fleet.authority import utc_now
from device.fleet.folder import write_broker, write_client
from device.fleet.keeper import KEEPER, Keeper
from device.fleet.member import Member
from device.fleet.post import Post
from device.gallery.gallery import Gallery
from device.journal.trail import AuditTrail
from device.programs import Parser, run, stop_signals_raise

MODEL, DIMENSION, TEMPLATES = "simulated", 256, 5
PATIENCE_S = 900.0


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
    """One door: its gallery and what follows the keeper, at the socket of its link."""

    def __init__(self, folder: Path, bundle: dict[str, object]) -> None:
        self.gallery = Gallery(folder / "gallery.db", model_id=MODEL, dimension=DIMENSION, read_only=False)
        self.gallery.change_fleet("member", lambda _: dict(bundle))  # type: ignore[call-overload]
        self.member = Member(
            self.gallery,
            folder / "gallery.db",
            model_id=MODEL,
            judge=lambda *_: [],
            audit=AuditTrail(lambda: None, demo=True),
            entries=lambda _: 0,
            now=utc_now,
        )
        self.line = Line(folder / "link.sock", longest=LONGEST_PACKET, flood=None)
        self.line.greeting = self._packets
        self.apply_s = 0.0

    def turn(self) -> bool:
        """Take what came and answer; True once the set is applied."""
        count = 0
        for packet in self.line.exchange():
            topic, body = packet.get("topic"), unpack(packet.get("body"))
            if isinstance(topic, str) and body is not None:
                self.member.take(tuple(topic.split("/")), body)
                count += 1
        began_s = time.perf_counter()
        if count:
            self.member.step(time.monotonic())
        self.apply_s += time.perf_counter() - began_s
        if count:
            for packet in self._packets():
                self.line.put(packet)
        return count > 0

    def _packets(self) -> list[Packet]:
        ack = self.member.report()
        told: Packet = {"kind": "fleet", "in_sync": ack.in_sync, "reason": ack.reason}
        return [told, {"kind": "ack", "body": pack(self.member.seal_ack(ack))}]


class Measurement:
    """A house of doors, from nothing until all are in sync, and once more with a change."""

    def __init__(self, folder: Path, doors: int, people: int, mosquitto: str, undo: ExitStack) -> None:
        self.folder, self.people, self.undo = folder, people, undo
        self.gallery = Gallery(folder / "keeper.db", model_id=MODEL, dimension=DIMENSION, read_only=False)
        undo.callback(self.gallery.close)
        port = free_port()
        self.keeper = Keeper.found(self.gallery, MODEL, "127.0.0.1", port, utc_now())
        self.broker = self._start_broker(mosquitto, port)
        self.own = write_client(folder / "keeper", self.keeper.issue(KEEPER, utc_now()))
        self.names = [f"door-{number}" for number in range(doors)]
        self.doors: dict[str, Door] = {}
        self.links: list[subprocess.Popen[bytes]] = []

    def take(self) -> None:
        """Measure and print."""
        rng = np.random.default_rng(0)
        names = [
            f"person {chr(97 + n // 676 % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}"
            for n in range(self.people + 1)
        ]
        self._timed("enroll at the keeper", lambda: [self._enroll(each, rng) for each in names[:-1]])
        self._timed("add the doors", self._add_doors)
        for each in names[:-1]:
            self.keeper.assign(each, self.names, gives=True)
        self._timed("start the links", self._start_links)
        self._report("links, connected")
        self._push("first push, everybody to all")
        self._push("second push, nothing changed")
        self._enroll(names[-1], rng)
        self.keeper.assign(names[-1], self.names, gives=True)
        self._push("third push, one person more")
        self.keeper.assign(names[0], self.names, gives=False)
        self._push("fourth push, one person fewer")
        self._report("at the end")
        applied = sorted(door.apply_s for door in self.doors.values())
        median_s, most_s = applied[len(applied) // 2], applied[-1]
        print(f"{'a door that applies all four':34} {median_s:8.2f} s (median), {most_s:.2f} s at most")

    def _start_broker(self, mosquitto: str, port: int) -> subprocess.Popen[bytes]:
        folder = self.folder / "broker"
        now, authority = utc_now(), self.keeper.authority
        write_broker(folder, authority, authority.server("127.0.0.1", now), authority.revocations([], now))
        shipped = (ROOT / "systemd/mosquitto/face-unlock.conf").read_text(encoding="utf-8")
        shipped = shipped.replace("/etc/mosquitto/face-unlock", str(folder))
        shipped = shipped.replace("listener 8883", f"listener {port} 127.0.0.1")
        (folder / "conf").write_text(f"user root\n{shipped}persistence_location {folder}/\nlog_dest none\n")
        process = subprocess.Popen([mosquitto, "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
        self.undo.callback(end, process)
        wait_for(lambda: listens(port), "the broker")
        return process

    def _enroll(self, name: str, rng: np.random.Generator) -> None:
        rows = rng.normal(size=(TEMPLATES, DIMENSION)).astype(np.float32)
        self.gallery.enroll(name, rows / np.linalg.norm(rows, axis=1, keepdims=True), replace=True)

    def _add_doors(self) -> None:
        for name in self.names:
            folder = self.folder / name
            bundle = self.keeper.add_door(name, utc_now())
            write_client(folder / "link", bundle["access"])
            self.doors[name] = Door(folder, bundle["member"])
            self.undo.callback(self.doors[name].gallery.close)

    def _start_links(self) -> None:
        for name in self.names:
            options = [
                "--folder",
                f"{self.folder / name}/link",
                "--socket",
                f"{self.folder / name}/link.sock",
            ]
            command = [sys.executable, "-m", "device.link", *options]
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self.links.append(process)
            self.undo.callback(end, process)
        wait_for(lambda: self._turn() or all(door.line.is_up for door in self.doors.values()), "the links")

    def _push(self, what: str) -> None:
        began_s, written = time.perf_counter(), written_bytes(self.broker.pid)
        cpu_s = cpu_of(self.broker.pid)
        with Post(Access.read(self.own.folder)) as post:
            post.collect()
            acks = {}
            for door, body in post.acks.items():
                acks[door] = self.keeper.read_ack(door, body)
            sealed = published = 0.0
            for name in self.names:
                start_s = time.perf_counter()
                letters = self.keeper.letters(name, acks, datetime.now(timezone.utc), lies=post.lies(name))
                sealed += time.perf_counter() - start_s
                start_s = time.perf_counter()
                post.lay(name, letters)
                published += time.perf_counter() - start_s
                self._turn()
        laid_s = time.perf_counter() - began_s
        wait_for(lambda: self._turn() or self._in_sync(), what)
        total_s = time.perf_counter() - began_s
        database = (self.folder / "broker/mosquitto.db").stat().st_size
        cpu_s = cpu_of(self.broker.pid) - cpu_s
        megabytes = (written_bytes(self.broker.pid) - written) / 1e6
        print(
            f"{what:34} {total_s:8.1f} s until all are in sync; laid down after {laid_s:.1f} s (signed and sealed in "
            f"{sealed:.1f} s, published in {published:.1f} s); the broker used {cpu_s:.1f} s of a core and wrote "
            f"{megabytes:.0f} MB, its file has {database / 1e6:.1f} MB",
            flush=True,
        )

    def _turn(self) -> bool:
        for door in self.doors.values():
            door.turn()
        return False

    def _in_sync(self) -> bool:
        return all(
            door.member.report().sequence == self.keeper.sequence(name) for name, door in self.doors.items()
        )

    def _timed(self, what: str, deed) -> None:  # type: ignore[no-untyped-def]
        began_s = time.perf_counter()
        deed()
        print(f"{what:34} {time.perf_counter() - began_s:8.1f} s", flush=True)

    def _report(self, when: str) -> None:
        own = sorted(private_mb(link.pid) for link in self.links)
        cpu = [cpu_of(link.pid) for link in self.links]
        print(
            f"{when:34} a link has {own[len(own) // 2]:.1f} MB of its own (median), {own[-1]:.1f} MB at most, and used "
            f"{sum(cpu) / len(cpu):.2f} s of a core; the broker has {private_mb(self.broker.pid):.0f} MB",
            flush=True,
        )


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


def wait_for(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until_s:
            raise UsageError(f"{what}: not done within {PATIENCE_S:g} s: use fewer doors or people")
        time.sleep(0.05)


def private_mb(pid: int) -> float:
    """Return the memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


def cpu_of(pid: int) -> float:
    """Return how long a process ran, s of one core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def written_bytes(pid: int) -> int:
    """Return how much a process handed to the disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


if __name__ == "__main__":
    sys.exit(main())
