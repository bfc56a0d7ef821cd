"""The ways to break that fail_secure.py knows, and how soon the pin has to be locked after each."""

from __future__ import annotations

import contextlib
import random
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.lock.bolt import MAX_OPEN_S
from device.lock.panel.switches import STILL_S
from device.lock.server import SILENCE_S
from device.lock.wire import VERBS
from scripts.prove.disk import Disk, await_end, put_back, read_calls, tracer_of
from scripts.prove.parties import WATCHDOG_S, Recognizer, Supervisor, Tap, wait_for
from scripts.prove.waits import Waits
from scripts.stage.mock_pins import Trace

SLACK_S = 0.5  # a busy machine is late
LATEST_S = 3.0  # of a late packet
RELOCK_S = 2.0  # a new Python has to start for the relock
STALL_S = 3.0  # camera.stall_timeout_s of the proof's door
BACK_S = 8.0  # unlock.py tries a lost camera again after 0.5 s, then 1, 2, 4
EXIT_PIN = 23  # of the proof's door
PRESS_S = 0.15  # a press takes twice as long
PATIENCE_S = 10.0  # of who presses it before a lock process that does not look
LONG_PULSE_S = 6.0  # of faults whose limit would else be longer than a pulse, and so say nothing


@dataclass
class Scene:
    """What a fault may reach for; the last of `recognizers` watches the door, `launch` starts another."""

    supervisor: Supervisor
    recognizers: list[Recognizer]
    tap: Tap | None
    rng: random.Random
    launch: Callable[[], Recognizer]
    disk: Disk | None = None
    calls: Path | None = None
    waits: Waits | None = None

    @property
    def recognizer(self) -> Recognizer:
        return self.recognizers[-1]


@dataclass(frozen=True)
class Fault:
    """One way to break, and how soon the pin has to be locked again.

    `longest_s` is added to the pulse: the bound of one opening. `cut_s` is the longest time from the fault to a locked
    pin, None where the pulse may end by itself. `mend` puts right what was broken and says whether that was noticed;
    then the door has to open again. `whole`: all of unlock.py; `anytime`: before its grant too; `watched`: by strace.
    `long`: at a door whose pulse is `LONG_PULSE_S`. `button`: the exit button's pulse may not be shorter than it is.
    `most`: it takes long, and is run so often at most.
    """

    name: str
    strike: Callable[[Scene], None]
    longest_s: float = SLACK_S
    cut_s: float | None = None
    tapped: bool = False
    replaces: bool = False
    whole: bool = False
    anytime: bool = False
    watched: bool = False
    mend: Callable[[Scene], bool] | None = None
    long: bool = False
    button: bool = False
    most: int = 10**6
    settle_s: float = 0.15  # after so long nothing that was broken opens the door any more

    @property
    def is_rare(self) -> bool:
        """True for what takes so long that a short run leaves it out."""
        return self.most < 10**6


def to_recognizer(number: int) -> Callable[[Scene], None]:
    return lambda scene: scene.recognizer.process.send_signal(number)


def to_lockd(number: int) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        if scene.supervisor.process is not None:
            scene.supervisor.process.send_signal(number)

    return strike


def pause_lockd(scene: Scene) -> None:
    """Stop it for less than its watchdog waits."""
    process = scene.supervisor.process
    process.send_signal(signal.SIGSTOP)
    time.sleep(scene.rng.uniform(0.05, 0.8 * WATCHDOG_S))
    process.send_signal(signal.SIGCONT)


def cut_power(scene: Scene) -> None:
    """Kill all at once, relock included; the pin keeps its level until the next start, the worst a board can do."""
    scene.supervisor.powered = False
    for process in (scene.supervisor.process, scene.recognizer.process):
        process.kill()
    process = scene.supervisor.process
    while process is not None and scene.supervisor.process is process:
        time.sleep(0.01)
    scene.supervisor.boot()


def cut_power_and_disk(scene: Scene) -> None:
    """Kill all at once, and let the disk hold what it may hold after that."""
    tracer = tracer_of(scene.recognizer.process.pid)
    cut_power(scene)
    await_end(tracer)
    for call in read_calls(scene.calls, scene.disk.folder):
        scene.disk.play(call)
    put_back(scene.disk.folder, scene.disk.cut(scene.rng))


def start_again(scene: Scene) -> bool:
    scene.recognizers.append(scene.launch())
    return scene.recognizer.await_ready()


def pull_out(scene: Scene) -> None:
    (scene.supervisor.folder / "camera_pulled").touch()


def hang(scene: Scene) -> None:
    (scene.supervisor.folder / "camera_hangs").touch()


def plug_in(scene: Scene) -> bool:
    """Give the camera back, once its loss was told."""
    lost = wait_for(lambda: scene.recognizer.told("camera_lost"), STALL_S + SLACK_S, scene.waits)
    for name in ("camera_pulled", "camera_hangs"):
        (scene.supervisor.folder / name).unlink(missing_ok=True)
    return lost and wait_for(lambda: scene.recognizer.told("camera_back"), BACK_S, scene.waits)


def fill_disk(scene: Scene) -> None:
    """From now on no write to a file succeeds, in neither process."""
    for process in (scene.supervisor.process, scene.recognizer.process):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))


def exhaust(scene: Scene) -> None:
    """From now on the lock process gets no more memory and no more file descriptors."""
    process = scene.supervisor.process
    resource.prlimit(process.pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, 3))


def press(scene: Scene) -> None:
    """Press the exit button once, until the lock process has looked at it often enough to have seen it still.

    The first that ends may have begun before the press, and has seen nothing. The second has seen it; it counts from
    its beginning. The fourth began after the third had ended, which was long enough after the second.
    """
    folder = scene.supervisor.folder
    level, looks = folder / f"gpio{EXIT_PIN}.level", Trace(folder / f"gpio{EXIT_PIN}.looks")
    for text in ("0", "1"):
        level.write_text(text)
        for _ in range(4):
            seen = len(looks)
            wait_for(lambda seen=seen: len(looks) > seen, PATIENCE_S)
            time.sleep(STILL_S + 0.01)
    scene.recognizer.asked += 1


def press_and(strike: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """Somebody is on the way out by the button when it strikes."""

    def both(scene: Scene) -> None:
        press(scene)
        strike(scene)

    return both


def again_and_again(ask: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """Ask for more than half a minute, which no opening may last for."""

    def strike(scene: Scene) -> None:
        until_s = time.monotonic() + MAX_OPEN_S + 5
        while time.monotonic() < until_s:
            ask(scene)
            time.sleep(scene.rng.uniform(0.05, 0.3))

    return strike


def spoil(change: Callable[[bytes, random.Random], list[bytes]]) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        scene.tap.spoil = lambda packet: change(packet, scene.rng)

    return strike


def flip(packet: bytes, rng: random.Random) -> list[bytes]:
    spoilt = bytearray(packet)
    spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return [bytes(spoilt)]


def cut_short(packet: bytes, rng: random.Random) -> list[bytes]:
    return [packet[: rng.randrange(1, len(packet))]]


def twice(packet: bytes, rng: random.Random) -> list[bytes]:
    return [packet] * rng.randrange(2, 5)


def late(packet: bytes, rng: random.Random) -> list[bytes]:
    time.sleep(rng.uniform(0.1, LATEST_S))
    return [packet]


def lost(_packet: bytes, _rng: random.Random) -> list[bytes]:
    return []


def repeated_as_pulse(packet: bytes, _rng: random.Random) -> list[bytes]:
    """Send a pulse with the nonce and the time of each command that was carried already."""
    return [packet, b"pulse " + packet.split(b" ", 1)[1]]


def strangers(packets: Callable[[random.Random], list[bytes]], times: int) -> Callable[[Scene], None]:
    """Connect beside the recognizer, from its own user, and send without waiting for a greeting."""

    def strike(scene: Scene) -> None:
        for _ in range(times):
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
            ):
                connection.settimeout(0.2)
                connection.connect(str(scene.supervisor.address))
                for packet in packets(scene.rng):
                    connection.send(packet)

    return strike


def rubbish(rng: random.Random) -> list[bytes]:
    return [rng.randbytes(rng.randrange(1, 300)) for _ in range(5)]


def guesses(rng: random.Random) -> list[bytes]:
    now_us = round(time.monotonic() * 1e6)
    return [
        f"{rng.choice(VERBS)} {secrets.token_hex(16)} {now_us} 1500".encode()
        for _ in range(rng.randrange(1, 400))
    ]


HALF_A_MINUTE = {"longest_s": MAX_OPEN_S + SLACK_S - LONG_PULSE_S, "long": True, "most": 3}
BUTTON = {"longest_s": PRESS_S * 2 + LONG_PULSE_S + SLACK_S, "button": True, "long": True}
LOCKD_DIES = {"longest_s": RELOCK_S, "cut_s": RELOCK_S, "replaces": True}
FAULTS = (
    Fault("recognizer: SIGKILL", to_recognizer(signal.SIGKILL), cut_s=SLACK_S),
    Fault("recognizer: SIGTERM", to_recognizer(signal.SIGTERM), cut_s=SLACK_S),
    Fault("recognizer: SIGSTOP", to_recognizer(signal.SIGSTOP), cut_s=SILENCE_S + SLACK_S, long=True),
    Fault(
        "recognizer: asks on and on", again_and_again(lambda scene: scene.recognizer.ask()), **HALF_A_MINUTE
    ),
    Fault(
        "exit button: pressed on and on",
        again_and_again(press),
        longest_s=MAX_OPEN_S
        + SLACK_S,  # half a minute of its own, after what is left of the recognizer's pulse
        long=True,
        most=3,
    ),
    Fault("exit button, then recognizer SIGKILL", press_and(to_recognizer(signal.SIGKILL)), **BUTTON),
    Fault("exit button, then recognizer SIGTERM", press_and(to_recognizer(signal.SIGTERM)), **BUTTON),
    Fault("camera pulled", lambda scene: scene.recognizer.pull_camera(), cut_s=SLACK_S),
    Fault("lock process: SIGKILL", to_lockd(signal.SIGKILL), **LOCKD_DIES),
    Fault("lock process: SIGTERM", to_lockd(signal.SIGTERM), **LOCKD_DIES),
    Fault(
        "lock process: SIGSTOP",
        to_lockd(signal.SIGSTOP),
        longest_s=WATCHDOG_S + RELOCK_S,
        cut_s=WATCHDOG_S + RELOCK_S,
        replaces=True,
        long=True,
    ),
    Fault("lock process: SIGSTOP, SIGCONT", pause_lockd, longest_s=WATCHDOG_S + SLACK_S),
    Fault("power: all killed, no relock", cut_power, **LOCKD_DIES),
    Fault("disk full", fill_disk),
    Fault("no memory, no descriptors", exhaust, longest_s=RELOCK_S, cut_s=RELOCK_S),
    Fault("packets: a bit flipped", spoil(flip), tapped=True),
    Fault("packets: cut short", spoil(cut_short), tapped=True),
    Fault("packets: sent twice", spoil(twice), tapped=True),
    Fault("packets: late", spoil(late), tapped=True, settle_s=LATEST_S + SLACK_S),
    Fault("packets: lost", spoil(lost), tapped=True),
    Fault("packets: repeated as a pulse", spoil(repeated_as_pulse), tapped=True),
    Fault("stranger: rubbish", strangers(rubbish, 20)),
    Fault("stranger: guessed nonces", strangers(guesses, 3)),
)
WHOLE = (
    Fault("unlock.py: SIGKILL", to_recognizer(signal.SIGKILL), cut_s=SLACK_S, whole=True),
    Fault("unlock.py: SIGTERM", to_recognizer(signal.SIGTERM), cut_s=SLACK_S, whole=True),
    Fault(
        "unlock.py: SIGSTOP", to_recognizer(signal.SIGSTOP), cut_s=SILENCE_S + SLACK_S, whole=True, long=True
    ),
    Fault("unlock.py: disk full", fill_disk, whole=True),
    Fault("unlock.py: lock process SIGKILL", to_lockd(signal.SIGKILL), whole=True, **LOCKD_DIES),
    Fault("unlock.py: camera pulled", pull_out, cut_s=SLACK_S, whole=True, mend=plug_in),
    Fault("unlock.py: camera hangs", hang, cut_s=STALL_S + SLACK_S, whole=True, mend=plug_in, long=True),
    Fault(
        "unlock.py: power, files put back",
        cut_power_and_disk,
        whole=True,
        anytime=True,
        watched=True,
        mend=start_again,
        **LOCKD_DIES,
    ),
)


@dataclass
class Strike:
    """How a fault struck: seconds after the request that the machine did not hold back, when, and on what."""

    after_s: float
    struck_s: float
    was_open: bool
    wrong: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """The outcome of one fault; times in seconds."""

    fault: Fault
    unlocked_at_fault: bool
    openings: int
    longest_s: float
    cut_s: float | None
    bound_s: float
    wrong: list[str] = field(default_factory=list)  # what the pin did
    lost: list[str] = field(default_factory=list)  # of what was stored
    unaudited: list[str] = field(default_factory=list)
    waited_s: float = 0.0  # for a processor, while it was unlocked; of all openings the most

    @property
    def is_late(self) -> bool:
        """Whether all that went wrong is a bound of time, which a machine that is busy can miss too."""
        unasked = any("requests" in text for text in self.wrong)
        return bool(self.wrong) and not (unasked or self.lost or self.unaudited)

    @property
    def violations(self) -> list[str]:
        told = [*self.wrong, *(f"lost: {text}" for text in self.lost)]
        return [*told, *(f"not in the audit: {text}" for text in self.unaudited)]


def choose(count: int, rng: random.Random, whole: int, can_watch: bool = True) -> list[Fault]:
    """Take each kind equally often, the whole program `whole` times, in random order."""
    kinds = [fault for fault in WHOLE if can_watch or not fault.watched]
    chosen = [kinds[n % len(kinds)] for n in range(whole)]
    rare = [fault for fault in FAULTS if fault.is_rare]
    often = [fault for fault in FAULTS if not fault.is_rare]
    if count - whole >= 3 * len(FAULTS):
        chosen += [fault for fault in rare for _ in range(fault.most)]
    chosen += [often[n % len(often)] for n in range(count - len(chosen))]
    rng.shuffle(chosen)
    return chosen
