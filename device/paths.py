"""Paths as a person writes them: `~` is the home folder."""

from __future__ import annotations

from pathlib import Path

from device.errors import ConfigError


def expand(text: str) -> Path:
    """Return the path with `~` expanded; raise ConfigError where nobody of that name has a home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: nobody's home folder: write the whole path") from None
