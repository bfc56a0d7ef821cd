"""Pixels of every kind become RGB, and a sensor's time the board's."""

from __future__ import annotations

import time

import numpy as np
import pytest

from device.errors import CameraError
from device.vision.camera.picamera2 import sensor_time_s
from device.vision.camera.pixels import to_rgb

# --- pixels


def picture(value, shape):
    return np.full(shape, value, np.uint8)


def test_to_rgb_of_all_kinds():
    bgra = np.zeros((4, 6, 4), np.uint8)
    bgra[..., 0] = 9  # blue
    assert to_rgb(bgra)[0, 0].tolist() == [0, 0, 9]
    assert to_rgb(bgra, order="RGB")[0, 0].tolist() == [9, 0, 0]
    for gray in (picture(5, (4, 6)), picture(5, (4, 6, 1))):
        assert to_rgb(gray).shape == (4, 6, 3)
        assert to_rgb(gray)[0, 0].tolist() == [5, 5, 5]
    assert to_rgb(picture(5, (4, 6, 4)), order="RGB").flags["C_CONTIGUOUS"]
    for wrong in (np.zeros((4, 6, 3), np.uint16), picture(0, (4, 6, 2)), np.zeros(4, np.uint8)):
        with pytest.raises(CameraError, match="expected"):
            to_rgb(wrong)


def test_sensor_time_is_monotonic_time():
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert sensor_time_s(boot_ns - 500_000_000) == pytest.approx(time.monotonic() - 0.5, abs=0.1)
    for odd in (None, 0, boot_ns + 10**12):
        assert sensor_time_s(odd) == pytest.approx(time.monotonic(), abs=0.1)


def test_sensor_time_after_the_board_slept(monkeypatch):
    monkeypatch.setattr(time, "clock_gettime", lambda clock: time.monotonic() + 3600)
    taken_ns = int((time.monotonic() + 3600 - 0.25) * 1e9)
    assert sensor_time_s(taken_ns) == pytest.approx(time.monotonic() - 0.25, abs=0.1)
