"""One command for all that an owner does: the same options, the same deeds, one help, and pages made from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import face_unlock
from scripts.repo import write_command_docs
from tests.support.checkout import ROOT, run_program
from tests.support.galleries import profile, two_people

PATH_OPTIONS = {"--gallery", "--config", "--camera", "--model", "--json", "--yes"}


def call(*arguments: str) -> int:
    return face_unlock.main(list(arguments))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return two_people(tmp_path)


@pytest.fixture
def options(path: Path) -> list[str]:
    return ["--gallery", str(path), "--config", "/dev/null"]


def test_list_show_change_and_remove_do_what_enroll_does(path, options, capsys):
    assert call("list", "--json", *options) == 0
    assert [each["subject_id"] for each in json.loads(capsys.readouterr().out)["subjects"]] == [
        "alice",
        "bob",
    ]
    assert call("change", "alice", "--hours", "Mon-Fri 08:00-18:00", *options) == 0
    assert profile(path).policy.hours == "Mon-Fri 08:00-18:00"
    capsys.readouterr()
    assert call("show", "alice", *options) == 0
    assert "hours Mon-Fri 08:00-18:00" in capsys.readouterr().out
    assert call("remove", "alice", "--yes", *options) == 0
    assert call("show", "alice", *options) == 2
    assert capsys.readouterr().err.startswith("face-unlock show: 'alice' is not enrolled")
    assert call("audit", "verify", *options) == 0
    assert call("keys", "show", *options) == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["enrol"], [""], ["--list"], ["list", "--replace"], ["change", "alice"], ["remove"], ["show", ""],
     ["audit", "verify", "--event", "granted"], ["enroll", "alice", "--until", ""]],
)  # fmt: skip
def test_what_makes_no_sense_is_exit_code_2_and_named_as_it_was_called(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        call(*arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"(face-unlock[a-z ]*): .+: see \1 --help", line)


@pytest.mark.parametrize("command", face_unlock.COMMANDS)
def test_each_command_explains_each_of_its_options(command, capsys):
    with pytest.raises(SystemExit) as ended:
        call(command, "--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: face-unlock {command}")
    parser = face_unlock.COMMANDS[command].line()
    for action in parser._actions:
        assert action.help, f"{command} {action.dest}"


def test_an_option_of_one_name_says_the_same_everywhere():
    said: dict[str, set[tuple[str, str]]] = {}
    for name, command in face_unlock.COMMANDS.items():
        for action in command.line()._actions:
            for flag in PATH_OPTIONS.intersection(action.option_strings):
                if (flag, name) != ("--json", "unlock") and (flag, name) != ("--json", "audit"):
                    said.setdefault(flag, set()).add((str(action.metavar), str(action.help)))
    assert {flag: texts for flag, texts in said.items() if len(texts) > 1} == {}


def test_the_help_names_every_command(capsys):
    for flag in ("--help", "-h", "help"):
        assert call(flag) == 0
        told = capsys.readouterr().out
        assert all(re.search(rf"^  {name} +\w", told, re.MULTILINE) for name in face_unlock.COMMANDS)


def test_man_page_and_completion_are_of_these_command_lines():
    assert write_command_docs.main(["--check"]) == 0, "run scripts/repo/write_command_docs.py"


def test_the_man_page_is_one_that_man_can_read():
    page = write_command_docs.MAN
    for command in face_unlock.COMMANDS:
        assert f".SS {command}" in page.read_text()
    if shutil.which("man") is None:
        pytest.skip("no man")
    command, environ = ["man", "--warnings", "-l", str(page)], {"MANWIDTH": "80", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environ)
    assert done.returncode == 0
    assert "warning" not in done.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["re"], "remove"),
        (["audit", "v"], "verify"),
        (["list", "--g"], "--gallery"),
        (["enroll", "a", "--unt"], "--until"),
    ],
)
def test_the_shell_offers_what_there_is(words, offered):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    line = " ".join(f"'{word}'" for word in ["face-unlock", *words])
    code = (
        f"source {write_command_docs.COMPLETION}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        '_face_unlock; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run([bash, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert offered in done.stdout.split(), done.stderr


def test_the_real_command_runs_from_a_checkout(options):
    done = run_program("scripts/face_unlock.py", "list", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("alice: 3 templates")
