"""A house whose doors, keeper and broker run until the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.doors.house import House
from tests.support.doors.letters import make_pair


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(*doors: str) -> House:
        made.append(House(tmp_path, *doors))
        return made[-1]

    yield make
    for house in made:
        house.end()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[SimpleNamespace]:
    with make_pair(tmp_path) as made:
        yield made
