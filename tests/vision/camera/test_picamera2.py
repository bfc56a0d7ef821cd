"""Cameras of picamera2, on a double with the surface that is used of it."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from device.errors import CameraError, CameraLost
from device.vision.camera.picamera2 import Picamera2Camera
from device.vision.camera.pixels import FORMATS
from tests.support.machines.buffers import buffer_of
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
    with pytest.raises(CameraError, match="gives YUYV, expected one of BGR888"):
        next(pi_camera(picamera2).frames())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("padding", [0, 64])
def test_picamera2_takes_what_the_camera_gives(picamera2, monkeypatch, kind, padding):
    red = np.full((48, 64, 3), (200, 30, 30), np.uint8)
    buffer, stride = buffer_of(red, kind, padding)
    monkeypatch.setattr(FakePicamera2, "given_format", kind)
    monkeypatch.setattr(FakePicamera2, "given_stride", stride)
    monkeypatch.setattr(FakePicamera2, "buffer", staticmethod(lambda: buffer))
    camera = pi_camera(picamera2)
    frame = next(camera.frames())
    camera.close()
    assert frame.image.shape == (48, 64, 3)
    assert np.abs(frame.image.astype(int) - red).max() <= 3


@pytest.mark.skipif(
    find_spec("picamera2") is None or not list(Path("/dev").glob("dma_heap/*")),
    reason="needs picamera2, libcamera's virtual pipeline and a dma-heap",
)
def test_libcameras_virtual_pipeline_gives_frames_that_are_pictures():
    import picamera2 as module

    if not module.Picamera2.global_camera_info():
        pytest.skip("libcamera has no camera here: describe a virtual one in its virtual.yaml")
    camera = Picamera2Camera(index=0, width=640, height=480, stall_timeout_s=5.0, controls={}, module=module)
    frame = next(camera.frames())
    camera.close()
    assert frame.image.ndim == 3
    assert frame.image.dtype == np.uint8
    assert frame.image.std() > 0


def test_picamera2_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="apt install python3-picamera2") as caught:
        pi_camera(None)
    assert not isinstance(caught.value, CameraLost)
