"""An audit of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.journal.audit import Audit
from device.vault.anchor import Anchor, AnchorFile
from device.vault.generation import GenerationFile
from device.vault.sealing import Sealer
from tests.support.audits import KEYS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def audit(path: Path) -> Audit:
    return Audit(path, KEYS)


@pytest.fixture
def anchor(tmp_path: Path) -> AnchorFile:
    """The anchor of a door that has a gallery."""
    sealer = Sealer(KEYS, "gallery")
    generation = GenerationFile(tmp_path / "gallery.db.generation", sealer)
    made = AnchorFile(generation, sealer)
    made.write(Anchor(generation=1))
    generation.write(1)
    return made
