"""The contact sheet: the faces of an enrollment in one picture, private to the owner."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zlib
from pathlib import Path

import cv2

from device.enroll.collector import Sample, contact_sheet
from device.enroll.output import Output
from device.errors import UsageError
from device.types import Image

SHEET_TITLE = b"tEXtTitle\0face-unlock contact sheet"  # a PNG's text chunk


def default_sheet(name: str) -> Path:
    return Path(f"enroll-{name}.png")


def check_sheet(path: Path | None) -> None:
    """Refuse a path where anything but a contact sheet lies: it would be written over, or deleted."""
    if path is not None and os.path.lexists(path) and not is_sheet(path):
        raise UsageError(
            f"--sheet {path}: expected a new file or a contact sheet, received another: name another path"
        )


def is_sheet(path: Path) -> bool:
    """Say whether a file is a contact sheet of this program."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # a link's target, a folder, a pipe
            return False
        with path.open("rb") as file:
            return SHEET_TITLE in file.read(100)
    except OSError:
        return False


def write_sheet(path: Path, samples: list[Sample], output: Output) -> Path | None:
    """Write the faces that became templates, readable by the owner only; an enrollment does not fail over it."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".enroll-") as folder:
            draft = Path(folder) / "sheet.png"
            draft.write_bytes(encode_sheet(contact_sheet(samples)))
            draft.chmod(0o600)
            draft.replace(path)
    except OSError as error:
        output.warn(f"warning: no contact sheet: {path}: {error.strerror}: choose --sheet PATH or --no-sheet")
        return None
    return path


def encode_sheet(image: Image) -> bytes:
    """Encode an (H, W, 3) uint8 RGB image as PNG with the title that tells a contact sheet from other files."""
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    size, check = (
        len(SHEET_TITLE) - 4,
        zlib.crc32(SHEET_TITLE),
    )  # the size is that of the text, without "tEXt"
    return png[:33] + struct.pack(">I", size) + SHEET_TITLE + struct.pack(">I", check) + png[33:]


def erase_sheet(path: Path, output: Output) -> bool:
    """Delete a contact sheet, if there is one, and say whether that was done."""
    if not is_sheet(path):
        return False
    try:
        path.unlink()
    except OSError as error:
        output.warn(f"warning: {path} is still there: {error.strerror}: delete it")
        return False
    return True
