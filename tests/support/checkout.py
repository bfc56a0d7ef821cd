"""Programs of the checkout, run as a person runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HIDE_TORCH = """import importlib.util as util, runpy, sys
found = util.find_spec
util.find_spec = lambda name, *more: None if name == "torch" else found(name, *more)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_program(*arguments: str, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    """Run a program of the checkout as a person would."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


def run_without_torch(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one of scripts/ as on a machine that has no torch."""
    command = [sys.executable, "-c", HIDE_TORCH, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=90)


def make_clip(path: Path, *arguments: str) -> Path:
    """Write a clip by scripts/make_clip.py, and return its path."""
    done = run_program("scripts/make_clip.py", str(path), *arguments)
    assert done.returncode == 0, done.stderr
    return path
