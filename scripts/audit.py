"""Read the audit log.

    python scripts/audit.py verify                       is the chain whole? names the first broken record
    python scripts/audit.py show --event granted --subject alice --since 2026-11-01 --until 2026-11-30 [--json]

--config and --gallery as for enroll.py. Exit code 0: whole; 1: broken; 5: no key.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from heapq import merge
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.build import build_keys, open_any_gallery, open_audit, open_outside_audit, outside_audit_path
from device.config import Config
from device.errors import AuditError, FaceUnlockError, GalleryError, GalleryKeyError, UsageError
from device.journal.audit import Audit, Link
from device.journal.events import RECORDS
from device.journal.verify import Line, read_lines, verify
from device.moment import in_local_time
from device.programs import Parser, check_told, configured, run

# What each command takes beside --gallery and --config, by `dest`.
TAKEN: dict[str, set[str]] = {"verify": set(), "show": {"event", "subject", "since", "until", "json"}}
HIDDEN = ("n", "at", "event", "subject", "k", "mac", "prev", "sha256")


def main(arguments: list[str] | None = None) -> int:
    """Verify or show, and return the exit code."""
    return run("audit", lambda: act(parse(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="audit.py", description="Read the audit log.")
    purposes = "verify: is the chain whole? it names the first broken record; show: print the records"
    parser.add_argument("command", choices=TAKEN, help=purposes)
    only = f"show: only these, of {', '.join(RECORDS)}"
    parser.add_argument("--event", choices=RECORDS, metavar="EVENT", help=only)
    parser.add_argument("--subject", metavar="NAME", help="show: only of this person, by name or alias")
    parser.add_argument(
        "--since", metavar="TIME", help="show: from here on, YYYY-MM-DD[THH:MM], of this place"
    )
    parser.add_argument("--until", metavar="TIME", help="show: up to here; a day is in it")
    parser.add_argument("--json", action="store_true", help="show: the records as they are, one a line")
    parser.share("--gallery", "--config")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line()
    args = parser.parse_args(arguments)
    parser.refuse_others(args, args.command, {"command", "gallery", "config", *TAKEN[args.command]})
    return args


def act(args: argparse.Namespace) -> int:
    config = configured(args)
    return check(config) if args.command == "verify" else show(config, args)


def check(config: Config) -> int:
    """Print what the chain says of itself."""
    keys = build_keys(config)
    ring = keys.read()
    if ring is None:
        raise GalleryKeyError(
            f"{keys}: is missing, and the chain cannot be checked without: put your copy back"
        )
    logs = [open_audit(config, ring), open_outside_audit(config, ring)]
    logs = [
        audit for audit in logs if audit.path.exists() or audit.head.read() is not None or is_known(audit)
    ]
    if not logs:
        raise AuditError(f"audit {config.audit_path}: there is none yet")
    records, broken = 0, set[str]()
    for audit in logs:
        anchored, lost = anchored_by(audit)
        verdict = verify(audit.path, ring.audit_keys, audit.head, anchored)
        for note in verdict.notes:
            print(f"note: {note}")
        for problem in [*verdict.problems, *(lost - broken)]:
            print(f"broken: {problem}")
        records, broken = records + verdict.records, broken | {*verdict.problems, *lost}
    print(f"{records} records, {'whole' if not broken else 'NOT whole'}")
    return 1 if broken else 0


def is_known(audit: Audit) -> bool:
    """Say whether the anchor knows of a log, or is lost itself."""
    anchored, lost = anchored_by(audit)
    return anchored is not None or bool(lost)


def anchored_by(audit: Audit) -> tuple[Link | None, set[str]]:
    """Return the newest record that the anchor knows of, and why it is lost, if it is: the rest is checked anyway."""
    try:
        return audit.anchored(), set()
    except GalleryError as error:
        return None, {str(error)}


def show(config: Config, args: argparse.Namespace) -> int:
    """Print the records that the filters let through, with names for those who are still enrolled."""
    names, shown = names_of(config), 0
    since, until = moment(args.since, "--since", end=False), moment(args.until, "--until", end=True)
    for record in records_of(config):
        alias = record.get("subject")
        if args.event not in (None, record["event"]):
            continue
        if args.subject is not None and args.subject not in (alias, names.get(alias)):
            continue
        if not (since or "") <= record["at"] <= (until or "9"):
            continue
        print(json.dumps(record) if args.json else described(record, names))
        shown += 1
    if not shown and not args.json:
        print(nothing_of(args))
    check_told()
    return 0


def records_of(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the records of both logs in the order of their times; each log's own order is never changed."""

    def of(path: Path) -> Iterator[dict[str, Any]]:
        for line in read_lines(path):
            if isinstance(line, tuple):
                tell_torn(f"{line[0].name}: at its end", line[1])
                continue
            if (record := readable(line)) is not None:
                if record["event"] not in ("torn", "cut"):
                    tell_torn(f"{line.where}: before record {line.n}", line.torn)
                yield record
            else:
                print(f"audit: {line.where}: record {line.n} cannot be read: see verify", file=sys.stderr)

    yield from merge(of(config.audit_path), of(outside_audit_path(config)), key=lambda record: record["at"])


def tell_torn(where: str, rest: bytes) -> None:
    """Say that bytes which are no record are left out."""
    if rest:
        print(f"audit: {where}: {len(rest)} bytes are no record: see verify", file=sys.stderr)


def readable(line: Line) -> dict[str, Any] | None:
    """Return a record, None where another hand left something else in its place."""
    try:
        record = line.record
    except ValueError:
        return None
    whole = all(isinstance(record.get(key), str) for key in ("at", "event"))
    return record if whole and isinstance(record.get("subject", ""), str) else None


def nothing_of(args: argparse.Namespace) -> str:
    """Say of what there are no records."""
    asked = (("event", args.event), ("for", args.subject), ("since", args.since), ("until", args.until))
    return " ".join(["no records", *(f"{word} {value}" for word, value in asked if value is not None)])


def described(record: dict[str, Any], names: dict[str, str]) -> str:
    alias = record.get("subject")
    who = [names.get(alias, alias)] if alias else []
    rest = [f"{key} {value}" for key, value in record.items() if key not in HIDDEN]
    head = f"{in_local_time(record['at'])} {record['n']} {record['event']}"
    return f"{head}: {', '.join(who + rest)}" if who or rest else head


def names_of(config: Config) -> dict[str, str]:
    """Return the name of each alias, none where the gallery cannot be opened: the log is read all the same."""
    try:
        with open_any_gallery(config, read_only=True) as gallery:
            return gallery.aliases()
    except FaceUnlockError as error:
        print(f"audit: aliases stay aliases: {error}", file=sys.stderr)
        return {}


def moment(text: str | None, flag: str, *, end: bool) -> str | None:
    """Return a time as records have it; a day as `end` is its last moment."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{flag} {text[:40]!r}: expected YYYY-MM-DD or YYYY-MM-DDTHH:MM") from None
    if end and len(text) == len("2026-11-01"):
        at += timedelta(days=1, milliseconds=-1)
    try:
        utc = at.astimezone(timezone.utc)
    except OverflowError:  # the first or the last day of all
        utc = at.replace(tzinfo=timezone.utc)
    return utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


if __name__ == "__main__":
    sys.exit(main())
