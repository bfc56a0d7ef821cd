"""How a finding reads for a person: the light as a word, in color on a terminal, and times of this place."""

from __future__ import annotations

import os
import sys

from device.doctor.finding import Finding, Light
from device.moment import in_local_time

COLORS = {Light.GREEN: "\033[32m", Light.YELLOW: "\033[33m", Light.RED: "\033[31m"}
PLAIN = "\033[0m"
WIDTH = len(Light.YELLOW.value)


def described(finding: Finding) -> str:
    """Return the light, the part and what was found; below it, what to do."""
    when = f"{in_local_time(finding.at)} " if finding.at else ""
    line = f"{painted(finding.light)}  {finding.name:<13}  {when}{finding.text}"
    return f"{line}\n{'':23}-> {finding.advice}" if finding.advice else line


def painted(light: Light | None) -> str:
    """Return a light as a word of fixed width; None: nothing was reached that could have one."""
    word = f"{light or '':<{WIDTH}}"
    return f"{COLORS[light]}{word}{PLAIN}" if light is not None and is_colored() else word


def is_colored() -> bool:
    """Say whether stdout is a terminal whose owner wants colors."""
    return is_screen() and "NO_COLOR" not in os.environ


def is_screen() -> bool:
    try:
        return sys.stdout.isatty()
    except ValueError:  # closed
        return False
