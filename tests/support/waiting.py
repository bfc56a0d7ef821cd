"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 30.0, what: object = "") -> None:
    """Wait until a condition holds; the limit is for a machine that is busy, not a bound of the product."""
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s, what() if callable(what) else what
        time.sleep(0.005)
