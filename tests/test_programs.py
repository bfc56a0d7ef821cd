"""What every command line shares: no option vanishes, output that cannot be written, questions nobody answers."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.errors import OutputError, UsageError
from device.programs import Parser, ask_line, ask_secret, ask_yes, check_told, run
from device.vault import board
from tests.support.checkout import ROOT

FULL = Path("/dev/full")


# Options


def parser() -> Parser:
    made = Parser(prog="door.py")
    made.add_argument("--until")
    made.add_argument("--file", type=Path)
    made.add_argument("--files", nargs="+", type=Path)
    made.add_argument("--count", type=int)
    made.add_argument("word", nargs="?")
    return made


@pytest.mark.parametrize(
    "arguments",
    [["--until", ""], ["--until="], ["--until", " "], ["--until", "\t\n"], ["--file", ""], ["--count", ""],
     ["--files", "a", ""], [""], ["--file", "a\0b"]],
)  # fmt: skip
def test_an_empty_value_is_an_error_and_never_the_default(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("door: argument ")
    assert "expected" in line


def test_an_option_that_a_verb_does_not_take_is_an_error(capsys):
    made = parser()
    args = made.parse_args(["--count", "0", "word"])
    made.refuse_others(args, "--list", {"count", "word"})
    with pytest.raises(SystemExit) as ended:
        made.refuse_others(args, "--list", {"word"})
    assert ended.value.code == 2
    assert "door: --count: --list does not take it" in capsys.readouterr().err


PROGRAMS = [
    ROOT / "enroll.py",
    ROOT / "unlock.py",
    *ROOT.glob("device/**/*.py"),
    *ROOT.glob("scripts/**/*.py"),
]


def test_every_command_line_is_one_on_which_no_option_vanishes():
    """A bare ArgumentParser takes an empty value for a value; one without options cannot."""
    bare = []
    for path in PROGRAMS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        if not any(ast.unparse(call.func) == "argparse.ArgumentParser" for call in calls):
            continue
        if path.name == "relock.py":  # it locks whatever its command line says
            continue
        options = [call for call in calls if ast.unparse(call.func).endswith(".add_argument")]
        bare += [f"{path.name}: {ast.unparse(call)}" for call in options if takes_anything(call)]
    assert bare == []


def takes_anything(call: ast.Call) -> bool:
    """Say whether an option of a bare parser takes empty text for a value."""
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    return given.get("type") != "given_path" and given.get("action") != "'store_true'"


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("enroll", ["--name", "a", "--until", ""]),
        ("enroll", ["--name", "a", "--hours", " "]),
        ("enroll", ["--name", "a", "--entries", ""]),
        ("enroll", ["--list", "--gallery", ""]),
        ("enroll", ["--list", "--config", ""]),
        ("enroll", ["--list", "--until", "2027-01-31"]),
        ("enroll", ["--list", "--replace"]),
        ("enroll", ["--show", "a", "--images", "a.jpg"]),
        ("enroll", ["--remove", "a", "--samples", "3"]),
        ("enroll", ["--check", "a", "--pin"]),
        ("enroll", ["--change", "a", "--replace", "--pin"]),
        ("enroll", ["--change", "a"]),
        ("enroll", ["--name", "a", "--sheet", "s.png", "--no-sheet"]),
        ("scripts.audit", ["verify", "--event", "granted"]),
        ("scripts.audit", ["show", "--since", ""]),
        ("scripts.backup", ["create", "f", "alice"]),
        ("scripts.backup", ["create", "f", "--yes"]),
        ("scripts.backup", ["create", ""]),
        ("scripts.backup", ["purge", "f"]),
        ("scripts.backup", ["purge", "f", ""]),
        ("scripts.backup", ["purge", "f", "a", "--no-passphrase"]),
        ("scripts.gallery_keys", ["show", "--output", "f"]),
        ("scripts.gallery_keys", ["extend"]),
        ("scripts.gallery_keys", ["show", "--gallery", ""]),
        ("scripts.pad_selftest", ["--images", "f", "--looks", "3"]),
        ("scripts.pad_selftest", ["--images", "f", "--camera", "0"]),
        ("scripts.pad_selftest", ["--images", ""]),
        ("scripts.calibrate_threshold", ["--gallery", ""]),
        ("device.lockd", ["--socket", ""]),
        ("device.lockd", ["--client-user", ""]),
        ("unlock", ["--gallery", ""]),
        ("unlock", ["--camera", " "]),
        ("unlock", ["--lock-socket", ""]),
    ],
)
def test_an_empty_or_misplaced_option_is_exit_code_2(module, arguments, capsys):
    program = __import__(module, fromlist=["main"])
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("--help")


def test_the_boards_unit_takes_no_empty_folder():
    with pytest.raises(SystemExit) as ended:
        board.main(["--hand-over", ""])
    assert ended.value.code == 2


# Output


@contextlib.contextmanager
def lost_stdout() -> Iterator[None]:
    if not FULL.exists():
        pytest.skip("no /dev/full")
    with FULL.open("w") as stream, contextlib.redirect_stdout(stream):
        yield


def test_output_that_cannot_be_written_leaves_the_exit_code_to_the_deed(capsys):
    done = []

    def deed() -> int:
        print("removed alice")
        done.append("removed")
        print("and more")
        return 0

    with lost_stdout():
        assert run("enroll", deed) == 0
    assert done == ["removed"]
    told = capsys.readouterr().err
    assert "enroll: done, but the output cannot be written: No space left on device" in told


def test_output_that_is_all_that_was_asked_for_is_an_error_where_it_is_lost(capsys):
    def deed() -> int:
        print("alice")
        check_told()
        return 0

    with lost_stdout():
        assert run("enroll", deed) == OutputError.exit_code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_verdict_stays_the_exit_code():
    with lost_stdout():
        assert run("audit", lambda: print("NOT whole") or 1) == 1


def test_a_reader_that_has_had_enough_loses_nothing(capsys, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)

        def deed() -> int:
            for _ in range(100_000):
                print("a record")
            check_told()
            return 0

        assert run("audit", deed) == 0
    assert capsys.readouterr().err == ""


def test_closed_streams_are_no_fault(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", None)
    assert run("enroll", lambda: print("alice", file=sys.stderr) or 0) == 0
    assert run("enroll", lambda: ask_yes("remove alice?") or 0) == 2


@pytest.mark.parametrize("closing", ["/dev/full", "closed pipe", "closed stdout"])
def test_the_real_program_without_output_changes_what_it_was_asked_to(tmp_path, closing):
    """No traceback, and the interpreter's own end adds none."""
    if not FULL.exists():
        pytest.skip("no /dev/full")
    gallery = tmp_path / "gallery.db"
    end = {"/dev/full": "> /dev/full", "closed pipe": "| true", "closed stdout": ">&-"}[closing]
    command = f"{sys.executable} enroll.py --list --gallery {gallery} --config /dev/null {end}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == (1 if closing == "/dev/full" else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert done.stderr.count("\n") == (1 if closing == "/dev/full" else 0)


# Questions


@pytest.mark.parametrize("answer", ["", "n\n", "\n", "yess\n"])
def test_only_a_yes_is_a_yes(answer, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    with pytest.raises(UsageError, match="remove alice"):
        ask_yes("remove alice?")


@pytest.mark.parametrize("answer", ["y\n", "YES\n", " yes \n"])
def test_a_yes_goes_on(answer, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    ask_yes("remove alice?")


@pytest.mark.parametrize("stdin", [None, io.StringIO(""), pytest.param("closed", id="closed")])
def test_a_secret_that_nobody_types_is_one_line(stdin, monkeypatch):
    if stdin == "closed":
        stdin = io.StringIO("x")
        stdin.close()
    monkeypatch.setattr("sys.stdin", stdin)
    for ask in (
        lambda: ask_secret("PIN", twice=True, instead="a terminal"),
        lambda: ask_line("PIN: ", instead="--x"),
    ):
        with pytest.raises(UsageError, match=r"PIN: no answer came"):
            ask()


def test_memory_that_ran_out_is_one_line(capsys):
    def deed() -> int:
        raise MemoryError

    assert run("enroll", deed) == 1
    assert (
        capsys.readouterr().err == "enroll: out of memory: stop other programs, or take a smaller picture\n"
    )


# What libraries say


def test_only_this_programs_own_words_come_out_on_stderr():
    code = (
        "import os, sys; from device.programs import guard_start; guard_start('door')\n"
        "os.write(2, b'Corrupt JPEG data: premature end of data segment'); print('own', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "own\n")


@pytest.mark.parametrize("fault", ["raise ValueError('why')", "import os; os.abort()"])
def test_a_crash_is_told_all_the_same(fault):
    code = f"from device.programs import guard_start; guard_start('door')\n{fault}\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    assert "why" in done.stderr or "Aborted" in done.stderr


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", ">&- 2>&-", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize(
    "program",
    ["enroll.py --list --gallery /nonexistent/x --config /nonexistent", "unlock.py --config /nonexistent"],
)
def test_an_error_that_nobody_hears_is_still_the_exit_code(program, stream):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {program} {stream}"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    assert run("evaluate", lambda: (tmp_path / "no" / "figures.json").write_text("{}")) == 1
    told = capsys.readouterr().err
    assert told == f"evaluate: {tmp_path}/no/figures.json: No such file or directory\n"


def test_a_log_that_cannot_be_written_leaves_the_exit_code(tmp_path):
    if not FULL.exists():
        pytest.skip("no /dev/full")
    options = f"--demo --camera {tmp_path}/none.mp4 --gallery {tmp_path}/g.db --config /dev/null"
    command = f"{sys.executable} unlock.py {options} > /dev/full 2> /dev/full"
    assert subprocess.run(["bash", "-c", command], cwd=ROOT, timeout=120, check=False).returncode == 6
