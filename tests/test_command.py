"""What a message tells an owner to type works where the owner is."""

from __future__ import annotations

import re
from pathlib import Path

from device.command import owner_command
from scripts.face_unlock import COMMANDS
from tests.support.checkout import ROOT

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
    scripts = "|".join(
        command.module.removeprefix("scripts.").replace(".", "/")
        for command in COMMANDS.values()
        if command.module.startswith("scripts.")
    )
    told = re.compile(
        rf'^(?!\s*(#|r?"""|`)).*f?".*(scripts/({scripts})\.py(?! join)|python enroll\.py)'
    )  # root joins
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "device").rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if told.match(line)
    ]
    assert found == []
