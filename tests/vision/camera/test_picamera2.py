"""Cameras of picamera2, on a double with the surface that is used of it."""

from __future__ import annotations

import sys
import time

import pytest

from device.errors import CameraError, CameraLost
from device.vision.camera.picamera2 import Picamera2Camera
from tests.support.machines.fake_picamera2 import FakePicamera2


def pi_camera(module, *, index=0, controls=None):
    return Picamera2Camera(
        index=index, width=64, height=48, stall_timeout_s=0.15, controls=controls or {}, module=module
    )


def test_picamera2_frame_is_rgb_and_dated_by_the_sensor(picamera2):
    camera = pi_camera(picamera2, controls={"AfMode": 2, "FrameDurationLimits": [33333, 33333]})
    frame = next(camera.frames())
    assert frame.image[0, 0].tolist() == [255, 0, 0]  # BGR888 is R, G, B in memory: nothing to swap
    assert 0.03 < time.monotonic() - frame.captured_at_s < 1
    camera.close()
    assert FakePicamera2.last.configuration == {
        "main": {"size": (64, 48), "format": "BGR888"},
        "controls": {"AfMode": 2, "FrameDurationLimits": (33333, 33333)},
        "queue": False,
    }
    assert FakePicamera2.last.log == ["start", "close"]
    assert FakePicamera2.last.held == 0


def test_picamera2_gives_the_buffer_back_when_reading_fails(picamera2, monkeypatch):
    def fail():
        raise TimeoutError

    monkeypatch.setattr(FakePicamera2, "on_request", staticmethod(fail))
    camera = pi_camera(picamera2)
    with pytest.raises(CameraLost, match="TimeoutError"):
        next(camera.frames())
    camera.close()
    assert FakePicamera2.last.held == 0
    assert FakePicamera2.last.log == ["start", "close"]
    monkeypatch.setattr(FakePicamera2, "on_request", None)
    next(camera.frames())  # the same camera, opened again
    camera.close()


def test_picamera2_absent_camera_may_come_later(picamera2):
    with pytest.raises(CameraLost, match="No camera number 3 found"):
        next(pi_camera(picamera2, index=3).frames())


def test_picamera2_unknown_control_names_the_nearest(picamera2):
    with pytest.raises(CameraError, match=r"camera\.controls\.AfMod: .*'AfMode'") as caught:
        next(pi_camera(picamera2, controls={"AfMod": 2}).frames())
    assert not isinstance(caught.value, CameraLost)  # no reconnect will help
    deadline_s = time.monotonic() + 5
    while FakePicamera2.last.log != ["close"] and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert FakePicamera2.last.log == ["close"]


def test_picamera2_other_format_is_refused(picamera2, monkeypatch):
    monkeypatch.setattr(FakePicamera2, "given_format", "YUYV")
    with pytest.raises(CameraError, match="gives YUYV, expected BGR888"):
        next(pi_camera(picamera2).frames())


def test_picamera2_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="apt install python3-picamera2") as caught:
        pi_camera(None)
    assert not isinstance(caught.value, CameraLost)
