"""Office: the keeper at work: its gallery is open, and its folder and the broker are at hand."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from device.access.clock import RELEASED
from device.build import build_gallery, manifest_path
from device.config import Config
from device.desk.credentials import ADDRESS, Access
from device.errors import LinkError, UsageError
from device.fleet.authority import utc_now
from device.fleet.folder import BROKER, OWN, folder_of, write, write_broker, write_client
from device.fleet.keeper import HOME, KEEPER, Keeper
from device.fleet.post import Post
from device.fleet.records import Ack
from device.fleet.table import Row
from device.page.viewers import REVOKED
from device.vision.embed import load_manifest


def dated() -> datetime:
    """Return the time for what is signed here; UsageError where this machine's clock cannot be right."""
    now = utc_now()
    if now < RELEASED:
        raise UsageError(
            f"this machine's clock: expected {RELEASED:%Y-%m-%d} or later, received {now:%Y-%m-%d %H:%M}: set it, for "
            "doors count from when something was signed"
        )
    return now


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
        """Visit the broker; UsageError where this is no keeper. One from a backup makes its own access anew."""
        keeper = self.keeper
        if not (self.folder / OWN / ADDRESS).exists():
            write_client(self.folder / OWN, keeper.issue(KEEPER, utc_now()))
        return Post(Access.read(self.folder / OWN))

    def hand_out(self) -> None:
        """Write what broker, keeper and Home Assistant need."""
        keeper, now = self.keeper, dated()
        for user, name in ((KEEPER, OWN), (HOME, HOME)):
            write_client(self.folder / name, keeper.issue(user, now))
        server = keeper.authority.server(keeper.address[0], now)
        revoked = keeper.authority.revocations(keeper.revoked, now)
        write_broker(self.folder / BROKER, keeper.authority, server, revoked)
        print(f"{self.folder}: written. Next:")
        print(f"  {self.folder / BROKER}/* to /etc/mosquitto/face-unlock/ at the broker, then restart it")

    def write_revoked(self) -> Path:
        """Write the list of what is revoked, and return where it is."""
        path, keeper = self.folder / BROKER / REVOKED, self.keeper
        write(path, keeper.authority.revocations(keeper.revoked, utc_now()))
        return path


def acks_of(keeper: Keeper, post: Post) -> dict[str, Ack]:
    """Open what the doors answered; what is not theirs is none."""
    found = {}
    for door, body in post.acks.items():
        try:
            found[door] = keeper.read_ack(door, body)
        except (LinkError, UsageError):
            continue
    return found


def rows_of(keeper: Keeper, post: Post, doors: list[str]) -> list[Row]:
    acks = acks_of(keeper, post)
    return [Row(door, keeper.sequence(door), acks.get(door)) for door in doors]
