"""A clip, and a module that looks like picamera2."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.clips import write_clip
from tests.support.machines.fake_picamera2 import FakePicamera2


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.avi")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setattr(FakePicamera2, "on_request", None)
    monkeypatch.setattr(FakePicamera2, "given_format", "BGR888")
    monkeypatch.setattr(FakePicamera2, "given_stride", 3 * 64)
    return SimpleNamespace(Picamera2=FakePicamera2)
