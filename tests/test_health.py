"""A hot, throttled or hungry board: read from a folder tree such as /sys has, told once, and never a reason to open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from device.health import CHECK_S, QUIET_S, BoardRule, BoardState, BoardWatch, read_board
from device.pipeline import Door
from device.types import News, Reason
from tests.support.doors.staged import frame, reasons

RULE = BoardRule(hot_c=80.0, hot_rest_s=0.15)
OK = BoardState(temperature_c=45.0, throttled=False, under_voltage=False)


class Sys:
    """A /sys of a Raspberry Pi 4, as far as this program reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.zone = self.write("class/thermal/thermal_zone0/temp", "45000")
        self.write("class/thermal/thermal_zone1/temp", "40123")
        self.write("class/thermal/thermal_zone2/type", "PMIC-Die")
        self.write("class/thermal/thermal_zone2/temp", "100000")
        self.flags = self.write("devices/platform/soc/soc:firmware/get_throttled", "0")
        self.write("class/thermal/cooling_device0/type", "pwm-fan")
        self.write("class/thermal/cooling_device0/cur_state", "3")
        self.write("class/thermal/cooling_device1/type", "cpufreq-cpu0")
        self.held = self.write("class/thermal/cooling_device1/cur_state", "0")
        self.write("class/hwmon/hwmon0/name", "cpu_thermal")
        self.write("class/hwmon/hwmon1/name", "rpi_volt")
        self.alarm = self.write("class/hwmon/hwmon1/in0_lcrit_alarm", "0")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
        return path


@pytest.fixture
def board(tmp_path: Path) -> Sys:
    return Sys(tmp_path)


def test_a_board_at_ease(board: Sys) -> None:
    assert read_board(board.root) == OK


TROUBLE: dict[str, tuple[Callable[[Sys], object], str]] = {
    "the hottest zone": (lambda each: each.zone.write_text("80000\n"), "board_hot"),
    "flag: capped": (lambda each: each.flags.write_text("2\n"), "board_throttled"),
    "flag: throttled": (lambda each: each.flags.write_text("60006\n"), "board_throttled"),
    "flag: soft limit": (lambda each: each.flags.write_text("0x80008\n"), "board_throttled"),
    "the kernel holds the clock down": (lambda each: each.held.write_text("2\n"), "board_throttled"),
    "flag: under-voltage": (lambda each: each.flags.write_text("50001\n"), "under_voltage"),
    "the alarm of rpi_volt": (lambda each: each.alarm.write_text("1\n"), "under_voltage"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_trouble_is_told_once_and_its_end(board: Sys, case: str) -> None:
    cause, name = TROUBLE[case]
    watch = BoardWatch(RULE, board.root)
    assert list(watch.news(0.0)) == []
    cause(board)
    told: list[News] = [each for at_s in range(1, 100) for each in watch.news(float(at_s))]
    assert [each for each, _ in told] == [name]
    Sys(board.root)
    told = [each for at_s in range(100, 200) for each in watch.news(float(at_s))]
    assert told == [("board_ok", {"reason": name, "temperature_c": 45.0})]


def test_what_was_once_is_not_now(board: Sys) -> None:
    board.flags.write_text("f0000\n")  # since the boot
    assert read_board(board.root) == OK


def test_what_flickers_is_one_trouble(board: Sys) -> None:
    watch, told = BoardWatch(RULE, board.root), []
    for at_s in range(0, 120, 5):
        board.flags.write_text(f"{at_s // 5 % 2}\n")
        told += watch.news(float(at_s))
    assert [name for name, _ in told] == ["under_voltage"]


def test_a_little_cooler_is_still_hot(board: Sys) -> None:
    watch = BoardWatch(RULE, board.root)
    board.zone.write_text("81000\n")
    assert list(watch.news(0.0)) == [("board_hot", {"temperature_c": 81.0})]
    board.zone.write_text("76000\n")
    assert [each for at_s in range(1, 200) for each in watch.news(float(at_s))] == []
    assert watch.rest_s == RULE.hot_rest_s


def test_the_files_are_read_every_few_seconds_only(board: Sys) -> None:
    watch = BoardWatch(RULE, board.root)
    list(watch.news(10.0))
    board.zone.write_text("99000\n")
    assert list(watch.news(10.0 + CHECK_S - 0.1)) == []
    assert [name for name, _ in watch.news(10.0 + CHECK_S)] == ["board_hot"]
    assert QUIET_S > CHECK_S  # the end is seen in more than one look


@pytest.mark.parametrize("text", ["", "soon", "-", "1g3", "\xff"])
def test_files_that_make_no_sense_say_nothing(board: Sys, text: str) -> None:
    for path in (board.zone, board.flags, board.held, board.alarm):
        path.write_bytes(text.encode("latin-1"))
    assert read_board(board.root) == BoardState(40.123, throttled=False, under_voltage=False)


def test_a_machine_without_any_of_it(tmp_path: Path) -> None:
    watch = BoardWatch(RULE, tmp_path)
    assert [each for at_s in range(100) for each in watch.news(float(at_s))] == []
    assert read_board(tmp_path) == BoardState(None, throttled=False, under_voltage=False)


def test_a_hot_board_rests_between_frames_and_decides_as_ever(device: Door, board: Sys) -> None:
    for path, text in ((board.zone, "95000"), (board.flags, "5000f"), (board.held, "9")):
        path.write_text(text)
    assert device.rest_s == 0
    device.board = BoardWatch(RULE, board.root)
    assert {name for name, _ in device.news(None, 0.0)} == {"board_hot", "board_throttled", "under_voltage"}
    assert device.rest_s == RULE.hot_rest_s
    assert reasons(device, [0.0, 0.2, 0.4])[-1] is Reason.GRANTED
    assert reasons(device, [6.0])[-1] is not Reason.GRANTED


def test_frames_that_a_slow_board_lets_grow_old_open_nothing(device: Door, board: Sys) -> None:
    from device.pipeline import handle_frame

    board.zone.write_text("95000")
    device.board = BoardWatch(RULE, board.root)
    list(device.news(None, 0.0))
    told = {handle_frame(frame(at_s), device, at_s + 2.0).reason for at_s in (0.0, 0.1, 0.2, 0.3)}
    assert told == {Reason.STALE_FRAME}
    device.lock.unlock.assert_not_called()
