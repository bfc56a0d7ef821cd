"""Cameras through OpenCV: an index, /dev/videoN, or a network stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2

from device.address import encode_address, has_own_time, is_address, mask_address
from device.errors import CameraLost
from device.vision.camera.live import OPENING_FACTOR, LiveCamera, Shot
from device.vision.camera.pixels import silence_opencv, to_rgb
from device.vision.camera.stream_time import DeviceClock, StreamClock, TimeJumped

AWAITED_S = 0.005  # a frame that took less to come lay in a buffer
DRAIN_STEPS = 100  # frames that are thrown away at once
LATE_S = (
    1.0  # a stream whose frames stay later than this for a stall timeout is opened anew, without its backlog
)
AUTOMATIC, MANUAL = 3, 1  # V4L2_EXPOSURE_APERTURE_PRIORITY, V4L2_EXPOSURE_MANUAL
LONGEST_EXPOSURE = 330.0  # in V4L2's 100 microseconds: hardly less than 1/30 s
CHECK = {
    False: "check that it is there, and that no other program has it (a running door: sudo systemctl stop face-unlock)",
    True: "check the address and its login, and that the camera allows one more viewer",
}


@dataclass
class Opened:
    """One opening of a device.

    `in_time_s` is when the last frame that was not late came; `own_exposure` the time that the device took by itself
    before it was asked for another, None while it takes its own.
    """

    capture: Any
    opened_s: float
    in_time_s: float
    was_awaited: bool = False
    clock: StreamClock = field(default_factory=StreamClock)
    driver: DeviceClock = field(default_factory=DeviceClock)
    own_exposure: float | None = None


def let_it_meter(device: Opened) -> None:
    """Give the exposure back to a device from which it was taken: it keeps it over a restart of the program."""
    if device.own_exposure is not None:
        device.own_exposure = None
        device.capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, AUTOMATIC)


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

    def open_device(self) -> Opened:
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
            raise CameraLost(f"camera {self.name}: cannot be opened: {CHECK[is_address(self._source)]}")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver knows it: no queue of old frames
        now_s = time.monotonic()
        return Opened(capture, now_s, now_s)

    def read_device(self, device: Opened) -> Shot | None:
        capture = device.capture
        for _ in range(DRAIN_STEPS):
            begun_s = time.monotonic()
            if not capture.grab():
                return None
            arrived_s = (
                time.monotonic()
            )  # before the pixels are converted: a frame's age starts at the sensor
            taken_s = self._taken_s(device, begun_s, arrived_s)
            if taken_s is not None:
                good, image = capture.retrieve()
                return (to_rgb(image), taken_s) if good and image is not None else None
        return None

    def expose_device(self, device: Opened, stops: float) -> None:
        """Set the exposure time of a device that knows automatic and manual exposure; leave every other alone.

        What it took by itself counts as 0 stops. The time stays within a frame's, so that the picture does not stutter.
        """
        if stops == 0:
            let_it_meter(device)
            return
        capture = device.capture
        if device.own_exposure is None:
            own = capture.get(cv2.CAP_PROP_EXPOSURE)
            if capture.get(cv2.CAP_PROP_AUTO_EXPOSURE) != AUTOMATIC or not own > 0:
                return
            if not capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL):
                return
            device.own_exposure = own
        longest = max(LONGEST_EXPOSURE, device.own_exposure)
        capture.set(cv2.CAP_PROP_EXPOSURE, min(longest, max(1.0, device.own_exposure * 2**stops)))

    def release_device(self, device: Opened) -> None:
        let_it_meter(device)
        device.capture.release()

    def _taken_s(self, device: Opened, begun_s: float, arrived_s: float) -> float | None:
        """Return when the frame at hand was taken; None for one that lay in a buffer when the stream was opened."""
        own_s = device.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not is_address(self._source):
            return device.driver.taken_s(own_s, arrived_s)
        is_draining = arrived_s - device.opened_s < self.stall_timeout_s
        if not has_own_time(str(self._source)):
            device.was_awaited |= arrived_s - begun_s >= AWAITED_S
            return None if is_draining and not device.was_awaited else arrived_s
        try:
            taken_s = device.clock.taken_s(own_s, arrived_s)
        except TimeJumped as jump:
            raise CameraLost(
                f"camera {self.name}: the stream's time jumped {jump}: opening it anew"
            ) from None
        if is_draining and device.clock.is_catching_up:
            return None
        if arrived_s - taken_s < LATE_S:
            device.in_time_s = arrived_s
        elif arrived_s - device.in_time_s > self.stall_timeout_s:
            raise CameraLost(
                f"camera {self.name}: its frames come {arrived_s - taken_s:.1f} s late: opening it anew; "
                "if it stays so, take a smaller picture or fewer frames"
            )
        return taken_s
