"""enroll.py and scripts/audit.py as an owner calls them, on a gallery of a test's own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import enroll as enroll_program
from scripts import audit as audit_program


def enroll(path: Path, *arguments: str) -> int:
    return enroll_program.main([*arguments, "--gallery", str(path), "--config", "/dev/null"])


def audit(path: Path, *arguments: str) -> int:
    return audit_program.main([*arguments, "--gallery", str(path), "--config", "/dev/null"])


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
