"""The board: its heat, its clock speed and its power."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, yellow
from device.health import BoardState, read_board

NAME = "board"


def check(setup: Setup) -> Iterator[Finding]:
    yield judge(read_board(Path("/sys")), setup.config.board.hot_c)


def judge(state: BoardState, hot_c: float) -> Finding:
    """Return the finding of the board; one that says nothing of itself is well."""
    if state.under_voltage:
        return yellow(NAME, "the supply is too weak: less than 4.63 V", "the supply that the maker names")
    heat = f"{state.temperature_c:.0f} C" if state.temperature_c is not None else "no thermometer"
    if state.throttled:
        return yellow(NAME, f"{heat}, and the kernel holds its clock down", "a heat sink or a fan")
    if state.temperature_c is not None and state.temperature_c >= hot_c:
        return yellow(NAME, f"{heat}, hot from {hot_c:g} C on", "a heat sink or a fan")
    return green(NAME, heat)
