"""The anchor: counts that only grow, of the gallery's changes, the audit's records and each small file's writes.

One sealed file beside the key. Whoever deletes or puts back a part of a door's files leaves the anchor ahead of them:

    gallery and generation put back      the anchor names a later change
    audit log and head cut or deleted    the anchor names a later record
    entries or counts of failures gone   the anchor says that they were written (kept.py)
    the anchor itself deleted            the generation says that there is one

It is written last, after what it vouches for is on the disk, so a power cut leaves it behind and never ahead. All files
put back together, as they were at one moment, fit each other: nothing on the card tells that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from device.command import owner_command
from device.errors import GalleryError, GalleryKeyError
from device.vault.files import make_folder, update_private
from device.vault.generation import GenerationFile
from device.vault.sealing import SealBroken, Sealer, place_of

PLACE = place_of("anchor")


@dataclass(frozen=True, slots=True)
class Anchor:
    """The marks of one moment.

    `generation` is the number of changes of the gallery; `logs` has number and code of the newest record of each
    audit log (of many refusals in a row only some); `writes` says how often each small file was written.
    """

    generation: int = 0
    logs: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    writes: Mapping[str, int] = field(default_factory=dict)

    def with_record(self, log: str, number: int, code: str) -> Anchor:
        return replace(self, logs={**self.logs, log: (number, code)})

    def with_write(self, name: str, count: int) -> Anchor:
        return replace(self, writes={**self.writes, name: max(count, self.writes.get(name, 0))})


class AnchorFile:
    """The anchor of one gallery."""

    def __init__(self, generation: GenerationFile, sealer: Sealer) -> None:
        self.path = anchor_path(generation.path)
        self._generation, self._sealer = generation, sealer

    def read(self) -> Anchor:
        """Return the marks, none of a release without anchors; a missing or damaged file is a GalleryKeyError."""
        try:
            known = json.loads(self._sealer.open(self.path.read_bytes(), PLACE))
        except FileNotFoundError:
            if self._generation.is_anchored():
                raise self._odd("is missing") from None
            return Anchor()
        except SealBroken as fault:
            raise self._odd(f"does not open: {fault}") from None
        except OSError as error:
            raise GalleryKeyError(
                f"{self.path}: cannot be read: {error.strerror}: check the path and the rights"
            ) from None
        return Anchor(**known)

    def update(self, change: Callable[[Anchor], Anchor]) -> None:
        """Put the changed marks in the place of the old ones; GalleryError where that fails."""
        self._put(lambda: change(self.read()))
        if not self._generation.is_anchored() and (known := self._generation.read()) is not None:
            self._generation.raise_to(known)  # from now on a missing anchor means something

    def write(self, anchor: Anchor) -> None:
        """Store marks, whatever was there."""
        self._put(lambda: anchor)

    def _put(self, make: Callable[[], Anchor]) -> None:
        try:
            make_folder(self.path)
            update_private(self.path, lambda: self._sealer.seal(json.dumps(asdict(make())).encode(), PLACE))
        except OSError as error:
            raise GalleryError(
                f"{self.path}: cannot be written: {error.strerror or error}: check the disk and the rights"
            ) from error

    def _odd(self, what: str) -> GalleryKeyError:
        return GalleryKeyError(
            f"{self.path}: {what}, so nobody can tell what else was taken away or put back: put your copy of it "
            f"back, or accept what is there ({owner_command('keys accept')})"
        )


def anchor_path(generation: Path) -> Path:
    """Return where the anchor lies: by the generation, which lies by the key."""
    return generation.with_suffix(".anchor")
