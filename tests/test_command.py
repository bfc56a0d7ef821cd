"""What a message tells an owner to type works where the owner is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from device.command import owner_command
from scripts.face_unlock import COMMANDS
from tests.support.checkout import ROOT

# What `ps` shows of a running door, and the command line that enroll.py has by its own name.
NAMES_OF_PROCESSES = {"device/doctor/host.py: unlock.py", "enroll.py: enroll.py --"}
CALLED = re.compile(r"owner_command\(f?['\"]([a-z]+)")


def test_an_installed_board_has_the_short_name_and_a_checkout_the_script() -> None:
    assert owner_command("keys accept", Path("/opt/face-unlock")) == "face-unlock keys accept"
    assert owner_command("keys accept") == "python scripts/face_unlock.py keys accept"


def test_every_command_of_a_message_exists() -> None:
    named = {
        name for path in (ROOT / "device").rglob("*.py") for name in CALLED.findall(path.read_text("utf-8"))
    }
    assert len(named) >= 4
    assert named <= set(COMMANDS)


def test_no_message_names_a_script_that_has_an_owners_command() -> None:
    modules = {command.module.rpartition(".")[2] for command in COMMANDS.values()}
    programs = [ROOT / f"{command.module.replace('.', '/')}.py" for command in COMMANDS.values()]
    script = re.compile(rf"\b({'|'.join(sorted(modules))})\.py\b")
    told = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in [*sorted((ROOT / "device").rglob("*.py")), *programs]
        for text in messages(ast.parse(path.read_text("utf-8")))
        if script.search(text)
    } - NAMES_OF_PROCESSES
    assert told == set()


def messages(tree: ast.AST) -> Iterator[str]:
    """Yield each text of a program that is no docstring and no name of a program by itself."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                is_docstring = isinstance(node, ast.Expr)
                is_name = isinstance(node, ast.keyword) and node.arg == "prog"
                if not (is_docstring or is_name):
                    yield child.value
