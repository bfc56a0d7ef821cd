"""Paths as a person writes them: `~` is the home folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from device.errors import ConfigError


def expand(text: str) -> Path:
    """Return the path with `~` expanded; raise ConfigError where nobody of that name has a home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: nobody's home folder: write the whole path") from None


def given_path(text: str) -> Path:
    """Read an option's value, as argparse's `type`: empty text is an error, and not the folder of now."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, received empty text")
    return Path(text)
