"""Door: the state machine of pin, bolt and leaf; pure, so that tests can play every sequence of events.

    unknown --> locked --> unlocking --> unlocked --> open --> held_open
                   ^                        |           |
                   +------------------------+-----------+     forced: opened while locked; jammed: not as driven

`advance()` takes the last state of the door and a look at its switches, and returns the new state. The new state may
ask for two things: `relock`, when the leaf fell shut while the bolt was still drawn, and `release`, when the exit
button was pressed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class DoorState(str, Enum):
    """The state of the door, as the status lines name it."""

    UNKNOWN = "unknown"  # nothing was read yet
    LOCKED = "locked"
    UNLOCKING = "unlocking"  # driven, and the bolt has not followed yet
    UNLOCKED = "unlocked"
    OPEN = "open"
    HELD_OPEN = "held_open"  # open for too long
    FORCED = "forced"  # opened while locked
    JAMMED = "jammed"  # pin or bolt is not where it was driven: it counts as neither locked nor unlocked

    def __str__(self) -> str:
        return self.value


class Alarm(str, Enum):
    """An alarm that somebody has to see to."""

    HELD_OPEN = "held_open"
    FORCED = "forced"
    JAMMED = "jammed"
    TAMPER = "tamper"
    TOO_OFTEN = "too_often"  # the recognizer asks for more than its budget: a rush, or it was taken over

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at pin and switches; None: cannot be read, or there is no such switch.

    `closed` is the leaf, `thrown` the bolt's own contact, `sealed` the box of board and relay.
    """

    pin_locked: bool | None
    closed: bool | None = None
    thrown: bool | None = None
    sealed: bool | None = None
    exit_pressed: bool | None = None


@dataclass(frozen=True, slots=True)
class DoorRule:
    """How long a door may stand open, and how long bolt and leaf may take to follow."""

    held_open_s: float
    settle_s: float


@dataclass(frozen=True, slots=True)
class Door:
    """The door at one instant, with what is needed of its history."""

    state: DoorState = DoorState.UNKNOWN
    alarms: frozenset[Alarm] = frozenset()
    relock: bool = False
    release: bool = False
    seen: Seen | None = None
    drawn_at_s: float | None = None  # when the pin was last seen unlocked
    opened_at_s: float | None = None  # since when the leaf stands open
    forced: bool = False
    astray_since_s: float | None = None  # since when the bolt is not where the pin says

    @property
    def bolt(self) -> str:
        """locked, unlocked, or jammed where neither can be confirmed."""
        if self.seen is None or self.seen.pin_locked is None or self.state is DoorState.JAMMED:
            return "jammed"
        return "locked" if self.seen.pin_locked else "unlocked"


def advance(door: Door, seen: Seen, now_s: float, rule: DoorRule) -> Door:
    """Return the door after one more look at it."""
    before = door.seen or Seen(pin_locked=None)
    known = replace(
        door,
        seen=seen,
        drawn_at_s=now_s if seen.pin_locked is False else door.drawn_at_s,
        opened_at_s=_opened_at(door, seen, now_s),
        forced=_is_forced(door, before, seen, now_s, rule),
        astray_since_s=_astray_since(door, seen, now_s),
    )
    state = _state(known, seen, now_s, rule)
    return replace(
        known,
        state=state,
        alarms=_alarms(known, state, seen),
        relock=before.closed is False and seen.closed is True and seen.pin_locked is False,
        release=bool(seen.exit_pressed) and before.exit_pressed is False,
    )


def _opened_at(door: Door, seen: Seen, now_s: float) -> float | None:
    if seen.closed is not False:
        return None
    return now_s if door.opened_at_s is None else door.opened_at_s


def _is_forced(door: Door, before: Seen, seen: Seen, now_s: float, rule: DoorRule) -> bool:
    """The leaf opened though the pin was locked, and had been for longer than a bolt takes to follow."""
    if seen.closed is not False:
        return False
    opened_now = before.closed is True
    lately_drawn = door.drawn_at_s is not None and now_s - door.drawn_at_s <= rule.settle_s
    return door.forced or (opened_now and seen.pin_locked is not False and not lately_drawn)


def _astray_since(door: Door, seen: Seen, now_s: float) -> float | None:
    # Beside an open leaf the bolt hangs in the air: where it is says nothing.
    if None in (seen.thrown, seen.pin_locked) or seen.thrown == seen.pin_locked or seen.closed is False:
        return None
    return now_s if door.astray_since_s is None else door.astray_since_s


def _state(door: Door, seen: Seen, now_s: float, rule: DoorRule) -> DoorState:
    if seen.pin_locked is None:
        return DoorState.JAMMED
    if door.forced:
        return DoorState.FORCED
    if door.opened_at_s is not None:
        return DoorState.HELD_OPEN if now_s - door.opened_at_s >= rule.held_open_s else DoorState.OPEN
    if door.astray_since_s is not None:
        if now_s - door.astray_since_s >= rule.settle_s:
            return DoorState.JAMMED
        # On its way: not locked before the bolt's own contact says so.
        return DoorState.UNLOCKED if seen.pin_locked else DoorState.UNLOCKING
    return DoorState.LOCKED if seen.pin_locked else DoorState.UNLOCKED


def _alarms(door: Door, state: DoorState, seen: Seen) -> frozenset[Alarm]:
    found = {
        Alarm.HELD_OPEN: state is DoorState.HELD_OPEN,
        Alarm.FORCED: door.forced,
        Alarm.JAMMED: state is DoorState.JAMMED,
        Alarm.TAMPER: seen.sealed is False,
    }
    return frozenset(alarm for alarm, raised in found.items() if raised)


@dataclass(frozen=True, slots=True)
class Report:
    """The part of a door's state that others may know."""

    door: str = str(DoorState.UNKNOWN)
    alarms: frozenset[str] = frozenset()


def report(door: Door) -> Report:
    """Return what others may know of this door."""
    return Report(str(door.state), frozenset(str(alarm) for alarm in door.alarms))


def news(before: Report, after: Report) -> list[tuple[str, dict[str, Any]]]:
    """List the status events, each a name and its fields, that lead from one report to the next."""
    told: list[tuple[str, dict[str, Any]]] = []
    if after.door != before.door:
        told.append(("door", {"door": after.door}))
    told += [("alarm", {"reason": each}) for each in sorted(after.alarms - before.alarms)]
    told += [("alarm_over", {"reason": each}) for each in sorted(before.alarms - after.alarms)]
    return told


@dataclass(frozen=True, slots=True)
class Debounced:
    """A switch whose contacts bounce: `level` changes only after the raw level stood still for a while."""

    level: bool
    raw: bool
    raw_since_s: float


def debounce(switch: Debounced | None, raw: bool, now_s: float, still_s: float) -> Debounced:
    """Return the switch after one more raw reading; the first reading is believed at once."""
    if switch is None:
        return Debounced(raw, raw, now_s)
    since_s = switch.raw_since_s if raw == switch.raw else now_s
    settled = now_s - since_s >= still_s
    return Debounced(raw if settled else switch.level, raw, since_s)
