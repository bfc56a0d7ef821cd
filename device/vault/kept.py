"""Small files that must not be rolled back: entries of guests, wrong PINs, refused approaches.

Each is sealed with the number of times that it was written, and the anchor has that number too. So a file that was
deleted, changed, or put back as it was is lost, which the reader treats as the worst that can have stood in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device.command import owner_command
from device.errors import GalleryError, GallerySealError
from device.vault.anchor import AnchorFile
from device.vault.files import update_private
from device.vault.sealing import SealBroken, Sealer, place_of

NAMES = ("usage", "wrong_pins", "refusals", "switches")  # the files are named after them
WERE_PLAIN = ("wrong_pins", "refusals")  # in releases without an anchor
Keys = Callable[[], tuple[Sealer, AnchorFile]]


class KeptLost(GallerySealError):
    """What was kept is gone, or is not what was written last."""


class KeptFile:
    """One such file.

    Args:
        name: its purpose, such as `usage`: its place in the anchor, and in the seal.
        keys: gives the keys and the anchor as they are now, for another program may rotate them.
        read_only: write nothing: a demo.
        was_plain: earlier releases kept it in the clear; theirs is taken as long as this one wrote none.
    """

    def __init__(
        self, path: Path, name: str, keys: Keys, *, read_only: bool = False, was_plain: bool = False
    ) -> None:
        self.path, self.name = path, name
        self._keys, self._read_only, self._was_plain = keys, read_only, was_plain

    def read(self) -> dict[str, Any] | None:
        """Return what was written last, None where nothing ever was; else KeptLost."""
        sealer, anchor = self._keys()
        count, known = self._content(sealer)
        anchored = anchor.read().writes.get(self.name, 0)
        if count < anchored:
            what = "is missing" if known is None else "is older than the one that was written last"
            raise self._lost(what)
        return known

    def write(self, values: dict[str, Any]) -> None:
        """Store values, on the disk before this returns; GalleryError where that fails."""
        self.update(lambda: values)

    def update(self, make: Callable[[], dict[str, Any]]) -> None:
        """Do the same with what `make` makes of what it reads, while other programs that update it wait."""
        if self._read_only:
            return
        sealer, anchor = self._keys()
        count = 0

        def sealed() -> bytes:
            nonlocal count
            values = make()
            try:
                before, _ = self._content(sealer)
            except KeptLost:
                before = 0
            count = max(before, anchor.read().writes.get(self.name, 0)) + 1
            return sealer.seal(json.dumps({"writes": count, "values": values}).encode(), place_of(self.name))

        try:
            update_private(self.path, sealed)
        except OSError as error:
            raise GalleryError(
                f"{self.path}: cannot be written: {error.strerror or error}: check the disk and the rights"
            ) from error
        anchor.update(lambda marks: marks.with_write(self.name, count))

    def count(self) -> int | None:
        """Return how often the file that is here was written, whatever the anchor says; None where it does not open."""
        sealer, _ = self._keys()
        try:
            return self._content(sealer)[0]
        except KeptLost:
            return None

    def _content(self, sealer: Sealer) -> tuple[int, dict[str, Any] | None]:
        """Return how often the file was written, 0 for one of a release that did not count, and what is in it."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return 0, None
        except OSError as error:
            raise GalleryError(f"{self.path}: cannot be read: {error.strerror}: check the rights") from error
        is_plain = self._was_plain and data.startswith(b"{")
        try:
            known = json.loads(data if is_plain else sealer.open(data, place_of(self.name)))
        except SealBroken as fault:
            raise self._lost(f"does not open: {fault}") from None
        except (ValueError, RecursionError):  # 100,000 brackets
            raise self._lost("is damaged") from None
        if not isinstance(known, dict):
            raise self._lost("is damaged")
        if is_plain or "writes" not in known:
            return 0, known  # of an earlier release
        return known["writes"], known["values"]

    def _lost(self, what: str) -> KeptLost:
        return KeptLost(
            f"{self.path}: {what}: the worst is taken for what stood in it; to begin anew: "
            f"{owner_command('keys accept')}"
        )
