"""The number of changes of the gallery, kept in a file beside its key, so that an older copy is detected.

The number is written after the gallery's own change is on the disk, so it is never ahead of an honest gallery; after
a power cut in between it is one behind, which is no fault. It carries a code that only a holder of the key can make.

    7 anchored 1 <64 hex digits>    change 7; there is an anchor (anchor.py); key 1 made the code
    7 1 <64 hex digits>             the same, of a release that had no anchor
"""

from __future__ import annotations

import hmac
import re
from pathlib import Path

from device.command import owner_command
from device.errors import GalleryError, GalleryKeyError
from device.vault.files import make_folder, replace_private
from device.vault.sealing import SealBroken, Sealer

LINE = re.compile(rb"([0-9]{1,18}( anchored)?) ([0-9]{1,10}) ([0-9a-f]{64})\n")


class GenerationFile:
    """The highest generation of a gallery that was ever stored."""

    def __init__(self, path: Path, sealer: Sealer) -> None:
        self.path = path
        self._sealer = sealer

    def read(self) -> int | None:
        """Return the number, None where there is no file; a damaged one is a GalleryKeyError."""
        text = self._text()
        return int(text.split()[0]) if text is not None else None

    def is_anchored(self) -> bool:
        """Say whether there must be an anchor beside it."""
        return (self._text() or "").endswith("anchored")

    def raise_to(self, generation: int) -> None:
        """Store a number that is not below the one stored, made with the newest key; the anchor is there."""
        highest = max(generation, self.read() or 0)
        self.write(highest)

    def write(self, generation: int) -> None:
        """Store a number, whatever was there; the anchor is there."""
        version, text = self._sealer.newest, f"{generation} anchored"
        line = f"{text} {version} {self._code(text, version).hex()}\n"
        try:
            make_folder(self.path)
            replace_private(self.path, line.encode())
        except OSError as error:
            raise GalleryError(
                f"{self.path}: cannot be written: {error.strerror or error}: check the disk and the rights; "
                "the change itself is stored"
            ) from error

    def _text(self) -> str | None:
        """Return what the file says, after a look at its code."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise GalleryKeyError(
                f"{self.path}: cannot be read: {error.strerror}: check the path and the rights"
            ) from None
        parts = LINE.fullmatch(data)
        if parts is None:
            raise self._odd("is damaged")
        text = parts[1].decode()
        try:
            code = self._code(text, int(parts[3])).hex()
        except SealBroken:
            raise self._odd("was written with another key") from None
        if not hmac.compare_digest(code, parts[4].decode()):
            raise self._odd("was changed, or written with another key")
        return text

    def _code(self, text: str, version: int) -> bytes:
        return self._sealer.mac(f"generation {text}".encode(), version)

    def _odd(self, what: str) -> GalleryKeyError:
        return GalleryKeyError(
            f"{self.path}: {what}: put your copy of it back, or accept the gallery as it is "
            f"({owner_command('keys accept')})"
        )
