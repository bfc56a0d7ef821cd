"""A Raspberry Pi camera, through picamera2."""

from __future__ import annotations

import contextlib
import difflib
import time
from typing import Any

from device.address import one_line
from device.errors import CameraError, CameraLost
from device.vision.camera.live import LiveCamera, Shot
from device.vision.camera.pixels import FORMATS, rgb_of_buffer

WANTED_FORMAT = "BGR888"  # needs no conversion; a camera that cannot give it says what it gives instead

# Controls by which an owner has taken the exposure into their own hands.
OWN_EXPOSURE = {
    "AeEnable",
    "AnalogueGain",
    "ExposureTime",
    "ExposureTimeMode",
    "AnalogueGainMode",
    "ExposureValue",
}


class Picamera2Camera(LiveCamera):
    """A Raspberry Pi camera through picamera2, in libcamera's own buffers.

    Tests run it on a double with picamera2's surface (its source, version 0.3.38, was read for it); it was
    not run on a Raspberry Pi.

    Args:
        index: number of the camera, as `rpicam-hello --list-cameras` shows it.
        width, height: px.
        stall_timeout_s: no new frame for this long is CameraLost.
        controls: libcamera controls by name, such as `{"AfMode": 2}`; handed on as they are.
        module: picamera2; None imports it.
    """

    def __init__(
        self,
        *,
        index: int,
        width: int,
        height: int,
        stall_timeout_s: float,
        controls: dict[str, Any],
        module: Any = None,
    ) -> None:
        super().__init__(name=f"picamera2:{index}", stall_timeout_s=stall_timeout_s)
        if module is None:
            try:
                import picamera2 as module  # type: ignore[import-not-found,no-redef]
            except Exception as error:  # ImportError, or ValueError of a library built for another numpy
                raise CameraError(
                    f"camera picamera2: {one_line(error)}: apt install python3-picamera2, in a venv with "
                    "--system-site-packages"
                ) from error
        self._module = module
        self._index = index
        self._size = (width, height)
        self._given = (WANTED_FORMAT, (width, height), 3 * width)  # format, size and bytes a row
        # TOML has no tuples and libcamera takes nothing else for pairs such as FrameDurationLimits
        self._controls = {k: tuple(v) if isinstance(v, list) else v for k, v in controls.items()}

    def open_device(self) -> Any:
        try:
            camera = self._module.Picamera2(self._index)
        except (RuntimeError, IndexError) as error:
            raise CameraLost(
                f"camera {self.name}: {one_line(error)}: check the cable, and that no other program has it (a running "
                "door: sudo systemctl stop face-unlock)"
            ) from error
        try:
            self._configure(camera)
        except BaseException:
            with contextlib.suppress(Exception):
                camera.close()
            raise
        return camera

    def _configure(self, camera: Any) -> None:
        for name in self._controls:
            if name not in camera.camera_controls:
                near = difflib.get_close_matches(name, list(camera.camera_controls), n=1, cutoff=0)
                raise CameraError(
                    f"camera.controls.{name}: this camera has no such control: did you mean {near[0]!r}?"
                    if near
                    else f"camera.controls.{name}: this camera has no controls: remove the key"
                )
        wanted = {"size": self._size, "format": WANTED_FORMAT}
        # queue=False: each request is a frame taken after it was asked for
        camera.configure(camera.create_video_configuration(main=wanted, controls=self._controls, queue=False))
        given = camera.camera_configuration()["main"]
        if given["format"] not in FORMATS:
            raise CameraError(
                f"camera {self.name}: gives {given['format']}, expected one of {', '.join(FORMATS)}: set camera.source "
                "to its /dev/videoN if it is a USB camera"
            )
        self._given = str(given["format"]), tuple(given["size"]), int(given["stride"])
        camera.start()

    def expose_device(self, device: Any, stops: float) -> None:
        """Set the exposure compensation, where the camera has one and `camera.controls` says nothing of exposure."""
        if OWN_EXPOSURE & set(self._controls) or "ExposureValue" not in device.camera_controls:
            return
        least, most = device.camera_controls["ExposureValue"][:2]
        device.set_controls({"ExposureValue": min(most, max(least, stops))})

    def read_device(self, device: Any) -> Shot | None:
        # a context manager, because the buffer must go back to libcamera whatever happens
        with device.captured_request(wait=self.stall_timeout_s) as request:
            buffer = request.make_buffer("main")  # a copy: the frame outlives the buffer
            sensor_ns = request.get_metadata().get("SensorTimestamp")
        kind, size, stride = self._given
        return rgb_of_buffer(buffer, kind, size, stride), sensor_time_s(sensor_ns)

    def release_device(self, device: Any) -> None:
        device.close()


def sensor_time_s(sensor_ns: int | None) -> float:
    """Convert libcamera's SensorTimestamp (CLOCK_BOOTTIME, ns) to monotonic seconds; None or the future is
    now."""
    now_s = time.monotonic()
    if not sensor_ns:
        return now_s
    # boot time runs on while the board sleeps, monotonic time does not: their difference is not constant
    asleep_s = time.clock_gettime(time.CLOCK_BOOTTIME) - now_s
    return min(now_s, sensor_ns / 1e9 - asleep_s)
