"""Boards that have what a test gives them, galleries bound to one, and boards as the installer sees them."""

from __future__ import annotations

import shutil
from pathlib import Path

from device.access.pin import is_pin
from device.vault.board import (
    HANDED_OVER,
    PRODUCT,
    SERIALS,
)
from scripts import gallery_keys
from tests.support.galleries import open_gallery, units

SERIAL, OTHER = b"10000000116ce5a5\0", b"10000000116ce5a6\0"
CONFIG = ("--config", "/dev/null")


def make_board(
    root: Path, serial: bytes | None = SERIAL, otp: str = "", product: bytes | None = None
) -> Path:
    """Make what a board's kernel shows."""
    for name, content in ((SERIALS[0], serial), (HANDED_OVER, otp.encode() or None), (PRODUCT, product)):
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    root.mkdir(exist_ok=True)
    return root


def keys(path: Path, *arguments: str) -> int:
    return gallery_keys.main([*arguments, "--gallery", str(path), *CONFIG])


def steal(path: Path, tmp_path: Path, monkeypatch, **board: object) -> Path:
    """Copy all files of the card, and put the copy into another board."""
    card = shutil.copytree(path.parent, tmp_path / "stolen")
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(make_board(tmp_path / "other", **board)))
    return card / path.name


def opens(path: Path) -> bool:
    with open_gallery(path, read_only=True) as door:
        match = door.match(units(4, 1)[2])
        return (
            match is not None
            and match.similarity > 0.999
            and is_pin(door.profile("alice").pin_hash, "482916")
        )


BOARDS = {
    "pi5-bookworm": ("Raspberry Pi 5 Model B Rev 1.0", "bookworm", "fp asimd atomics"),
    "pi5-trixie": ("Raspberry Pi 5 Model B Rev 1.0", "trixie", "fp asimd atomics"),
    "pi4-trixie": ("Raspberry Pi 4 Model B Rev 1.4", "trixie", "fp asimd"),
    "orin": ("NVIDIA Jetson Orin Nano Developer Kit", "jammy", "fp asimd atomics"),
}
BOARD_FILES = {"OS_RELEASE": "os-release", "MODEL_FILE": "model", "CPUINFO": "cpuinfo"}
