"""A house whose doors, keeper and broker run until the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.doors.house import House


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(*doors: str) -> House:
        made.append(House(tmp_path, *doors))
        return made[-1]

    yield make
    for house in made:
        house.end()
