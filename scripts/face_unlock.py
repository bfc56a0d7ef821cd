"""One command for all that an owner does; installed as `face-unlock`, on a checkout `python scripts/face_unlock.py`.

    face-unlock enroll alice
    face-unlock list
    face-unlock COMMAND --help

Each command is one of the programs of this project, which go on working by their own names: `python enroll.py
--name alice` is `face-unlock enroll alice`. Exit codes stand in docs/how/pipeline.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.programs import Parser, called_as, guard_start

NAME = "face-unlock"


@dataclass(frozen=True)
class Command:
    """One command: the module that has its command line and its `main`; a `verb` is one use of enroll.py."""

    purpose: str
    module: str
    verb: str | None = None

    def line(self) -> Parser:
        """Return its command line."""
        program = import_module(self.module)
        return program.verb_line(self.verb) if self.verb else program.command_line()

    def run(self, arguments: list[str]) -> int:
        """Do what it is for and return the exit code."""
        program: Any = import_module(self.module)
        main: Callable[..., int] = program.main
        return program.main_of(self.verb, arguments) if self.verb else main(arguments)


COMMANDS: dict[str, Command] = {
    "enroll": Command("enroll a person, at the camera or from photographs", "enroll", "name"),
    "unlock": Command("watch the camera and unlock the door; the service does it", "unlock"),
    "list": Command("list who is enrolled, and who may enter when", "enroll", "list"),
    "show": Command("print what is kept of a person", "enroll", "show"),
    "change": Command("change who may enter when", "enroll", "change"),
    "remove": Command("delete a person for good", "enroll", "remove"),
    "check": Command("say whether a person's templates still serve", "enroll", "check"),
    "doctor": Command("say what is wrong with this door, and what to do", "scripts.doctor"),
    "selftest": Command("prove at this door that pictures are kept out", "scripts.pad_selftest"),
    "audit": Command("verify and read the audit log", "scripts.audit"),
    "backup": Command("make, restore and purge encrypted backups", "scripts.backup"),
    "keys": Command("care for the key of the gallery", "scripts.gallery_keys"),
    "aim": Command("show what the camera sees, on a page, for mounting it", "scripts.aim"),
    "fleet": Command("the same people at several doors", "scripts.fleet"),
}


def command_line() -> Parser:
    """Return the command line of the command itself."""
    parser = Parser(prog=NAME, description="Face recognition that unlocks a door.", add_help=False)
    listed = "\n".join(f"  {name:10} {command.purpose}" for name, command in COMMANDS.items())
    parser.usage = f"{NAME} COMMAND [options]"
    more = f"{NAME} COMMAND --help explains one; on a checkout: python scripts/face_unlock.py"
    parser.epilog = f"commands:\n{listed}\n\n{more}"
    return parser


def help_text() -> str:
    parser = command_line()
    return f"usage: {parser.usage}\n\n{parser.description}\n\n{parser.epilog}\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command that is named first, and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] in (["--help"], ["-h"], ["help"]):
        print(help_text(), end="")
        return 0
    if not given or given[0] not in COMMANDS:
        what = f"received {given[0][:40]!r}" if given else "received none"
        command_line().error(f"expected a command ({', '.join(COMMANDS)}), {what}")
    with called_as(f"{NAME} {given[0]}"):
        return COMMANDS[given[0]].run(given[1:])


if __name__ == "__main__":
    guard_start(NAME)
    sys.exit(main())
