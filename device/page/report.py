"""The text of the status page: the door's last lines, in the door's local time, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from html import escape
from typing import Any

from device.desk.wire import LINKS
from device.health import BoardState
from device.page.markup import document, table

SILENT_BEATS = 3  # so many heartbeats late, the door is said to be silent
TITLE = "The door"
NOT_RUNNING = (
    "The door's program is not running, or does not write for this page: sudo systemctl status face-unlock"
)
KNOWN = ("event", "at", "subject_id", "demo", "reason", "error")  # fields that are not said by their name
CLOSENESS = {"just_below": "just below what it needs", "far_below": "far below what it needs"}
Line = Mapping[str, Any]


def report(told: Mapping[str, Any] | None, board: BoardState, now: datetime) -> str:
    """Return the page of a snapshot, of None where there is none; `now` has its time zone."""
    if told is None:
        rows = {"State": NOT_RUNNING, "Board": board_words(board)}
        return document(TITLE, head(rows, now), has_script=False)
    facts, events = told["facts"], lines_of(told)
    body = [head(dict(state_rows(told, board, now)), now)]
    seen = [event_row(line) for line in reversed(events)]
    columns = ("When", "Who", "What", "Measured", "What helps")
    body.append(table(columns, seen, "Last events") if seen else "<h2>Last events</h2>\n<p>None yet.</p>")
    people = [person_row(each) for each in facts.get("people", [])]
    body.append(
        table(("Name", "Since", "Rules"), people, "People") if people else "<h2>People</h2>\n<p>Nobody.</p>"
    )
    return document(TITLE, "\n".join(body), has_script=False)


def head(rows: Mapping[str, str], now: datetime) -> str:
    listed = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows.items())
    at = f"{local(now.isoformat())} ({now.astimezone().tzname()})"
    return f"<h1>{TITLE}</h1>\n<p>As of {escape(at)}; reload the page for news.</p>\n<dl>\n{listed}\n</dl>"


def state_rows(told: Mapping[str, Any], board: BoardState, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield what the door is now, by its last lines."""
    facts, events = told["facts"], lines_of(told)
    beat = told.get("heartbeat") or {}
    yield "Bolt", bolt_words(newest(events, "locked", "unlocked", "ready"), beat)
    if leaf := newest(events, "door"):
        yield "Leaf", f"{leaf.get('door', '?')}, since {local(leaf['at'])}"
    if started := newest(events, "started"):
        yield "Running since", f"{local(started['at'])}, version {started.get('version', '?')}"
    late_s = age_s(told.get("written_at", ""), now)
    stopped = newest(events, "stopping")
    if stopped:
        yield "Stopped", f"{local(stopped['at'])}: {words(stopped.get('reason'))}"
    elif late_s > SILENT_BEATS * float(facts.get("heartbeat_s", 30.0)):
        yield "Silent", f"the door has said nothing for {late_s:.0f} s: sudo systemctl status face-unlock"
    if not stopped:
        yield "Camera", camera_words(newest(events, "camera_lost", "camera_back"), beat)
    if isinstance(link := beat.get("link"), str) and link in LINKS:
        yield "Link", LINKS[link]
    if keeper := facts.get("keeper"):
        yield "Keeper", str(keeper)
    yield "Self-test", str(facts.get("selftest", "not known"))
    if fault := facts.get("fault"):
        yield "Gallery", str(fault)
    yield "Board", board_words(board)


def event_row(line: Line) -> tuple[str, ...]:
    """Return when, who, what, the measured value with its limit, and what helps, of one line."""
    when, who = local(line.get("at", "")), str(line.get("subject_id", ""))
    if line.get("event") != "approach":
        details = [f"{words(key)} {words(value)}" for key, value in line.items() if key not in KNOWN]
        said = [words(line[key]) for key in ("reason", "error") if key in line]
        what = ": ".join(part for part in (words(line.get("event")), ", ".join([*said, *details])) if part)
        return when, who, capital(what), "", ""
    opened = line.get("stage") == "opened"
    what = "Opened" if opened else f"Refused: {words(line.get('reason'))}"
    return when, who or "somebody", what, measured(line), "" if opened else advice(line)


def advice(line: Line) -> str:
    """Return what helps; whoever is like nobody here is most likely a stranger, who needs no help."""
    said = str(line.get("advice", ""))
    return f"nothing, if this was a stranger; else {said}" if line.get("closeness") == "far_below" else said


def measured(line: Line) -> str:
    if "measured" in line and "limit" in line:
        return f"{line['measured']:.4g}, limit {line['limit']:.4g}"
    return CLOSENESS.get(str(line.get("closeness")), "")


def person_row(person: Line) -> tuple[str, ...]:
    return str(person["name"]), local(person["since"]), "; ".join(map(str, person["rules"]))


def bolt_words(last: Line | None, beat: Line) -> str:
    if last is None:
        return "not known"
    is_locked = last.get("is_locked") if last["event"] == "ready" else last["event"] == "locked"
    newer = beat if beat.get("at", "") > last["at"] else last
    said = newer.get("is_locked", is_locked)
    return {True: "locked", False: "unlocked"}.get(said, "not known: the pin cannot be read")


def camera_words(last: Line | None, beat: Line) -> str:
    if last is not None and last["event"] == "camera_lost":
        return f"lost since {local(last['at'])}: {last.get('error', '')}"
    return f"{beat['fps']:.1f} pictures a second" if "fps" in beat else "works"


def board_words(board: BoardState) -> str:
    said = [f"{board.temperature_c:.0f} °C" if board.temperature_c is not None else "no thermometer"]
    said += ["its clock is held down"] * board.throttled + ["the supply is too weak"] * board.under_voltage
    return ", ".join(said)


def lines_of(told: Mapping[str, Any]) -> list[Line]:
    return [line for line in told["events"] if isinstance(line, dict)]


def newest(events: list[Line], *names: str) -> Line | None:
    return next((line for line in reversed(events) if line.get("event") in names and "at" in line), None)


def local(stamp: str) -> str:
    """Return a moment as a person at this door would write it."""
    moment = parsed(stamp)
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment is not None else "?"


def age_s(stamp: str, now: datetime) -> float:
    moment = parsed(stamp)
    return (now - moment).total_seconds() if moment is not None else 0.0


def parsed(stamp: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except (ValueError, AttributeError):
        return None
    return moment if moment.tzinfo is not None else None


def words(value: object) -> str:
    """Return a word of the log, a number or a yes as a person would read it."""
    return str(value).lower() if isinstance(value, bool) else str(value).replace("_", " ")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
