"""A real browser for the tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from device.errors import UsageError
from scripts.stage.chromium import Chromium, find_chromium


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    try:
        find_chromium()
    except UsageError as fault:
        pytest.skip(str(fault))
    with Chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Chromium]:
    """A tab that knows nothing of the other tests'."""
    chromium.open_tab()
    yield chromium
    chromium.close_tabs()
