"""A gallery to enroll into, empty or with the astronaut."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.galleries import copy_gallery


@pytest.fixture
def options(tmp_path: Path, empty_config: Path) -> list[str]:
    return ["--gallery", str(tmp_path / "gallery.db"), "--config", str(empty_config)]


@pytest.fixture
def stored(tmp_path: Path, enrolled_gallery: Path) -> Path:
    """A gallery of this test's own, in which the astronaut is enrolled as Eileen."""
    return copy_gallery(enrolled_gallery, tmp_path)
