"""scripts/: programs that say what they are for, and nothing else at the top."""

from __future__ import annotations

import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

SCRIPTS = ROOT / "scripts"
FOLDERS = ("board", "measure", "prove", "repo", "stage", "train")
NEEDS_TORCH = [
    pytest.mark.train,
    pytest.mark.skipif(find_spec("torch") is None, reason="needs the training tools: make test-train"),
]


def is_program(path: Path) -> bool:
    return path.suffix == ".sh" or '__name__ == "__main__"' in path.read_text(encoding="utf-8")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".py", ".sh"))


def programs() -> list[object]:
    found = [path for folder in (SCRIPTS, *map(SCRIPTS.joinpath, FOLDERS)) for path in files(folder)]
    return [
        pytest.param(
            path, id=path.name, marks=NEEDS_TORCH if path.parent.name in ("measure", "train") else ()
        )
        for path in filter(is_program, found)
    ]


@pytest.mark.parametrize("path", programs())
def test_a_program_answers_help_with_what_it_is_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if path.suffix == ".sh":
        done = subprocess.run(
            ["bash", path, "--help"], capture_output=True, text=True, timeout=240, check=True
        )
        told = done.stdout
    else:
        monkeypatch.setattr(sys, "argv", [str(path), "--help"])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        assert ended.value.code == 0
        told = capsys.readouterr().out
    words = [line for line in told.splitlines() if line and not line.startswith(("usage:", " ", "options:"))]
    assert words
    assert path.stem in told or path.suffix == ".sh"


def test_what_lies_at_the_top_is_a_program() -> None:
    assert [path.name for path in files(SCRIPTS) if not is_program(path)] == []
    assert {path.name for path in SCRIPTS.iterdir() if path.is_dir()} - {"__pycache__"} == set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_what_each_of_its_programs_does(folder: str) -> None:
    text = (SCRIPTS / folder / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    assert [path.name for path in files(SCRIPTS / folder) if f"`{path.name}`" not in text] == []
