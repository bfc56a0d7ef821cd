"""Pins of a Jetson, on a double with the surface of gpiod 2.x."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from device.errors import LockError
from device.lock.gpiochip import GpiochipLock
from tests.support.lock_bench import PULSE_S
from tests.support.waiting import wait_until


class FakeRequest:
    def __init__(self, chip, settings):
        self.chip, self.settings, self.released = chip, settings, False
        self.levels = [settings.output_value]

    def set_value(self, line, value):
        assert not self.released
        self.levels.append(value)

    def get_value(self, line):
        assert not self.released
        return self.levels[-1]

    def release(self):
        self.released = True


def fake_gpiod():
    module = SimpleNamespace(requests=[])
    module.line = SimpleNamespace(
        Value=SimpleNamespace(ACTIVE="active", INACTIVE="inactive"),
        Direction=SimpleNamespace(OUTPUT="output"),
    )
    module.LineSettings = lambda *, direction, output_value, active_low: SimpleNamespace(
        direction=direction, output_value=output_value, active_low=active_low
    )

    def request_lines(path, config, consumer):
        if path != "/dev/gpiochip0":
            raise FileNotFoundError(2, "No such file or directory")
        [(line, settings)] = config.items()
        module.requests.append(FakeRequest((path, line, consumer), settings))
        return module.requests[-1]

    module.request_lines = request_lines
    return module


def open_jetson(gpiod, chip="/dev/gpiochip0", active_high=True):
    return GpiochipLock(chip=chip, line=105, active_high=active_high, pulse_s=PULSE_S, gpiod=gpiod)


@pytest.mark.parametrize("active_high", [True, False])
def test_jetson_pulse(active_high):
    gpiod = fake_gpiod()
    lock = open_jetson(gpiod, active_high=active_high)
    [request] = gpiod.requests
    assert request.chip == ("/dev/gpiochip0", 105, "face-unlock")
    assert request.settings.active_low is not active_high
    lock.unlock()
    wait_until(lambda: lock.is_locked)
    lock.unlock()
    lock.close()
    assert request.levels == ["inactive", "inactive", "active", "inactive", "active", "inactive"]
    assert request.released


def test_jetson_without_chip_is_one_line():
    with pytest.raises(LockError, match=r"/dev/gpiochip9 line 105: cannot be claimed.*lock\.chip"):
        open_jetson(fake_gpiod(), chip="/dev/gpiochip9")


def test_jetson_double_has_the_surface_of_the_real_module():
    gpiod = pytest.importorskip("gpiod", reason="gpiod is not installed")
    if not hasattr(gpiod, "request_lines"):
        pytest.skip("gpiod 1.x")
    with pytest.raises(LockError, match="cannot be claimed"):  # the settings are valid, the chip is not there
        open_jetson(gpiod, chip="/dev/null")
