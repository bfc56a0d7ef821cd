"""A keeper and one door without a broker between: what a broker could do is done by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

from device.fleet.__main__ import build_member
from device.fleet.member import Member
from device.gallery.gallery import Gallery
from device.vision.embed import load_manifest
from scripts import fleet
from tests.support.doors.house import TINY, Site, face


def member_of(site: Site, judge=lambda *_: []) -> tuple[Member, Gallery]:
    gallery = site.open()
    made = build_member(site.config, gallery, load_manifest(Path(site.config.model)))
    return made, gallery


@contextmanager
def make_pair(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Yield a keeper and a member of its fleet."""
    keeper, door = Site(tmp_path / "keeper", "keeper"), Site(tmp_path / "front", "front")
    assert keeper.run("init", "--host", "broker.example") == 0
    assert keeper.run("add-door", "front") == 0
    assert door.join(keeper.folder / "gallery.db.fleet/front.door") == 0
    made, gallery = member_of(door)
    with keeper.open() as opened:
        yield SimpleNamespace(
            site=keeper, door=door, gallery=gallery, member=made, opened=opened,
            keeper=fleet.Keeper(opened, load_manifest(Path(TINY)).model_id),
        )  # fmt: skip
    gallery.close()


def deliver(pair: SimpleNamespace, letters, order=lambda letters: letters) -> list[str]:
    told = [pair.member.take(letter.levels, letter.body) for letter in order(list(letters))]
    pair.member.step(time.monotonic())
    return told


def letters_of(pair: SimpleNamespace, *names: str, at: datetime | None = None):
    for number, name in enumerate(names):
        pair.opened.enroll(name, face(number), replace=True)
        pair.keeper.assign(name, ["front"], gives=True)
    return pair.keeper.letters("front", {}, at or datetime.now(timezone.utc))


def names(pair: SimpleNamespace) -> list[str]:
    return [each.subject_id for each in pair.gallery.subjects()]
