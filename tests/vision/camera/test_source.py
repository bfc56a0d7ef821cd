"""Which camera a source means, and sources that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from device.errors import CameraError, FaceUnlockError
from device.vision.camera.clip import ClipCamera
from device.vision.camera.opencv import OpenCVCamera
from device.vision.camera.picamera2 import Picamera2Camera
from device.vision.camera.source import open_camera
from tests.support.clips import write_clip


@pytest.mark.parametrize("source", ["rtsp:/admin:secret@door.local/x", "rtsp//admin:secret@door.local/x"])
def test_a_mistyped_address_keeps_its_password(source):
    with pytest.raises(CameraError, match="no such file") as caught:
        opened(source)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("source", ["x" * 5000, "~nosuch/clip.mp4", "file:///clip.mp4"])
def test_a_path_that_cannot_be_is_one_line(source):
    with pytest.raises(FaceUnlockError, match=r"File name too long|home folder|no such file") as caught:
        opened(source)
    assert "\n" not in str(caught.value)


def test_a_file_below_dev_is_a_clip_too():
    path = Path("/dev/shm/face-unlock-test.avi")
    if not path.parent.is_dir():
        pytest.skip("no /dev/shm")
    try:
        assert not opened(str(write_clip(path))).live
    finally:
        path.unlink()


# --- picking the adapter


def opened(source):
    return open_camera(source, width=64, height=48, stall_timeout_s=1.0, controls={}, paced=False)


def test_open_camera_picks_by_the_source(clip, monkeypatch, picamera2):
    for source, name in [(0, "0"), ("2", "2"), ("/dev/video1", "/dev/video1"), ("rtsp://h/x", "rtsp://h/x")]:
        camera = opened(source)
        assert isinstance(camera, OpenCVCamera)
        assert camera.name == name
        assert camera.live
    assert isinstance(opened(str(clip)), ClipCamera)
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
    for source, name in [("picamera2", "picamera2:0"), ("picamera2:1", "picamera2:1")]:
        camera = opened(source)
        assert isinstance(camera, Picamera2Camera)
        assert camera.name == name
    with pytest.raises(CameraError, match="no such file"):
        opened("picamera3")


@pytest.mark.parametrize(("found", "kind"), [(object(), Picamera2Camera), (None, OpenCVCamera)])
def test_auto_takes_picamera2_where_it_is_installed(found, kind, monkeypatch, picamera2):
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    assert isinstance(opened("auto"), kind)
