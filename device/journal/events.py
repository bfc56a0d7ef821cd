"""Every event there is, and where each goes: the one table that console, serial log, audit and prompt follow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto


class Sink(Flag):
    """Where an event goes."""

    NONE = 0
    CONSOLE = auto()  # stdout, which systemd keeps in the owner's journal
    SERIAL = auto()  # the serial log, which leaves the board
    AUDIT = auto()  # the audit log
    OUTSIDE = (
        auto()
    )  # the audit log of what anybody before the door can cause: it takes no room from the other one
    PROMPT = auto()  # buzzer and LED
    LINK = auto()  # the link to a broker: it leaves the house


LOG = Sink.CONSOLE | Sink.SERIAL


@dataclass(frozen=True, slots=True)
class Event:
    """The sinks of one event, and the fields that are recorded.

    An event for console or serial log that also goes to the audit is recorded there as `record`, with `fields`. If
    `record` is empty, the program writes the record itself: that of a grant comes before the bolt moves.
    """

    sinks: Sink
    record: str = ""
    fields: tuple[str, ...] = ()


def recorded(name: str, *fields: str, sinks: Sink = LOG | Sink.AUDIT) -> Event:
    return Event(sinks, name, fields)


EVENTS: dict[str, Event] = {
    "started": recorded("started", "version"),
    "ready": Event(LOG),
    # the record comes before the bolt moves, with the alias (admission.py)
    "granted": Event(LOG | Sink.AUDIT | Sink.LINK),
    "refused": recorded("refused", "reason", "count", sinks=LOG | Sink.OUTSIDE | Sink.LINK),
    "held_back": recorded("refused", "reason", "count", sinks=Sink.OUTSIDE),  # refusals that were not told
    "approach": Event(LOG),
    "kept_out": Event(LOG),
    "challenge": Event(LOG | Sink.PROMPT),
    "challenge_over": Event(Sink.PROMPT),
    "unlocked": Event(LOG),
    "locked": Event(LOG),
    "door": recorded("door", "door"),
    "alarm": recorded("alarm", "reason", sinks=LOG | Sink.AUDIT | Sink.LINK),
    "alarm_over": recorded("alarm_over", "reason"),
    "command_refused": Event(LOG | Sink.AUDIT),
    # somebody elsewhere, over the link; the records come first (device/desk)
    "outside_opened": Event(LOG | Sink.AUDIT | Sink.LINK),
    "outside_refused": recorded("outside_refused", "reason", "count", sinks=LOG | Sink.OUTSIDE | Sink.LINK),
    "switched": Event(LOG | Sink.AUDIT),
    "broker": Event(LOG),
    "fleet": recorded("fleet", "reason", "count"),
    "lock_lost": recorded("lock_lost"),
    "lock_back": recorded("lock_back"),
    "camera_lost": recorded("camera_lost", sinks=LOG | Sink.OUTSIDE),
    "camera_back": recorded("camera_back", sinks=LOG | Sink.OUTSIDE),
    "camera_covered": recorded("camera_covered", "reason", sinks=LOG | Sink.OUTSIDE),
    "camera_frozen": recorded("camera_frozen", sinks=LOG | Sink.OUTSIDE),
    "camera_clear": recorded("camera_clear", "reason", sinks=LOG | Sink.OUTSIDE),
    "too_dark": Event(LOG),
    "too_bright": Event(LOG),
    "light_ok": Event(LOG),
    "board_hot": Event(LOG),
    "board_throttled": Event(LOG),
    "under_voltage": Event(LOG),
    "board_ok": Event(LOG),
    "clock_jumped": recorded("clock_jumped", "jump_s"),
    "clock_ok": recorded("clock_ok"),
    "time_zone": Event(LOG),
    "audit_lost": Event(LOG),
    "audit_back": Event(LOG),
    "heartbeat": Event(LOG),
    "warning": Event(LOG),
    "stopping": recorded("stopped", "reason", "exit_code"),
    # records without a status line
    **dict.fromkeys(
        (
            "stopped", "duress", "fault", "enrolled", "removed", "expired", "policy", "sealed", "key_rotated",
            "backed_up", "restored", "accepted", "rotated", "pruned", "torn", "cut", "lost",
        ),
        Event(Sink.AUDIT),
    ),
}  # fmt: skip

TOLD = tuple(name for name, event in EVENTS.items() if event.sinks & LOG)
RECORDS = tuple(
    name
    for name, event in EVENTS.items()
    if event.sinks & (Sink.AUDIT | Sink.OUTSIDE) and event.record in ("", name)
)
# What stays on the board: the serial log may be read by anybody.
CONSOLE_ONLY = ("closeness",)
# All that leaves the house: no measured value, no picture.
LINK_FIELDS = ("event", "subject_id", "reason", "method", "count", "wait_s")
