"""Small sealed files of a gallery that a test has open."""

from __future__ import annotations

from pathlib import Path

from device.gallery.gallery import Gallery
from device.gallery.usage import UsageFile
from device.vault.anchor import AnchorFile
from device.vault.generation import GenerationFile
from device.vault.kept import WERE_PLAIN, KeptFile
from device.vault.sealing import Sealer


def kept_with(gallery: Gallery, path: Path, name: str) -> KeptFile:
    """Return the file `path`, sealed and anchored as the gallery is."""
    return KeptFile(
        path, name, lambda: (gallery.seal.sealer, gallery.seal.anchor), was_plain=name in WERE_PLAIN
    )


def kept_alone(path: Path) -> KeptFile:
    """Return a file that was kept in the clear before, with a key and an anchor of its own in a hidden folder."""
    hidden = path.with_name(".anchor")
    sealer = Sealer({1: bytes(32)}, "gallery")
    anchor = AnchorFile(GenerationFile(hidden / "gallery.db.generation", sealer), sealer)
    return KeptFile(path, "refusals", lambda: (sealer, anchor), was_plain=True)


def usage_of(gallery: Gallery, path: Path) -> UsageFile:
    """Return the entries and PIN times that `path` keeps."""
    return UsageFile(kept_with(gallery, path, "usage"))
