"""Secrets of the board that are not on its card: the gallery's key is bound to them (docs/owner/secrets.md, ADR 24).

Strongest first:

    otp      the device private key of a Raspberry Pi 4 or 5: 256 bits, programmed once by the owner, a secret
    serial   the serial number of a Raspberry Pi or Jetson: no secret, and short, so it is stretched
    product  the mainboard's UUID on x86: as the serial number; only root reads it, so nothing takes it unasked

    python -m device.vault.board --hand-over FILE     write what the otp gives, for a service without the mailbox

The firmware's mailbox, by which the otp is read, can do far more than that: so only face-unlock-board.service has it,
and the recognizer finds FILE.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from device.errors import FaceUnlockError, GalleryKeyError
from device.paths import given_path
from device.vault.files import replace_private
from device.vault.sealing import derive, stretch

ROOT_VARIABLE = "FACE_UNLOCK_BOARD"  # tests: the folder that stands for / of the board
MAILBOX = "dev/vcio"
HANDED_OVER = "run/face-unlock-board/otp"
SERIALS = ("sys/firmware/devicetree/base/serial-number", "proc/device-tree/serial-number")
PRODUCT = "sys/class/dmi/id/product_uuid"
NAMES = {"otp": "OTP key", "serial": "serial number", "product": "product UUID"}
# The property interface of the Raspberry Pi's firmware: _IOWR(100, 0, char *), and "get device private key", 8 rows.
PROPERTY_IOCTL = 0xC0006400 | struct.calcsize("P") << 16
GET_PRIVATE_KEY, ANSWERED = 0x0003_0081, 0x8000_0000
REQUEST = struct.pack("<16I", 64, 0, GET_PRIVATE_KEY, 40, 40, 0, 8, *[0] * 9)
KEY_AT = slice(28, 60)
# A serial number leaves few guesses, so each has to cost: 64 MiB, eight passes.
SERIAL_PASSES = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """One thing that this board has; `secret` is what it says, `unasked` whether a new key may be bound to it."""

    kind: str
    secret: bytes = field(repr=False)
    unasked: bool = True

    def material(self, salt: bytes) -> bytes:
        """Return 32 bytes that only this board gives; slow the first time, where the secret is a short one."""
        return _material(self, salt)


@dataclass(frozen=True, slots=True)
class Board:
    """The board whose file system `root` is."""

    root: Path

    @classmethod
    def here(cls) -> Board:
        return cls(Path(os.environ.get(ROOT_VARIABLE) or "/"))

    def identities(self) -> list[Identity]:
        """List what this board has, the strongest first."""
        found = (self.of_kind(kind) for kind in NAMES)
        return [identity for identity in found if identity is not None]

    def of_kind(self, kind: str) -> Identity | None:
        """Return one of them, None where it is not there or may not be read."""
        return {"otp": self._otp, "serial": self._serial, "product": self._product}[kind]()

    def unasked(self) -> Identity | None:
        """Return what a new key is bound to: the strongest that whoever runs the door can read as well."""
        return next((identity for identity in self.identities() if identity.unasked), None)

    def _otp(self) -> Identity | None:
        with suppress(OSError, ValueError):
            handed = bytes.fromhex((self.root / HANDED_OVER).read_text(encoding="ascii"))
            return Identity("otp", handed) if len(handed) == 32 else None
        key = read_private_key(self.root / MAILBOX)
        return Identity("otp", derive(key, "board otp")) if key is not None else None

    def _serial(self) -> Identity | None:
        found = (_text_of(self.root / path) for path in SERIALS)
        return next((Identity("serial", text) for text in found if text is not None), None)

    def _product(self) -> Identity | None:
        path = self.root / PRODUCT
        text = _text_of(path)
        return Identity("product", text, unasked=bool(path.stat().st_mode & stat.S_IROTH)) if text else None


def read_private_key(mailbox: Path, ioctl: Callable[..., object] = fcntl.ioctl) -> bytes | None:
    """Ask a Raspberry Pi's firmware for its private key; None where there is none, or it may not be asked."""
    with suppress(OSError):
        descriptor = os.open(mailbox, os.O_RDWR | os.O_CLOEXEC)
        try:
            answer = bytearray(REQUEST)
            ioctl(descriptor, PROPERTY_IOCTL, answer)
        finally:
            os.close(descriptor)
        code, length = struct.unpack_from("<4xI8xI", answer)
        key = bytes(answer[KEY_AT])
        if code == ANSWERED and length & ANSWERED and any(key):
            return key
    return None


def _text_of(path: Path) -> bytes | None:
    """Return the text of a file of the kernel; nothing but zeros names no board."""
    with suppress(OSError):
        text = path.read_bytes().rstrip(b"\0\n").strip()
        return text if re.search(rb"[1-9A-Za-z]", text) else None
    return None


@lru_cache(maxsize=16)  # the door reads its key again with each change of the gallery
def _material(identity: Identity, salt: bytes) -> bytes:
    if identity.kind == "otp":
        return derive(identity.secret + salt, "board material")
    return stretch(identity.secret, salt, SERIAL_PASSES)


def hand_over(board: Board, file: Path) -> bool:
    """Write what the otp gives, readable by its owner only; False for a board without it, which gets no file."""
    identity = board.of_kind("otp")
    if identity is None:
        return False
    try:
        replace_private(file, identity.secret.hex().encode())
    except OSError as error:
        raise GalleryKeyError(
            f"{file}: cannot be written: {error.strerror}: check the path and the rights"
        ) from error
    return True


def main(arguments: list[str] | None = None) -> int:
    """Hand the board's own key to the service, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m device.vault.board", description=main.__doc__)
    parser.add_argument("--hand-over", type=given_path, metavar="FILE", required=True, help="where to")
    args = parser.parse_args(arguments)
    try:
        if hand_over(Board.here(), args.hand_over):
            print(f"{args.hand_over}: written")
        else:
            print("no OTP key is programmed, or it cannot be read: nothing written")
        return 0
    except FaceUnlockError as error:
        print(f"board: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
