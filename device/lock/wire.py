"""What recognizer and lock process say to each other: one short ASCII line per packet of an AF_UNIX socket.

    to the lock      pulse NONCE FRAME_US LIFE_MS          also: lock, beat, signal:NAME
    to the lock      open NONCE NOW_US LIFE_MS             somebody elsewhere asks; refused where that is not configured
    from the lock    ok NONCE BOLT DOOR ALARMS             also: hello, state, key:KEY, refused:REASON

Each line from the lock carries the nonce that the next command has to repeat; a nonce is good for one command of one
connection, and only `lock` is obeyed without one. FRAME_US is the monotonic microsecond of the frame behind the command
(of the command itself for all but `pulse`), LIFE_MS how old it may be when it arrives; the lock has a limit of its
own. A signal is a pattern for people at the door, or the silent alarm: it moves no bolt. `state` and `key` come
unasked; the key is one that was pressed on the keypad. Pure: no clock, no socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from device.lock.door import Alarm, DoorState, Report

LONGEST_BYTES = 128
QUIET, ALARM = "quiet", "alarm"
SIGNALS = (
    "hold_still", "blink", "turn_left", "turn_right", "turn_left_little", "turn_right_little", "turn_left_far",
    "turn_right_far", "nod", "back", QUIET, ALARM,
)  # fmt: skip
SIGNAL = "signal:"
PULSE, OPEN = "pulse", "open"  # for a face, and for somebody elsewhere (device/desk/opening.py)
OPENING = (PULSE, OPEN)
VERBS = (*OPENING, "lock", "beat", *(f"{SIGNAL}{name}" for name in SIGNALS))
RELEASED = "released"  # unlocked by the exit button alone: no pulse of the recognizer runs
BOLTS = ("locked", "unlocked", RELEASED, "jammed")
KEYS = frozenset("0123456789ABCD*#")
NEWS = ("state", "key")  # what comes unasked
COMMAND = re.compile(rb"([a-z]{1,16}(?::[a-z_]{1,20})?) ([0-9a-f]{32}) ([0-9]{1,15}) ([0-9]{1,5})")
ANSWER = re.compile(rb"([a-z]+)(?::([a-z_]+|[0-9A-D*#]))? ([0-9a-f]{32}) ([a-z]+) ([a-z_]+) ([a-z_,]+|-)")
AHEAD_S = 0.1  # a frame may not come from the future; rounding may make it seem so


class Refusal(str, Enum):
    """Why the lock process refused a command or hung up."""

    RUBBISH = "rubbish"  # no line of the protocol
    UNKNOWN_COMMAND = "unknown_command"
    REPLAY = "replay"  # a nonce that was used or never given out, or a frame that opened already
    STALE = "stale"
    AHEAD = "ahead"  # a frame of the future
    JAMMED = "jammed"
    TOO_OFTEN = "too_often"  # the minute's budget of pulses is used up
    NOT_ALLOWED = "not_allowed"  # `open`, and link.open_code is empty
    FLOOD = "flood"
    SILENT = "silent"  # unlocked, and the recognizer stopped beating
    BUSY = "busy"  # another recognizer is connected
    WRONG_USER = "wrong_user"

    def __str__(self) -> str:
        return self.value


# After these the sender may stay: an honest recognizer on a busy board can be late, and a jam is not its fault.
PARDONED = frozenset({Refusal.STALE, Refusal.JAMMED, Refusal.TOO_OFTEN, Refusal.NOT_ALLOWED})


REASONS = frozenset(each.value for each in Refusal)
DOORS = frozenset(each.value for each in DoorState)
ALARMS = frozenset(each.value for each in Alarm)


@dataclass(frozen=True, slots=True)
class Command:
    """One line to the lock."""

    verb: str
    nonce: str
    frame_at_s: float
    life_s: float

    @property
    def signal(self) -> str | None:
        """The name of the signal that is asked for, None for another command."""
        return self.verb.removeprefix(SIGNAL) if self.verb.startswith(SIGNAL) else None


@dataclass(frozen=True, slots=True)
class Answer:
    """One line from the lock; `word` is hello, ok, state, key or refused."""

    word: str
    nonce: str
    bolt: str
    report: Report
    refusal: Refusal | None = None
    key: str = field(default="", repr=False)  # a digit of a PIN, perhaps


def write_command(command: Command) -> bytes:
    """Return the packet of a command; times before the machine's start count as its start."""
    frame_us = max(0, round(command.frame_at_s * 1e6))
    return f"{command.verb} {command.nonce} {frame_us} {round(command.life_s * 1e3)}".encode()


def read_command(packet: bytes) -> Command | Refusal:
    """Return the command of a packet, or why it is none."""
    found = COMMAND.fullmatch(packet) if len(packet) <= LONGEST_BYTES else None
    if found is None:
        return Refusal.RUBBISH
    verb, nonce = found[1].decode(), found[2].decode()
    if verb not in VERBS:
        return Refusal.UNKNOWN_COMMAND
    return Command(verb, nonce, int(found[3]) / 1e6, int(found[4]) / 1e3)


def judge(
    command: Command, *, nonce: str, now_s: float, oldest_s: float, opened_by_s: float
) -> Refusal | None:
    """Return why a command is refused, None when it may be done.

    Args:
        nonce: the one that was given out last.
        oldest_s: the lock's own limit of a frame's age, in seconds, whatever life the command claims.
        opened_by_s: time of the newest frame that opened; each one opens once.
    """
    if command.nonce != nonce:
        return Refusal.REPLAY
    age_s = now_s - command.frame_at_s
    if age_s < -AHEAD_S:
        return Refusal.AHEAD
    if age_s > min(command.life_s, oldest_s):
        return Refusal.STALE
    if command.verb in OPENING and command.frame_at_s <= opened_by_s:
        return Refusal.REPLAY
    return None


def write_answer(answer: Answer) -> bytes:
    more = answer.key or (str(answer.refusal) if answer.refusal else "")
    word = f"{answer.word}:{more}" if more else answer.word
    alarms = ",".join(sorted(answer.report.alarms)) or "-"
    return f"{word} {answer.nonce} {answer.bolt} {answer.report.door} {alarms}".encode()


def read_answer(packet: bytes) -> Answer | None:
    """Return the answer of a packet, None when it is no line of this protocol."""
    found = ANSWER.fullmatch(packet) if len(packet) <= LONGEST_BYTES else None
    if found is None:
        return None
    word, more, nonce, bolt, state, listed = [part.decode() if part else "" for part in found.groups()]
    alarms = frozenset() if listed == "-" else frozenset(listed.split(","))
    known = (
        word in ("hello", "ok", "refused", *NEWS)
        and (word == "refused") == (more in REASONS)
        and (word == "key") == (more in KEYS)
        and bolt in BOLTS
        and state in DOORS
        and alarms <= ALARMS
    )
    if not known:
        return None
    refusal = Refusal(more) if word == "refused" else None
    return Answer(word, nonce, bolt, Report(state, alarms), refusal, more if word == "key" else "")
