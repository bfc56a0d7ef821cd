"""A checkout to install from, boards to install on, and tools that only write down what they are asked."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.checkout import ROOT
from tests.support.machines.boards import BOARDS


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the installer reads, so that nothing of this tree is touched."""
    source = tmp_path / "checkout"
    for folder in ("device", "scripts", "systemd", "requirements"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "docs").mkdir()
    (source / "models" / "weights").mkdir(parents=True)
    (source / "models" / "weights" / "mobilefacenet.json").write_text("{}")
    for name in ("enroll.py", "unlock.py", "README.md"):
        (source / name).write_text("")
    example = source / "systemd" / "config.example.toml"
    if not example.exists():
        example.write_text('gallery = "~/gallery.db"\n[lock]\ndriver = "gpiozero"\n')
    return source


@pytest.fixture
def tools(tmp_path):
    """Stand-ins for what needs a network or a running system; each call is a line of `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    stub = f'#!/bin/sh\necho "$(basename "$0") $*" >>"{tmp_path}/calls"\n'
    for name in ("apt-get", "systemctl", "systemd-sysusers", "udevadm", "chown", "userdel"):
        (folder / name).write_text(stub)
    # `python3 -m venv FOLDER` makes an interpreter that only writes down what it was asked
    (folder / "python3").write_text(
        stub
        + 'case "$*" in *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python";; esac\n'
    )
    for file in folder.iterdir():
        file.chmod(0o755)
    return folder


@pytest.fixture
def run(tmp_path, checkout, tools):
    def run_script(name, *arguments, board="pi5-bookworm", root=True, **environment):
        model, codename, features = BOARDS[board]
        (tmp_path / "os-release").write_text(f'ID=debian\nVERSION_CODENAME={codename}\nNAME="X Y"\n')
        (tmp_path / "model").write_bytes(model.encode() + b"\0")
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nFeatures : {features}\n")
        given = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "OS_RELEASE": str(tmp_path / "os-release"),
            "MODEL_FILE": str(tmp_path / "model"),
            "CPUINFO": str(tmp_path / "cpuinfo"),
            "MACHINE": "aarch64",
            **({"FACE_UNLOCK_ROOT": str(tmp_path / "root")} if root else {}),
            **environment,
        }
        return subprocess.run(
            ["sh", str(checkout / "scripts" / name), *arguments],
            env=given,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run_script
