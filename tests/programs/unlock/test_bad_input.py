"""unlock.py and what it cannot work with: one line, and an exit code."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkout import enroll, run_program, unlock

BAD = {
    "no clip": (["--camera", "missing.mp4"], 6, "missing.mp4"),
    "no config": (["--config", "missing.toml"], 3, "missing.toml"),
    "no gallery": (["--gallery", "missing.db"], 5, "missing.db"),
    "a word for seconds": (["--max-seconds", "soon"], 2, "expected more than 0 seconds, received soon"),
    "a path of 5,000 letters": (["--camera", "x" * 5000], 6, "unlock: camera xxx"),
    "nobody's home": (["--camera", "~nosuch/x.mp4"], 3, "~nosuch/x.mp4"),
    "nobody's gallery": (["--gallery", "~nosuch/x.db"], 3, "~nosuch/x.db"),
    "no time at all": (["--max-seconds", "0"], 2, "--max-seconds"),
    "unknown flag": (["--open"], 2, "--open"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_an_exit_code(
    case: str, person_clip: Path, enrolled_gallery: Path, no_liveness: list[str]
) -> None:
    arguments, code, said = BAD[case]
    options = [
        "--camera",
        str(person_clip),
        "--gallery",
        str(enrolled_gallery),
        *no_liveness,
    ]
    done = unlock("--demo", *options, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if code != 2:
        assert len(done.stderr.splitlines()) == 1


def test_a_clip_that_is_none(tmp_path: Path, enrolled_gallery: Path, no_liveness: list[str]) -> None:
    for content in (b"", b"not a clip at all" * 100):
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        done = unlock("--demo", "--camera", str(path), *no_liveness)
        assert done.returncode == 6
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("program", [unlock, enroll])
def test_a_model_that_is_none_names_the_nearest(
    program: Callable[..., subprocess.CompletedProcess[str]], empty_clip: Path, empty_config: Path
) -> None:
    options = ["--camera", str(empty_clip), "--config", str(empty_config), "--model", "mobilefacenett"]
    done = program(*(["--demo"] if program is unlock else ["--name", "Bob"]), *options)
    assert done.returncode == 3
    assert "did you mean 'mobilefacenet'?" in done.stderr


def test_a_fault_is_told_on_the_status_lines(person_clip: Path, no_liveness: list[str]) -> None:
    options = ["--camera", str(person_clip), "--gallery", "missing.db", *no_liveness]
    done = unlock("--demo", "--json", *options)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["event"], last["reason"], last["exit_code"]) == ("stopping", "fault", 5)
    assert "missing.db" in last["error"]


def test_a_terminal_that_knows_no_umlauts(
    person_clip: Path, no_liveness: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "Zoë.mp4"
    clip.symlink_to(person_clip)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    options = ["--camera", str(clip), "--gallery", "missing.db", *no_liveness]
    done = run_program("unlock.py", "--demo", *options)
    assert "Zo\\xeb.mp4" in done.stdout
    assert "stopping" in done.stdout


def test_ctrl_c_while_the_libraries_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run_program("unlock.py", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "unlock: interrupted\n")


@pytest.mark.parametrize("program", ["unlock", "enroll"])
def test_a_python_without_the_libraries_says_which_one_has_them(program: str) -> None:
    done = run_program("-S", f"{program}.py", "--help")  # -S: no site-packages
    assert (done.returncode, done.stdout) == (1, "")
    advice = r"run it with \.venv/bin/python \(make setup makes it\)"
    assert re.fullmatch(rf"{program}: No module named '\w+': {advice}\n", done.stderr)
