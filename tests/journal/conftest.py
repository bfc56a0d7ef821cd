"""An audit of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.journal.audit import Audit
from tests.support.audits import KEYS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def audit(path: Path) -> Audit:
    return Audit(path, KEYS)
