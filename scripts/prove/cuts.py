"""Cut the power at every system call of the programs that write: what is left must be the state before or after.

Each program runs once, watched by strace; then the model of disk.py gives what the disk may hold after each
of its calls, several times, and the gallery, the usage file and the audit are opened on it as the programs do.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cv2

from device.build import build_audit, open_any_gallery
from device.errors import FaceUnlockError
from scripts.prove.disk import SHARED_MEMORY, Call, Disk, put_back, read_calls, watched
from scripts.prove.parties import MOCK, Supervisor
from scripts.prove.stores import GUEST, Stored, config_of, stored

PHOTO = "tests/data/astronaut.jpg"
NEAR = "near.png"  # the same face, a little larger: another template
KEEPS = ("none", "all", "any", "any")  # what each cut keeps of what was not synced
LOOKS = ["--images", PHOTO, "--no-sheet"]
# name, program, what it prints once its change may not be lost any more
PROGRAMS: tuple[tuple[str, list[str], bytes], ...] = (
    ("enroll.py, the first person", ["enroll.py", "--name", "Grace", *LOOKS], b"enrolled"),
    (
        "enroll.py, a guest",
        ["enroll.py", "--name", GUEST, *LOOKS, "--allow-lookalike", "--entries", "100000"],
        b"enrolled",
    ),
    (
        "enroll.py --replace",
        ["enroll.py", "--name", GUEST, "--images", NEAR, "--no-sheet", "--allow-lookalike", "--replace"],
        b"enrolled",
    ),
    ("enroll.py --change", ["enroll.py", "--change", GUEST, "--pin-after-failures", "none"], b"changed"),
    ("enroll.py --remove", ["enroll.py", "--remove", "Grace", "--yes"], b"removed"),
    ("gallery_keys.py rotate", ["scripts/gallery_keys.py", "rotate"], b"sealed"),
)
DOOR = "unlock.py, a guest let in"
DOOR_TOML = (
    '[lock]\npulse_s = 0.4\n[decision]\ncooldown_s = 0.8\n[liveness]\nmode = "off"\n[audit]\nmax_kb = 10\n'
)
NEARLY_FULL_BYTES = 9_400  # of the 10 kB, so that the door closes a file and goes on in a new one


@dataclass
class Cuts:
    """The outcome of all cuts of one program."""

    program: str
    calls: int = 0  # that change what a cut leaves
    states: int = 0
    as_before: int = 0
    as_after: int = 0
    lost: list[str] = field(default_factory=list)
    unaudited: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        return len(self.lost) + len(self.unaudited)


@dataclass(frozen=True, slots=True)
class Promise:
    """What a program has told the world before a cut: that it is done, and the openings it asked for."""

    done: bool = False
    pulses: int = 0

    def after(self, call: Call, says: bytes) -> Promise:
        told = b"".join(call.texts)
        if call.name == "sendto" and told.startswith(b"pulse "):
            return replace(self, pulses=self.pulses + 1)
        return replace(self, done=self.done or (call.words.startswith("1<") and bool(says) and says in told))


def cut_programs(folder: Path, clip: Path, rng: random.Random, limit: int) -> list[Cuts]:
    """Run each program in turn on one door's files, and cut it."""
    state = folder / "state"
    state.mkdir()
    (folder / "empty.toml").touch()
    photo = cv2.imread(str(ROOT / PHOTO))
    cv2.imwrite(str(folder / NEAR), cv2.resize(photo, None, fx=1.2, fy=1.2))
    found = []
    for number, (name, arguments, says) in enumerate(PROGRAMS):
        options = ["--config", str(folder / "empty.toml"), "--gallery", str(state / "gallery.db")]
        words = [str(folder / word) if word == NEAR else word for word in arguments]
        command = [sys.executable, *words, *options]
        found.append(cut(name, command, says, folder / f"calls{number}", state, rng, limit))
    fill_audit(state)
    supervisor = Supervisor(folder, DOOR_TOML)
    try:
        supervisor.await_ready()
        command = door(folder, clip, state / "gallery.db", supervisor.address)
        found.append(cut(DOOR, command, b"", folder / "calls", state, rng, limit))
    finally:
        supervisor.close()
    return found


def fill_audit(state: Path) -> None:
    audit, log = build_audit(config_of(state), demo=False), config_of(state).audit_path
    while log.stat().st_size < NEARLY_FULL_BYTES:
        audit.record("started", version="0")


def door(folder: Path, clip: Path, gallery: Path, address: Path) -> list[str]:
    """Return the command of unlock.py that lets the guest in several times, and ends."""
    options = [
        "--camera",
        str(clip),
        "--gallery",
        str(gallery),
        "--json",
        "--no-liveness",
        "--max-seconds",
        "6",
    ]
    options += ["--config", str(folder / "config.toml"), "--lock-socket", str(address)]
    return [*MOCK, str(folder), "unlock", *options]


def cut(
    name: str, command: Sequence[str], says: bytes, log: Path, state: Path, rng: random.Random, limit: int
) -> Cuts:
    """Run a program, and open what a cut may leave at up to `limit` of its moments (0: at all)."""
    cuts, disk, before = Cuts(name), Disk(state), stored(state)
    subprocess.run(
        watched(command, log), check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    left = {path.name: path.read_bytes() for path in state.iterdir() if not path.name.endswith(SHARED_MEMORY)}
    after, promise = stored(state), Promise()
    states: list[tuple[Promise, dict[str, bytes]]] = []
    for call in read_calls(log, state):
        promise = promise.after(call, says)
        if disk.play(call):
            cuts.calls += 1
            states += [(promise, disk.cut(rng, keep)) for keep in KEEPS]
    if not promise.done and not promise.pulses:
        cuts.lost.append("the program did not do what was to be cut")
    if disk.cut(rng, "all") != left:
        cuts.lost.append("the model of the disk is not what the disk holds")
    states.append((promise, disk.cut(rng, "none")))
    scratch = state.with_name("scratch")
    scratch.mkdir(exist_ok=True)
    for promise, files in rng.sample(states, limit) if 0 < limit < len(states) else states:
        put_back(scratch, files)
        look(cuts, scratch, before, after, promise)
    return cuts


def look(cuts: Cuts, folder: Path, before: Stored, after: Stored, promise: Promise) -> None:
    """Open what a cut left, as the door and as the owner do, and hold it against before and after."""
    cuts.states += 1
    now = opened(folder)
    if now.fault:
        cuts.lost.append(now.fault)
        return
    if now.gallery == after.gallery and (after.gallery != before.gallery or promise.done):
        cuts.as_after += 1
        if now.records[: len(after.records)] != after.records and not promise.done:
            cuts.unaudited.append("the change is stored, and its record is not")
    elif (now.gallery == before.gallery or not (now.subjects or before.subjects)) and not promise.done:
        cuts.as_before += 1
    else:
        cuts.lost.append("the gallery is neither the one before nor the one after")
    if now.entries < before.entries + promise.pulses:
        cuts.lost.append(f"{promise.pulses} openings, {now.entries - before.entries} entries counted")
    cuts.unaudited += unaudited(now, before, after, promise)


def opened(folder: Path) -> Stored:
    """Read a door's files as the door does, open them to write as the owner does, and record that."""
    config = config_of(folder)
    at_door = stored(folder)
    try:
        with open_any_gallery(config, read_only=False):
            pass
    except FaceUnlockError as error:
        return Stored(fault=f"the owner is locked out: {error}")
    now = stored(folder)
    if at_door.gallery and at_door.gallery != now.gallery:
        return Stored(fault=f"the door saw another gallery than the owner: {at_door.fault}")
    if at_door.fault and now.subjects:
        return Stored(fault=f"the door is locked out: {at_door.fault}")
    build_audit(config, demo=False).record("accepted")
    return stored(folder)


def unaudited(now: Stored, before: Stored, after: Stored, promise: Promise) -> list[str]:
    """Say what the audit lacks after a cut, and after the record that was written then."""
    found = list(now.verdict.problems)
    if not now.records or now.records[-1]["event"] != "accepted":
        found.append("no record can be written")
    if now.records[: len(before.records)] != before.records:
        found.append("records of before are gone")
    if len(now.granted) < len(before.granted) + promise.pulses:
        found.append(f"{promise.pulses} openings, {len(now.granted) - len(before.granted)} recorded")
    if promise.done and now.records[: len(after.records)] != after.records:
        found.append("it was told as done, and its record is gone")
    return found
