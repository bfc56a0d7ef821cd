"""Write the man page and the shell completion of `face-unlock` from the command lines themselves.

python scripts/repo/write_command_docs.py            systemd/face-unlock.1 and systemd/face-unlock.bash
python scripts/repo/write_command_docs.py --check    exit code 1 where one of them is out of date
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device import errors
from device.programs import Parser, run
from scripts.face_unlock import COMMANDS, NAME

MAN, COMPLETION = ROOT / "systemd/face-unlock.1", ROOT / "systemd/face-unlock.bash"
OTHER_CODES = {0: "Done.", 130: "Ctrl-C.", 143: "Ended by SIGTERM; nothing was stored."}
FILES = {
    "/etc/face-unlock/config.toml": "the configuration; face-unlock.service reads it too",
    "/var/lib/face-unlock/gallery.db": "the enrolled templates, sealed",
    "/var/lib/face-unlock/gallery.db.key": "the key that seals them",
    "/var/lib/face-unlock/gallery.db.audit": "the audit log",
}


def man_page() -> str:
    """Return the man page, as troff's man macros."""
    lines = [
        '.\\" Written by scripts/repo/write_command_docs.py',
        f'.TH {NAME.upper()} 1 "" "{NAME}"',
        ".SH NAME",
        f"{NAME} \\- face recognition that unlocks a door",
        ".SH SYNOPSIS",
        f".B {NAME}",
        ".I COMMAND",
        "[options]",
        ".SH COMMANDS",
    ]
    for name, command in COMMANDS.items():
        parser = command.line()
        positionals = " ".join(named(each) for each in parser._actions if not each.option_strings)
        lines += [f".SS {name} {positionals}".rstrip(), escaped(f"{command.purpose.capitalize()}.")]
        for action in told(parser):
            lines += [".TP", f".B {escaped(usage_of(action))}", escaped(action.help or "")]
    lines.append(".SH EXIT STATUS")
    for code, text in sorted(exit_codes().items()):
        lines += [".TP", f".B {code}", escaped(text)]
    lines.append(".SH FILES")
    for path, text in FILES.items():
        lines += [".TP", f".I {path}", escaped(text)]
    return "\n".join(lines) + "\n"


def completion() -> str:
    """Return the completion for bash; zsh takes it after `bashcompinit`."""
    cases = []
    for name, command in COMMANDS.items():
        parser = command.line()
        words = [flag for action in told(parser) for flag in action.option_strings]
        words += [
            str(choice)
            for action in parser._actions
            if not action.option_strings
            for choice in action.choices or ()
        ]
        cases.append(f'        {name}) words="{" ".join(words)}" ;;')
    return "\n".join(
        [
            "# Written by scripts/repo/write_command_docs.py",
            "_face_unlock() {",
            "    local words word=${COMP_WORDS[COMP_CWORD]}",
            '    if [ "$COMP_CWORD" -eq 1 ]; then',
            f'        mapfile -t COMPREPLY < <(compgen -W "{" ".join(COMMANDS)} --help" -- "$word")',
            "        return",
            "    fi",
            "    case ${COMP_WORDS[1]} in",
            *cases,
            '        *) words="" ;;',
            "    esac",
            '    mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$word"; compgen -f -- "$word")',
            "}",
            f"complete -o filenames -F _face_unlock {NAME}",
            "",
        ]
    )


def told(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield what a person is told of."""
    for action in parser._actions:
        if action.dest != "help" and action.help not in (argparse.SUPPRESS, None):
            yield action


def usage_of(action: argparse.Action) -> str:
    if not action.option_strings:
        return named(action)
    value = "" if action.nargs == 0 else f" {named(action)}"
    return f"{', '.join(action.option_strings)}{value}{' ...' if action.nargs == '+' else ''}"


def named(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


def exit_codes() -> dict[int, str]:
    """Return what each exit code says, from the errors that carry them: the first class of each."""
    codes = dict(OTHER_CODES)
    for _, each in sorted(inspect.getmembers(errors, inspect.isclass), key=lambda pair: len(pair[1].__mro__)):
        if issubclass(each, errors.FaceUnlockError):
            codes.setdefault(each.exit_code, (each.__doc__ or "").split("\n")[0])
    return codes


def escaped(text: str) -> str:
    """Return text in which troff sees no request of its own."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def main(arguments: list[str] | None = None) -> int:
    """Write both files, or say which is out of date."""
    return run("write_command_docs.py", lambda: act(command_line().parse_args(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="write_command_docs.py", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a file is out of date")
    return parser


def act(args: argparse.Namespace) -> int:
    old = 0
    for path, text in ((MAN, man_page()), (COMPLETION, completion())):
        is_old = not path.exists() or path.read_text(encoding="utf-8") != text
        old += is_old
        if is_old and not args.check:
            path.write_text(text, encoding="utf-8")
        if is_old:
            print(f"{path.relative_to(ROOT)}: {'out of date' if args.check else 'written'}")
    return 1 if args.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
