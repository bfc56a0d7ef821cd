"""The owner's command, as it is typed where this program lies."""

from __future__ import annotations

from pathlib import Path

INSTALLED = Path("/opt/face-unlock")
HERE = Path(__file__).resolve().parent.parent


def owner_command(words: str, home: Path = HERE) -> str:
    """Return how to type `face-unlock WORDS` here: that short name is there on an installed board alone."""
    return f"face-unlock {words}" if home == INSTALLED else f"python scripts/face_unlock.py {words}"
