"""Small sealed files of a gallery that a test has open."""

from __future__ import annotations

from pathlib import Path

from device.gallery.gallery import Gallery
from device.gallery.usage import UsageFile
from device.vault.kept import WERE_PLAIN, KeptFile


def kept_with(gallery: Gallery, path: Path, name: str) -> KeptFile:
    """Return the file `path`, sealed and anchored as the gallery is."""
    return KeptFile(
        path, name, lambda: (gallery.seal.sealer, gallery.seal.anchor), was_plain=name in WERE_PLAIN
    )


def usage_of(gallery: Gallery, path: Path) -> UsageFile:
    """Return the entries and PIN times that `path` keeps."""
    return UsageFile(kept_with(gallery, path, "usage"))
