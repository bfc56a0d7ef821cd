"""The options of enroll.py: what each is called, what it says in --help, and which verbs take it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from device.enroll.rules import RULE_FIELDS, add_policy_options

LOOKS = ("camera", "images", "samples", "model")
# Of each verb: what it does, and what it takes beside --gallery, --config and --json, by `dest`.
VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "name": (
        "enroll this person; once more adds templates",
        (*LOOKS, "page", "page_at", "replace", "allow_lookalike", "sheet", "no_sheet", "yes", *RULE_FIELDS),
    ),
    "check": ("say whether a person's templates still serve", LOOKS),
    "change": ("change who may enter when, without a camera", RULE_FIELDS),
    "show": ("print what is kept of a person", ()),
    "list": ("list who is enrolled, and who may enter when", ()),
    "remove": ("delete a person's templates for good; asks first", ("sheet", "no_sheet", "yes")),
}
COMMON = ("gallery", "config", "json")
OPTIONS: dict[str, dict[str, Any]] = {
    "camera": {"metavar": "SRC", "help": "auto, picamera2, an index, a device, a clip or rtsp://"},
    "images": {"nargs": "+", "type": Path, "metavar": "FILE", "help": "photographs instead of a camera"},
    "page": {"action": "store_true", "help": "show the camera on a page, for a phone in the same network"},
    "page_at": {"metavar": "ADDRESS", "help": "the page at this address, such as 127.0.0.1:8080 for ssh -L"},
    "samples": {"type": int, "metavar": "N", "help": "good samples to collect; photographs: at most"},
    "replace": {"action": "store_true", "help": "drop the templates that the person had"},
    "allow_lookalike": {
        "action": "store_true",
        "help": "enroll somebody whom no threshold parts from another; the door then challenges both",
    },
    "sheet": {"type": Path, "metavar": "PATH", "help": "contact sheet (default enroll-NAME.png)"},
    "no_sheet": {"action": "store_true", "help": "write no contact sheet"},
    "json": {"action": "store_true", "help": "results as JSON, one object a line"},
}
EITHER = (("camera", "images"), ("sheet", "no_sheet"))  # one of them at most


def taken_by(verb: str) -> set[str]:
    """Return the `dest` of each option that a verb takes."""
    return {*COMMON, *VERBS[verb][1]}


def add_options(parser: argparse.ArgumentParser, wanted: set[str]) -> None:
    """Add those of OPTIONS, and the rules, whose `dest` is wanted."""
    for dest, about in OPTIONS.items():
        if dest in wanted and not any(dest in pair for pair in EITHER):
            parser.add_argument(flag_of(dest), **about)
    for pair in EITHER:
        if not wanted.intersection(pair):  # argparse cannot print an empty group
            continue
        group = parser.add_mutually_exclusive_group()
        for dest in pair:
            if dest in wanted:
                group.add_argument(flag_of(dest), **OPTIONS[dest])
    if wanted.issuperset(RULE_FIELDS):
        add_policy_options(parser)


def flag_of(dest: str) -> str:
    return f"--{dest.replace('_', '-')}"
