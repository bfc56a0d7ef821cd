"""Enroll a person: store templates of the face in the gallery, never a picture.

    python enroll.py --name alice                       at the camera, guided
    python enroll.py --name alice --page                the same, and alice sees herself on her phone
    python enroll.py --name alice --images a.jpg b.jpg  from photographs
    python enroll.py --check alice                      do the stored templates still serve? changes nothing
    python enroll.py --list
    python enroll.py --name alice --hours "Mon-Fri 08:00-18:00" --until 2027-01-31 --pin
    python enroll.py --change alice --access disabled
    python enroll.py --show alice
    python enroll.py --remove alice                     asks first; --yes answers

Exit codes stand in device/errors.py; --check ends with 1 where the templates do not serve; an enrollment that SIGTERM
interrupts stores nothing and exits with 143.
"""

from __future__ import annotations

import sys

from device.programs import guard_start

if __name__ == "__main__":
    guard_start("enroll")

import argparse
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from functools import partial

from device.build import (
    SAME_PERSON_FMR,
    build_audit,
    build_camera,
    build_collector,
    build_embedder,
    build_gallery,
    build_keys,
    build_usage,
    look_alike_margin,
    open_any_gallery,
    threshold_for,
)
from device.config import Config
from device.enroll.audience import Audience, NoAudience
from device.enroll.enrollment import Source, Studio, Wishes
from device.enroll.options import VERBS, add_options, taken_by
from device.enroll.output import Output
from device.enroll.register import Register
from device.enroll.rules import RULE_FIELDS, changed
from device.programs import (
    Parser,
    ask_secret,
    ask_yes,
    check_told,
    configured,
    ignore_stop_signals,
    run,
    stop_signals_raise,
)
from device.vault.keys import bond_text

UNCHANGED = "interrupted: nothing was changed"


def main(arguments: list[str] | None = None) -> int:
    """Enroll, check, list, show, change or remove, and return the exit code."""
    return run("enroll", lambda: act(parse(arguments)), interrupted=UNCHANGED)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; `verb` is which of its six uses it is."""
    parser = command_line()
    args = parser.parse_args(arguments)
    verb = next(verb for verb in VERBS if getattr(args, verb) not in (None, False))
    parser.refuse_others(args, f"--{verb}", {verb, *taken_by(verb)})
    return checked(parser, args, verb)


def command_line() -> Parser:
    """Return the command line with all of its uses."""
    parser = Parser(prog="enroll.py", description="Enroll a person for the door.")
    what = parser.add_mutually_exclusive_group(required=True)
    for verb, (purpose, _) in VERBS.items():
        how = {"action": "store_true"} if verb == "list" else {"metavar": "NAME"}
        what.add_argument(f"--{verb}", help=purpose, **how)  # type: ignore[arg-type]
    add_options(parser, set().union(*map(taken_by, VERBS)))
    parser.share("--yes", "--gallery", "--model", "--config")
    return parser


def verb_line(verb: str) -> Parser:
    """Return the command line of one use alone, as of `face-unlock list`: the person's name comes first."""
    parser = Parser(prog=f"enroll.py --{verb}", description=f"{VERBS[verb][0].capitalize()}.")
    if verb != "list":
        parser.add_argument(verb, metavar="NAME", help="of the person")
    add_options(parser, taken_by(verb))
    parser.share(
        *(flag for flag in ("--yes", "--gallery", "--model", "--config") if flag[2:] in taken_by(verb))
    )
    return parser


def main_of(verb: str, arguments: list[str] | None) -> int:
    """Run one use by its own command line, and return the exit code."""

    def deed() -> int:
        parser = verb_line(verb)
        others = vars(command_line().parse_args(["--list"]))
        return act(
            checked(parser, argparse.Namespace(**{**others, **vars(parser.parse_args(arguments))}), verb)
        )

    return run("enroll", deed, interrupted=UNCHANGED)


def checked(parser: Parser, args: argparse.Namespace, verb: str) -> argparse.Namespace:
    """Return the arguments with their verb; a change that changes nothing is an error."""
    args.verb = verb
    if verb == "change" and not any(getattr(args, field) for field in RULE_FIELDS):
        parser.error("change: expected a rule such as --hours or --access, received none")
    if (args.page or args.page_at) and args.images:
        parser.error("--page: shows a camera, received --images: leave one of the two away")
    return args


def act(args: argparse.Namespace) -> int:
    """Do what the command line asks for."""
    with stop_signals_raise():
        config, output = configured(args), Output(args.json)
        register = register_of(config, output, args.yes)
        changes = partial(changed, args, now=datetime.now(timezone.utc), ask=ask_pin)
        if args.verb == "list":
            register.list_all()
            check_told()
        elif args.verb == "show":
            register.show(args.show)
            check_told()
        elif args.verb == "change":
            register.change(args.change, changes)
        elif args.verb == "remove":
            register.remove(args.remove, sheet=args.sheet, no_sheet=args.no_sheet)
        else:
            source = Source(images=args.images or [], samples=args.samples)
            if args.verb == "check":
                return 0 if studio_of(config, register, NoAudience()).check(args.check, source) else 1
            wishes = Wishes(
                changes=changes,
                replace=args.replace,
                allow_lookalike=args.allow_lookalike,
                sheet=args.sheet,
                no_sheet=args.no_sheet,
            )
            with audience_of(args) as audience:
                studio_of(config, register, audience).enroll(args.name, source, wishes)
        return 0


def audience_of(args: argparse.Namespace) -> AbstractContextManager[Audience]:
    """Open the page on which the person looks at the enrollment, if one was asked for."""
    if not (args.page or args.page_at):
        return nullcontext(NoAudience())
    from device.page.place import bind  # what draws and codes is loaded for a page alone
    from device.page.visitor import PageAudience

    return PageAudience(bind(args.page_at or ""))


def register_of(config: Config, output: Output, yes: bool) -> Register:
    """Put together what needs no camera."""
    return Register(
        path=config.gallery_path,
        output=output,
        open_gallery=partial(open_any_gallery, config),
        open_audit=partial(build_audit, config, demo=False),
        usage_of=lambda _, profile: build_usage(config).of(profile),
        ask=(lambda _: None) if yes else ask_yes,
        bystand=ignore_stop_signals,
    )


def studio_of(config: Config, register: Register, audience: Audience) -> Studio:
    """Put together what looks at faces."""
    embedder = build_embedder(config)
    manifest = embedder.manifest
    return Studio(
        register=register,
        embedder=embedder,
        open_gallery=partial(build_gallery, config, manifest),
        new_collector=lambda samples, guided: build_collector(
            config, embedder, samples=samples, guided=guided
        ),
        open_camera=partial(build_camera, config),
        threshold_for=partial(threshold_for, config, manifest),
        same_person=manifest.threshold(SAME_PERSON_FMR),
        margin=look_alike_margin(manifest),
        samples=config.enrollment.samples,
        timeout_s=config.enrollment.timeout_s,
        needed=(config.decision.k, config.decision.n),
        bond=lambda gallery: bond_text(gallery.seal.ring, build_keys(config)),
        audience=audience,
    )


def ask_pin(what: str) -> str:
    """Read a PIN: twice at a terminal, unseen, else one line of stdin."""
    return ask_secret(what, twice=True, instead="the PIN in one line of stdin")


if __name__ == "__main__":
    sys.exit(main())
