"""The configuration: where it was read, what it changes, and what in it does not go together with this board."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device.config import Config, every_setting
from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, red, split_advice, yellow
from device.errors import ConfigError
from device.lock.wiring import board_text, check_wiring

NAME = "configuration"


def check(setup: Setup) -> Iterator[Finding]:
    """Say where it comes from and what it changes, then what is wrong with it."""
    changed = changed_keys(setup.config)
    listed = ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
    yield green(NAME, f"{setup.origin}: {f'sets {listed}' if changed else 'all defaults'}")
    try:
        check_wiring(setup.config, board_text())
    except ConfigError as error:
        yield split_advice(NAME, error)
    if setup.config.liveness.mode == "off":
        yield red(
            NAME, 'liveness.mode is "off": a photograph opens the door', 'set liveness.mode = "challenge"'
        )
    if Path(str(setup.config.camera.source)).is_file():
        yield yellow(NAME, "camera.source is a recorded clip, which opens no real door", "name a camera")


def changed_keys(config: Config) -> list[str]:
    """List the keys that differ from their defaults, in the order of the file."""
    standard = Config()
    return [key for key, _ in every_setting() if value_of(config, key) != value_of(standard, key)]


def value_of(config: Config, key: str) -> Any:
    """Return the value of `section.key`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
