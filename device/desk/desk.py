"""Desk: tell the link of this door's state, and do or refuse what comes back; called by the loop, it never waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from device import __version__
from device.access.profile import Profile
from device.desk.line import Line
from device.desk.opening import Freshness, Opening
from device.desk.switches import Off, Switches
from device.desk.wire import (
    AWAY,
    CONNECTING,
    LINKS,
    LOCK,
    OPEN,
    PERSON_OFF,
    PERSON_ON,
    Packet,
    Request,
    read_request,
)
from device.errors import GalleryError
from device.journal.damper import Damper
from device.journal.trail import AuditTrail
from device.protocols import Front
from device.types import News

TURN_S = 0.05  # between two looks at the line
PEOPLE_S, OFF_S = 30.0, 1.0  # between two looks at who has a switch, and at whose is off
MOST_PEOPLE = 50  # switches that Home Assistant is shown
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskRule:
    """`pulse_s`: of an opening; `names`: people are told by name; `proven`: this door passed its self-test."""

    door: str
    pulse_s: float
    names: bool
    proven: bool


class LinkWriter:
    """Hand status lines to the link as events: an output of the status log."""

    def __init__(self, line: Line, *, names: bool) -> None:
        self._line, self._names = line, names

    def put(self, line: dict[str, Any]) -> None:
        hidden = () if self._names else ("subject_id",)
        self._line.put({"kind": "event", **{k: v for k, v in line.items() if k not in hidden}})

    def close(self, wait_s: float) -> None:
        """Leave the line to the desk."""


class Desk:
    """The door's side of the link.

    Args:
        profiles: gives who is enrolled, and what is kept of each.
    """

    def __init__(
        self,
        rule: DeskRule,
        line: Line,
        *,
        front: Front,
        freshness: Freshness,
        opening: Opening,
        switches: Switches,
        audit: AuditTrail,
        profiles: Callable[[], dict[str, Profile]],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rule, self._line, self._front = rule, line, front
        self._freshness, self._opening, self._switches = freshness, opening, switches
        self._audit, self._profiles, self._now_s = audit, profiles, now_s
        self._refusals: Damper[str] = Damper()
        self._turned_s = self._listed_s = self._opened_s = self._off_s = float("-inf")
        self._off, self._link = Off(), CONNECTING
        self._people: dict[str, str] = {}  # alias -> name, of those who have a switch
        self._told: list[Packet] = []
        line.greeting = self._greeting

    def step(self) -> Iterator[News]:
        """Yield the events of one turn: openings, switches, refusals."""
        now_s = self._now_s()
        if now_s - self._turned_s < TURN_S:
            return
        self._turned_s = now_s
        for packet in self._line.exchange():
            if "link" in packet:
                self._hear(packet)
                continue
            yield from self._answer(read_request(packet.get("command")), now_s)
        for reason, count in self._refusals.quiet(now_s):
            yield "outside_refused", {"reason": reason, "count": count}
        if self._line.is_up and (about := self._about(now_s)) != self._told:
            for packet in about:
                self._line.put(packet)
            self._told = about

    @property
    def link(self) -> str:
        """How the link stands with the broker: one of LINKS."""
        return self._link if self._line.is_up else AWAY

    def face_opened(self) -> None:
        """Note that a face has the bolt now: a pulse of hers is not for others to end."""
        self._opened_s = float("-inf")

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def _hear(self, packet: Packet) -> None:
        """Note how the link stands with the broker; what is no word of LINKS is none."""
        word = packet.get("link")
        self._link = word if isinstance(word, str) and word in LINKS else CONNECTING

    def _answer(self, request: Request | None, now_s: float) -> Iterator[News]:
        refusal = MALFORMED if request is None else self._freshness.doubt(request) or self._do(request, now_s)
        if refusal:
            if count := self._refusals.see(refusal, now_s):
                yield "outside_refused", {"reason": refusal, "count": count if count > 1 else None}
        elif request is not None and request.do == OPEN:
            yield "outside_opened", {"method": "outside"}
        elif request is not None and request.do != LOCK:
            yield "switched", {"reason": request.do, "subject_id": self._people.get(request.subject)}

    def _do(self, request: Request, now_s: float) -> str:
        """Do what a fresh command asks for, and return "", or why not."""
        if request.do == OPEN:
            refusal = self._opening.open(request)
            self._opened_s = self._opened_s if refusal else now_s
            return refusal
        if request.do == LOCK:
            return self._lock(now_s)
        if request.do in (PERSON_OFF, PERSON_ON) and request.subject not in self._people:
            return "unknown_person"
        refusal, self._off_s = self._switches.ask(request), float("-inf")
        if not refusal:
            self._audit.record("switched", reason=request.do, subject=request.subject or None)
        return refusal

    def _lock(self, now_s: float) -> str:
        """End a pulse that was asked for from outside; one of a face is not for others to end."""
        if now_s - self._opened_s > self._rule.pulse_s:
            return "not_allowed"
        self._opened_s = float("-inf")
        self._front.lock()
        return ""

    def _greeting(self) -> list[Packet]:
        self._listed_s, self._link = float("-inf"), CONNECTING
        self._told = self._about(self._now_s())
        return self._told

    def _about(self, now_s: float) -> list[Packet]:
        """Return what the link is to know now."""
        if self._switches.is_on and now_s - self._listed_s >= PEOPLE_S:
            self._listed_s = now_s
            self._people = self._listed()
        if now_s - self._off_s >= OFF_S:
            self._off_s, self._off = now_s, self._switches.off()
        off, report = self._off, self._front.report
        hello = {
            "kind": "hello",
            "door": self._rule.door,
            "version": __version__,
            "opens": self._opening.is_on,
            "switches": self._switches.is_on,
            "people": self._people,
        }
        state = {
            "kind": "state",
            "locked": self._front.is_locked,
            "door": report.door,
            "alarms": sorted(report.alarms),
            "proven": self._rule.proven,
            "face": not off.everybody,
            "off": sorted(off.people & set(self._people)),
        }
        return [hello, state]

    def _listed(self) -> dict[str, str]:
        try:
            profiles = sorted(self._profiles().items())[:MOST_PEOPLE]
        except GalleryError:
            return self._people
        return {profile.alias: name if self._rule.names else profile.alias[:6] for name, profile in profiles}


class NoDesk:
    """What stands for the desk of a door without a link."""

    link: str | None = None

    def step(self) -> Iterator[News]:
        yield from ()

    def face_opened(self) -> None:
        """Tell nobody."""

    def close(self) -> None:
        """Hold nothing."""
