"""A board of its own for each test, and a gallery that was made on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.access.pin import hash_pin
from device.access.policy import Usage
from device.access.profile import Profile
from tests.support.galleries import open_gallery, units
from tests.support.kept import usage_of
from tests.support.machines.boards import make_board


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    root = make_board(tmp_path / "board")
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(root))
    return root


@pytest.fixture
def path(here, tmp_path) -> Path:
    """A gallery of alice, who has a PIN, made on this board."""
    path = tmp_path / "card" / "gallery.db"
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(4, 1), replace=False, profile=Profile(pin_hash=hash_pin("482916")))
        profile = gallery.profile("alice")
        usage_of(gallery, path.with_name("gallery.db.usage")).keep(profile, Usage(entries=3))
    return path
