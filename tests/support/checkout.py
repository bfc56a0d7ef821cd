"""Programs of the checkout, run as a person runs them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import enroll as enroll_program
import unlock as unlock_program
from device.gallery.gallery import Gallery

ROOT = Path(__file__).resolve().parents[2]
HIDE_TORCH = """import importlib.util as util, runpy, sys
found = util.find_spec
util.find_spec = lambda name, *more: None if name == "torch" else found(name, *more)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_program(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a program of the checkout as a person would."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


def run_without_torch(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one of scripts/ as on a machine that has no torch."""
    command = [sys.executable, "-c", HIDE_TORCH, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


ASTRONAUT = str(ROOT / "tests/data/astronaut.jpg")


def enroll(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run enroll.py in this process; what needs one of its own runs one."""
    return call_program(enroll_program.main, *arguments)


def unlock(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run unlock.py in this process, for what it says and its exit code."""
    return call_program(unlock_program.main, *arguments)


def call_program(
    main: Callable[[list[str]], int], *arguments: object, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a program's `main` in this process and a folder, for its words and its exit code."""
    out, err, words, before = io.StringIO(), io.StringIO(), [str(each) for each in arguments], Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except SystemExit as ended:
                code = int(ended.code or 0)
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def people(gallery: Path) -> dict[str, int]:
    with Gallery(gallery, model_id=None, dimension=1, read_only=True) as opened:
        return {subject.subject_id: subject.template_count for subject in opened.subjects()}


def error_of(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("enroll: ")]
    assert len(lines) == 1, done.stderr
    assert len(lines[0]) < 500
    return lines[0]


def tree(folder):
    """Map each file below a folder to its content and mode, without byte code."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(f.relative_to(folder)): (f.read_bytes(), f.stat().st_mode) for f in files}
