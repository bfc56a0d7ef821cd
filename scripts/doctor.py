"""Say what is wrong with this door, and what to do about it: one line for each part, green, yellow or red.

    python scripts/doctor.py                    everything, beside a running door too
    python scripts/doctor.py --only camera      one part
    python scripts/doctor.py --watch            what each stage says of the face that stands there now

It changes nothing, moves no bolt and takes no camera away from the door. Exit code 0: nothing is red; 1: something is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device import config as configuration
from device.doctor.display import described, painted
from device.doctor.examination import CHECKS, as_json, examine, own_command
from device.doctor.finding import Finding, Light, worst
from device.doctor.host import Host
from device.moment import in_utc
from device.programs import Parser, check_told, configured, run

VERDICTS = {
    Light.GREEN: "everything is as it should be",
    Light.YELLOW: "the door can open; look at what is yellow",
    Light.RED: "the door cannot open for everybody until what is red is mended",
}


def main(arguments: list[str] | None = None, *, host: Host | None = None) -> int:
    """Examine the door or watch one approach, and return the exit code."""
    return run("doctor", lambda: act(parse(arguments), host or Host()))


def command_line() -> Parser:
    parser = Parser(
        prog="doctor.py", description="Say what is wrong with this door, and what to do about it."
    )
    parser.add_argument("--watch", action="store_true", help="show each stage of one approach; opens nothing")
    parser.add_argument("--only", choices=CHECKS, metavar="PART", help=f"one part: {', '.join(CHECKS)}")
    parser.add_argument("--json", action="store_true", help="results as JSON, one object a line")
    parser.share("--camera", "--gallery", "--config")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_line()
    args = parser.parse_args(arguments)
    if args.watch:
        parser.refuse_others(args, "--watch", {"watch", "camera", "gallery", "config"})
    return args


def act(args: argparse.Namespace, host: Host) -> int:
    if args.watch:
        from device.doctor.stages import watch

        return watch(configured(args), host)
    findings = told(args, host) if not args.json else list(examined(args, host))
    if args.json:
        now = in_utc(datetime.now(timezone.utc))
        listed = [as_json(each) for each in findings]
        print(json.dumps({"at": now, "verdict": str(worst(findings)), "findings": listed}))
    check_told()
    return int(worst(findings) is Light.RED)


def examined(args: argparse.Namespace, host: Host) -> Iterator[Finding]:
    """Run every check, or the one that is named, which runs in this process."""
    load = partial(configured, args)
    given = [word for key in ("camera", "gallery", "config") for word in option(key, getattr(args, key))]
    for name in [args.only] if args.only else CHECKS:
        command = [] if args.only else own_command(str(Path(__file__).resolve()), given, name)
        alone = args.only is not None
        yield from examine(name, load, origin(args.config), host, command, alone=alone)


def told(args: argparse.Namespace, host: Host) -> list[Finding]:
    """Print each finding as it comes, and the verdict; return them all."""
    findings = []
    for each in examined(args, host):
        print(described(each), flush=True)
        findings.append(each)
    verdict = worst(findings)
    print(f"{painted(verdict)}  {VERDICTS[verdict]}")
    return findings


def option(key: str, value: object) -> Iterable[str]:
    return () if value is None else (f"--{key}", str(value))


def origin(path: Path | None) -> str:
    """Say where the configuration comes from."""
    if path is not None:
        return str(path)
    file = configuration.SYSTEM_CONFIG
    return str(file) if os.path.lexists(file) else "no file"


if __name__ == "__main__":
    sys.exit(main())
