"""The state of the board: hot, throttled or short of power; read from /sys every few seconds.

    class/thermal/thermal_zone*/temp                       thousandths of a degree C, any Linux
    class/thermal/cooling_device*/{type,cur_state}         a cpufreq one above 0: the kernel holds the clock down
    devices/platform/soc*/*firmware/get_throttled          Raspberry Pi: hexadecimal flags of the firmware
    class/hwmon/hwmon*/{name,in0_lcrit_alarm}              Raspberry Pi: `rpi_volt`, 1 is less than 4.63 V

The flags follow the kernel's sources, the rest are Linux' usual places; it was not tried on a board. A missing file
counts as no trouble. Nothing here ever opens the door.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.decide.lasting import Lasting

if TYPE_CHECKING:  # the status page reads the board without numpy
    from device.types import News

CHECK_S = 5.0
QUIET_S = 30.0  # trouble is over after so long without it: it may flicker
COOLER_C = 5.0  # below the limit by this much, the board is no longer hot
NO_SENSOR = "PMIC-Die"  # a Jetson's zone that always says 100 degrees
UNDER_VOLTAGE, THROTTLED = 0x1, 0xE  # of get_throttled: now; capped, throttled or at the soft limit, now


@dataclass(frozen=True, slots=True)
class BoardRule:
    """From which temperature on the board is hot, and how long the door then rests after each frame."""

    hot_c: float
    hot_rest_s: float


@dataclass(frozen=True, slots=True)
class BoardState:
    """What the board says now; `temperature_c` of its hottest zone, None where it has none."""

    temperature_c: float | None
    throttled: bool
    under_voltage: bool


class BoardWatch:
    """Tell once when the board gets into trouble, and once when that is over.

    Args:
        root: where /sys is.
    """

    def __init__(self, rule: BoardRule, root: Path = Path("/sys")) -> None:
        self._rule, self._root = rule, root
        self._next_s = 0.0
        self._hot, self._throttled, self._short = (Lasting(0.0, QUIET_S) for _ in range(3))

    @property
    def rest_s(self) -> float:
        """How long to rest after a frame: a hot board goes on, with fewer of them."""
        return self._rule.hot_rest_s if self._hot.on else 0.0

    def news(self, now_s: float) -> Iterator[News]:
        """Yield what began or ended since the last look, which is taken every `CHECK_S`."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + CHECK_S
        board = read_board(self._root)
        limit_c = self._rule.hot_c - COOLER_C * self._hot.on
        is_hot = board.temperature_c is not None and board.temperature_c >= limit_c
        for name, state, holds in (
            ("board_hot", self._hot, is_hot),
            ("board_throttled", self._throttled, board.throttled),
            ("under_voltage", self._short, board.under_voltage),
        ):
            if state.see(holds, now_s):
                told = {} if state.on else {"reason": name}
                yield name if state.on else "board_ok", {**told, "temperature_c": board.temperature_c}


class NoBoard:
    """What stands for the board where nobody looks after it."""

    rest_s = 0.0

    def news(self, now_s: float) -> Iterator[News]:
        yield from ()


def read_board(root: Path) -> BoardState:
    """Read what there is; a file that is missing, unreadable or no number counts as nothing."""
    thermal = root / "class/thermal"
    zones = [
        _number(zone / "temp") for zone in thermal.glob("thermal_zone*") if _text(zone / "type") != NO_SENSOR
    ]
    flags = [_number(path, 16) for path in root.glob("devices/platform/soc*/*firmware/get_throttled")]
    now = flags[0] if flags and flags[0] is not None else 0
    held_down = any(
        "cpufreq" in _text(device / "type") and (_number(device / "cur_state") or 0) > 0
        for device in thermal.glob("cooling_device*")
    )
    alarms = [
        path / "in0_lcrit_alarm"
        for path in root.glob("class/hwmon/hwmon*")
        if _text(path / "name") == "rpi_volt"
    ]
    return BoardState(
        temperature_c=max((zone / 1000 for zone in zones if zone is not None), default=None),
        throttled=bool(now & THROTTLED) or held_down,
        under_voltage=bool(now & UNDER_VOLTAGE) or any(_number(alarm) == 1 for alarm in alarms),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # a zone that is switched off answers with an error
        return ""


def _number(path: Path, base: int = 10) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None
