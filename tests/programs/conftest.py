"""What several programs are tried on: a door that runs, and labeled photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors.running import PULSE_S, Door
from tests.support.photos import write_labeled_faces


@pytest.fixture
def door(tmp_path: Path, enrolled_gallery: Path) -> Iterator[Door]:
    made = Door(tmp_path, enrolled_gallery)
    made.configure(PULSE_S)
    yield made
    made.kill()


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labeled_faces(tmp_path_factory.mktemp("lfw"))
