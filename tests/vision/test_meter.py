"""Metering on the face: what a camera is asked for, and what its driver makes of that."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from device.build import build_meter
from device.config import CameraConfig, Config
from device.types import Decision, Reason
from device.vision.camera.meter import ALONE_S, MOST, FaceMeter, NoMeter
from device.vision.camera.opencv import AUTOMATIC, LONGEST_EXPOSURE, MANUAL, OpenCVCamera, Opened
from device.vision.camera.picamera2 import Picamera2Camera
from device.vision.camera.turned import TurnedCamera


class Exposed:
    """A camera that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def expose(self, stops: float) -> None:
        self.asked.append(stops)


def asked(brightness: list[float | None], *, fps: float = 1.0) -> list[float]:
    """Return what a camera is asked for while the face is so bright, None where there is none."""
    camera = Exposed()
    meter = FaceMeter(camera)
    for index, each in enumerate(brightness):
        meter.see(Decision(False, Reason.NO_FACE, 0.0, brightness=each), index / fps)
    return camera.asked


def test_a_dark_face_gets_half_a_stop_more_each_second_and_no_more_than_two() -> None:
    assert asked([30.0] * 8) == [0.5, 1.0, 1.5, MOST]
    assert asked([30.0] * 20, fps=10) == [0.5, 1.0]


def test_a_glaring_face_gets_less() -> None:
    assert asked([230.0] * 8) == [-0.5, -1.0, -1.5, -MOST]


def test_a_face_between_the_limits_is_left_as_it_is() -> None:
    assert asked([30.0, 30.0, 90.0, 150.0, 90.0]) == [0.5, 1.0]


def test_without_a_face_for_some_seconds_the_camera_is_left_alone() -> None:
    gone: list[float | None] = [None] * (int(ALONE_S) + 2)
    assert asked([30.0, *gone[:3], 90.0]) == [0.5]
    assert asked([30.0, *gone]) == [0.5, 0.0]
    assert asked(gone) == []


class Capture:
    """A double of `cv2.VideoCapture` over V4L2: what a driver knows, and what it was set to."""

    def __init__(self, known: dict[int, float]) -> None:
        self.known, self.log = dict(known), []

    def get(self, key: int) -> float:
        return self.known.get(key, 0.0)

    def set(self, key: int, value: float) -> bool:
        self.log.append((key, value))
        if key in self.known:
            self.known[key] = value
        return key in self.known

    def release(self) -> None:
        self.log.append("release")


def v4l2(known: dict[int, float]) -> tuple[OpenCVCamera, Opened, Capture]:
    camera = OpenCVCamera(source=0, width=64, height=48, stall_timeout_s=1.0, capture=Capture)
    capture = Capture(known)
    return camera, Opened(capture, 0.0, 0.0), capture


KNOWN = {cv2.CAP_PROP_AUTO_EXPOSURE: AUTOMATIC, cv2.CAP_PROP_EXPOSURE: 100.0}


def test_a_v4l2_camera_is_exposed_by_hand_and_meters_by_itself_again_in_the_end() -> None:
    camera, device, capture = v4l2(KNOWN)
    camera.expose_device(device, 0.5)
    camera.expose_device(device, 1.0)
    assert capture.known == {cv2.CAP_PROP_AUTO_EXPOSURE: MANUAL, cv2.CAP_PROP_EXPOSURE: 200.0}
    camera.expose_device(device, 2.0)
    assert capture.known[cv2.CAP_PROP_EXPOSURE] == LONGEST_EXPOSURE
    camera.expose_device(device, -1.0)
    assert capture.known[cv2.CAP_PROP_EXPOSURE] == 50.0
    camera.release_device(device)
    assert capture.log[-2:] == [(cv2.CAP_PROP_AUTO_EXPOSURE, AUTOMATIC), "release"]


def test_a_v4l2_camera_is_left_alone_again_without_a_face() -> None:
    camera, device, capture = v4l2(KNOWN)
    camera.expose_device(device, 0.5)
    camera.expose_device(device, 0.0)
    assert capture.known[cv2.CAP_PROP_AUTO_EXPOSURE] == AUTOMATIC


@pytest.mark.parametrize(
    "known",
    [
        {},  # a network stream
        {cv2.CAP_PROP_AUTO_EXPOSURE: MANUAL, cv2.CAP_PROP_EXPOSURE: 100.0},  # its owner exposes by hand
        {cv2.CAP_PROP_AUTO_EXPOSURE: AUTOMATIC},  # tells no time
    ],
)
def test_a_driver_that_knows_no_such_thing_is_not_touched(known: dict[int, float]) -> None:
    camera, device, capture = v4l2(known)
    camera.expose_device(device, 1.0)
    camera.release_device(device)
    assert capture.log == ["release"]


def pi_asked(controls: dict[str, Any], known: dict[str, Any], stops: float) -> list[dict[str, float]]:
    """Return the controls that a Raspberry Pi camera is set to."""
    camera = Picamera2Camera(
        index=0, width=64, height=48, stall_timeout_s=1.0, controls=controls, module=SimpleNamespace()
    )
    set_to: list[dict[str, float]] = []
    device = SimpleNamespace(camera_controls=MappingProxyType(known), set_controls=set_to.append)
    camera.expose_device(device, stops)
    return set_to


def test_a_raspberry_pi_camera_gets_its_exposure_compensation_within_its_bounds() -> None:
    known = {"ExposureValue": (-8.0, 8.0, 0.0)}
    assert pi_asked({}, known, 1.5) == [{"ExposureValue": 1.5}]
    assert pi_asked({"AfMode": 2}, {"ExposureValue": (-1.0, 1.0, 0.0)}, 1.5) == [{"ExposureValue": 1.0}]
    assert pi_asked({}, {"AfMode": (0, 2, 0)}, 1.5) == []


def test_an_owner_who_sets_the_exposure_keeps_it() -> None:
    known = {"ExposureValue": (-8.0, 8.0, 0.0), "ExposureTime": (1, 66666, 0)}
    assert pi_asked({"ExposureTime": 8000}, known, 1.5) == []


def test_the_reader_asks_the_device_once_before_the_next_frame() -> None:
    class Filmed(OpenCVCamera):
        wishes: list[float] = []  # noqa: RUF012

        def open_device(self) -> Any:
            return Opened(Capture({}), 0.0, 0.0)

        def read_device(self, device: Any) -> Any:
            return np.zeros((4, 4, 3), np.uint8), 0.0

        def expose_device(self, device: Any, stops: float) -> None:
            self.wishes.append(stops)

    camera = Filmed(source=0, width=64, height=48, stall_timeout_s=1.0, capture=Capture)
    frames = camera.frames()
    next(frames)
    TurnedCamera(camera, rotation_deg=90, mirror=False).expose(0.5)
    for _ in range(3):
        next(frames)
    camera.close()
    assert camera.wishes == [0.5]


def test_the_configuration_can_leave_the_exposure_to_the_camera(tmp_path: Any) -> None:
    camera = OpenCVCamera(source=0, width=64, height=48, stall_timeout_s=1.0, capture=Capture)
    assert isinstance(build_meter(Config(), camera), FaceMeter)
    assert isinstance(build_meter(Config(camera=CameraConfig(meter=False)), camera), NoMeter)
