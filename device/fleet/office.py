"""Office: the keeper at work: its gallery is open, and its folder and the broker are at hand."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from device.build import build_gallery, manifest_path
from device.config import Config
from device.fleet.authority import utc_now
from device.fleet.folder import BROKER, OWN, folder_of, write
from device.fleet.keeper import Keeper
from device.fleet.post import Post
from device.link.broker import Access
from device.page.viewers import REVOKED
from device.vision.embed import load_manifest


class Office:
    """The keeper at work: its gallery is open, and closed at the end."""

    def __init__(self, config: Config) -> None:
        self.folder = folder_of(config.gallery_path)
        manifest = load_manifest(manifest_path(config.model))
        self._undo = ExitStack()
        self.gallery = self._undo.enter_context(build_gallery(config, manifest, read_only=False))
        self.manifest, self.model_id = manifest, manifest.model_id

    def __enter__(self) -> Office:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @property
    def keeper(self) -> Keeper:
        return Keeper(self.gallery, self.model_id)

    def post(self) -> Post:
        """Visit the broker; UsageError where this is no keeper."""
        self.keeper  # noqa: B018
        return Post(Access.read(self.folder / OWN))

    def write_revoked(self) -> Path:
        """Write the list of what is revoked, and return where it is."""
        path, keeper = self.folder / BROKER / REVOKED, self.keeper
        write(path, keeper.authority.revocations(keeper.revoked, utc_now()))
        return path
