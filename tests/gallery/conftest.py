"""A small gallery, closed and open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.gallery.gallery import Gallery
from tests.support.galleries import open_gallery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def gallery(path: Path) -> Iterator[Gallery]:
    with open_gallery(path) as opened:
        yield opened
