"""Cameras through OpenCV: an index, /dev/videoN, or a network stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2

from device.errors import CameraLost
from device.vision.camera.address import encode_address, is_address, mask_address
from device.vision.camera.live import OPENING_FACTOR, LiveCamera, Shot
from device.vision.camera.pixels import silence_opencv, to_rgb


class OpenCVCamera(LiveCamera):
    """A camera through OpenCV.

    Tests run it on a double of `cv2.VideoCapture`; on a real camera or RTSP server it was not run.

    Args:
        source: index, `/dev/videoN` or an address such as `rtsp://host/stream`.
        width, height: px, asked of a device; a network stream keeps its own size.
        stall_timeout_s: no new frame for this long is CameraLost.
        capture: makes the capture; None is `cv2.VideoCapture`.
    """

    def __init__(
        self,
        *,
        source: int | str,
        width: int,
        height: int,
        stall_timeout_s: float,
        capture: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(name=mask_address(source), stall_timeout_s=stall_timeout_s)
        self._source = source
        self._size = (width, height)
        self._capture = capture or cv2.VideoCapture
        silence_opencv()

    def open_device(self) -> Any:
        if is_address(self._source):
            timeout_ms = int(self.stall_timeout_s * 1000)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms * OPENING_FACTOR]
            limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
            capture = self._capture(encode_address(str(self._source)), cv2.CAP_FFMPEG, limits)
        else:
            capture = self._capture(self._source)
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        if not capture.isOpened():
            capture.release()
            raise CameraLost(f"camera {self.name}: cannot be opened: check that it is there and not in use")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver knows it: no queue of old frames
        return capture

    def read_device(self, device: Any) -> Shot | None:
        if not device.grab():
            return None
        taken_s = time.monotonic()  # before the decoding: the age of a frame starts at the sensor
        good, image = device.retrieve()
        return (to_rgb(image), taken_s) if good and image is not None else None

    def release_device(self, device: Any) -> None:
        device.release()
