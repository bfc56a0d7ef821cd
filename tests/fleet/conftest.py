"""A house whose doors, keeper and broker run until the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.doors.house import House
from tests.support.doors.letters import make_pair
from tests.support.machines.broker import Mosquitto, write_access


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
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that ends with the test, also where that fails."""
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    try:
        yield broker
    finally:
        broker.end()


@pytest.fixture
def own(mosquitto: Mosquitto, tmp_path: Path) -> Path:
    """The folder with which a keeper visits the broker."""
    return write_access(tmp_path / "keeper", mosquitto, "keeper")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[SimpleNamespace]:
    with make_pair(tmp_path) as made:
        yield made
