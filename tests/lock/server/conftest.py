"""The lock process's server on a bench, stepped by hand."""

from __future__ import annotations

import pytest

from tests.support.lock_bench import Bench


@pytest.fixture
def make_bench(tmp_path):
    made = []

    def make(**options):
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench):
    return make_bench()
