"""Cameras: picamera2, OpenCV (index, /dev/videoN, RTSP) and clips, each giving its newest RGB frame.

A live camera is opened, read and released by one thread of its own, which keeps a single frame and drops the
older one; so a slow consumer never sees the past, and a read that hangs hangs nobody else. No new frame for
`stall_timeout_s` is `CameraLost`; calling `frames()` again opens the camera anew, in the same process. A clip
gives each of its frames once, in order, and ends.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import CameraError, CameraLost, is_out_of_memory
from device.paths import expand
from device.types import Frame, Image

OPENING_FACTOR = 3  # a camera may take this many stall timeouts to open and give its first frame
CLOSE_WAIT_S = 1.0  # close() waits this long for the reader, then leaves it to its fate
RETRY_S = 0.02  # between two reads that gave nothing
MAX_HUNG_READERS = 3  # threads that never came back from a driver; more would only pile up
PICAMERA2_FORMAT = "BGR888"  # libcamera names the bits of a little-endian word: in memory this is R, G, B

Shot = tuple[Image, float]  # RGB image and the monotonic second it was taken


class LiveCamera(ABC):
    """Newest frame of a device; subclasses open, read and release it, all in the reader's thread."""

    live = True  # frames are taken now; a frame's age is real

    def __init__(self, *, name: str, stall_timeout_s: float) -> None:
        self.name = name
        self.stall_timeout_s = stall_timeout_s
        self._reader: _Reader | None = None
        self._hung: list[_Reader] = []

    @abstractmethod
    def open_device(self) -> Any:
        """Open the camera; raise CameraLost when a later try may help, CameraError when not."""

    @abstractmethod
    def read_device(self, device: Any) -> Shot | None:
        """Take the next frame; None when there was none this time."""

    @abstractmethod
    def release_device(self, device: Any) -> None:
        """Give the camera back."""

    def frames(self) -> Iterator[Frame]:
        """Open the camera and yield the newest frame each time, until close(); raise CameraLost when it
        fails."""
        self.close()
        self._hung = [reader for reader in self._hung if reader.is_alive()]
        if len(self._hung) >= MAX_HUNG_READERS:
            raise CameraLost(
                f"camera {self.name}: {len(self._hung)} earlier reads still hang: unplug and replug it"
            )
        self._reader = reader = _Reader(self)
        reader.start()
        index = 0
        patience_s = self.stall_timeout_s * OPENING_FACTOR
        try:
            while (shot := reader.newest(patience_s)) is not None:
                yield Frame(shot[0], shot[1], index)
                index += 1
                patience_s = self.stall_timeout_s
        finally:
            reader.stop(0.0)  # lost: the reader releases the device as soon as its driver lets it

    def close(self) -> None:
        """Stop reading; never hangs, even where the driver does."""
        reader, self._reader = self._reader, None
        if reader is not None and not reader.stop(CLOSE_WAIT_S):
            self._hung.append(reader)


class _Reader(threading.Thread):
    """The one thread that touches a device, and the slot with its newest frame."""

    def __init__(self, camera: LiveCamera) -> None:
        super().__init__(name=f"camera {camera.name}", daemon=True)
        self._camera = camera
        self._changed = threading.Condition()
        self._shot: Shot | None = None
        self._arrived_s = time.monotonic()
        self._failure: Exception | None = None
        self._stopped = False

    def run(self) -> None:
        device = None
        try:
            device = self._camera.open_device()
            while not self._stopped:
                self._take(device)
        except CameraError as error:
            self._fail(error)
        except Exception as error:  # whatever a driver throws
            text = f"camera {self._camera.name}: {_one_line(error)}: check cable and power"
            # no cable helps where memory ran out: that ends the program
            self._fail(error if is_out_of_memory(error) else CameraLost(text))
        finally:
            if device is not None:
                with contextlib.suppress(Exception):
                    self._camera.release_device(device)

    def newest(self, patience_s: float) -> Shot | None:
        """Wait for a frame not yet seen; None after stop(); raise what the reader met, or CameraLost."""
        with self._changed:
            while not self._stopped:
                shot, self._shot = self._shot, None
                if shot is not None:
                    return shot
                if self._failure is not None:
                    raise self._failure
                left_s = self._arrived_s + patience_s - time.monotonic()
                if left_s <= 0:
                    raise CameraLost(
                        f"camera {self._camera.name}: no frame for {patience_s:g} s: check cable and power"
                    )
                self._changed.wait(left_s)
        return None

    def stop(self, wait_s: float) -> bool:
        """End the thread; False when it has not ended within `wait_s`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.join(wait_s)
        return not self.is_alive()

    def _take(self, device: Any) -> None:
        shot = self._camera.read_device(device)
        if shot is None:
            time.sleep(RETRY_S)
            return
        with self._changed:
            self._shot = shot
            self._arrived_s = time.monotonic()
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


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
            capture = self._capture(self._source, cv2.CAP_FFMPEG, limits)
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
                    f"camera picamera2: {_one_line(error)}: apt install python3-picamera2, in a venv with "
                    "--system-site-packages"
                ) from error
        self._module = module
        self._index = index
        self._size = (width, height)
        # TOML has no tuples and libcamera takes nothing else for pairs such as FrameDurationLimits
        self._controls = {k: tuple(v) if isinstance(v, list) else v for k, v in controls.items()}

    def open_device(self) -> Any:
        try:
            camera = self._module.Picamera2(self._index)
        except (RuntimeError, IndexError) as error:
            raise CameraLost(
                f"camera {self.name}: {_one_line(error)}: check cable and other users"
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
        wanted = {"size": self._size, "format": PICAMERA2_FORMAT}
        # queue=False: each request is a frame taken after it was asked for
        camera.configure(camera.create_video_configuration(main=wanted, controls=self._controls, queue=False))
        received = camera.camera_configuration()["main"]["format"]
        if received != PICAMERA2_FORMAT:
            raise CameraError(
                f"camera {self.name}: gives {received}, expected {PICAMERA2_FORMAT}: set camera.source "
                "to its /dev/videoN if it is a USB camera"
            )
        camera.start()

    def read_device(self, device: Any) -> Shot | None:
        # a context manager, because the buffer must go back to libcamera whatever happens
        with device.captured_request(wait=self.stall_timeout_s) as request:
            image = request.make_array("main")  # a copy: the frame outlives the buffer
            sensor_ns = request.get_metadata().get("SensorTimestamp")
        return to_rgb(image, order="RGB"), sensor_time_s(sensor_ns)

    def release_device(self, device: Any) -> None:
        device.close()


class ClipCamera:
    """A video file: each frame once, in order, then the end.

    `captured_at_s` is the frame's own time in the clip, added to the monotonic second of the start; so
    whoever plays a clip faster or slower than life must take a frame's `captured_at_s` for now (`live` is
    False).

    Args:
        path: the file.
        paced: wait for each frame's time, as a camera would.
    """

    live = False

    def __init__(self, *, path: Path, paced: bool) -> None:
        silence_opencv()
        self.name = mask_address(str(path))  # a mistyped address ends up here
        try:
            is_file = path.is_file()
        except OSError as error:  # a name too long, a folder that this user may not enter
            raise CameraError(f"camera {self.name}: {error.strerror}: check camera.source") from None
        if not is_file:
            raise CameraError(
                f"camera {self.name}: no such file: expected a clip, an index, /dev/videoN or rtsp://"
            )
        if path.stat().st_size == 0:
            raise CameraError(f"camera {self.name}: the file is empty: expected a clip such as .mp4 or .avi")
        self._path = path
        self._paced = paced
        self._closed = threading.Event()
        self._release_clip(
            self._open_clip()
        )  # a file that is no clip fails now, not after the networks are loaded

    def frames(self) -> Iterator[Frame]:
        """Yield the frames from the first on; raise CameraError when the file holds none."""
        self._closed.clear()
        clip = self._open_clip()
        try:
            yield from self._play(clip)
        finally:
            self._release_clip(clip)

    def close(self) -> None:
        """End the running iteration at its next frame."""
        self._closed.set()

    def _play(self, clip: Any) -> Iterator[Frame]:
        started_s = time.monotonic()
        step_s = 1 / (clip.get(cv2.CAP_PROP_FPS) or 25.0)
        index, position_s = 0, -step_s
        while not self._closed.is_set():
            good, image = clip.read()
            if not good or image is None:
                break
            told_s = clip.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # some containers tell no times: the frame rate does, and time never stands still
            position_s = told_s if told_s > position_s and (told_s > 0 or index == 0) else position_s + step_s
            if self._paced and self._closed.wait(max(0.0, started_s + position_s - time.monotonic())):
                return
            yield Frame(to_rgb(image), started_s + position_s, index)
            index += 1
        if index == 0 and not self._closed.is_set():
            raise CameraError(f"camera {self.name}: no picture in this file: expected a clip with frames")

    def _open_clip(self) -> Any:
        # an absolute path is never taken for a device, an address or an option
        clip = cv2.VideoCapture(str(self._path.resolve()))
        if not clip.isOpened():
            clip.release()
            raise CameraError(f"camera {self.name}: not a video: expected a clip such as .mp4 or .avi")
        return clip

    def _release_clip(self, clip: Any) -> None:
        clip.release()


def open_camera(
    source: int | str,
    *,
    width: int,
    height: int,
    stall_timeout_s: float,
    controls: dict[str, Any],
    paced: bool,
) -> LiveCamera | ClipCamera:
    """Pick the adapter for a source: `auto`, `picamera2`, `picamera2:1`, an index, a device, a file or an
    address.

    Live cameras open their device at the first frame, not here. `controls` are for picamera2, `paced` for
    files.
    """
    text = str(source)
    if text == "auto":
        text = "picamera2" if importlib.util.find_spec("picamera2") else "0"
    if match := re.fullmatch(r"picamera2(?::(\d+))?", text):
        return Picamera2Camera(
            index=int(match[1] or 0),
            width=width,
            height=height,
            stall_timeout_s=stall_timeout_s,
            controls=controls,
        )
    is_device = text.startswith("/dev/") and not Path(text).is_file()  # /dev/shm may hold clips
    if text.isdecimal() or is_device or is_address(text):
        device = int(text) if text.isdecimal() else text
        return OpenCVCamera(source=device, width=width, height=height, stall_timeout_s=stall_timeout_s)
    return ClipCamera(path=expand(text), paced=paced)


def to_rgb(image: npt.NDArray[Any], order: str = "BGR") -> Image:
    """Return an (H, W, 3) uint8 RGB image from gray, gray with one channel, BGR or BGRA (RGB, RGBA:
    `order`)."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise CameraError(
            f"camera gives {image.shape} {image.dtype}, expected (H, W, 3) uint8: change its mode"
        )
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]
    if channels not in (3, 4):
        raise CameraError(f"camera gives {channels} channels, expected 1, 3 or 4: change its mode")
    if order == "RGB":
        return np.ascontiguousarray(image[:, :, :3])
    code = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGB
    return cv2.cvtColor(image, code)  # type: ignore[return-value]


def sensor_time_s(sensor_ns: int | None) -> float:
    """Convert libcamera's SensorTimestamp (CLOCK_BOOTTIME, ns) to monotonic seconds; None or the future is
    now."""
    now_s = time.monotonic()
    if not sensor_ns:
        return now_s
    # boot time runs on while the board sleeps, monotonic time does not: their difference is not constant
    asleep_s = time.clock_gettime(time.CLOCK_BOOTTIME) - now_s
    return min(now_s, sensor_ns / 1e9 - asleep_s)


def is_address(source: int | str) -> bool:
    """Say whether a source is a network address."""
    return isinstance(source, str) and "://" in source and not source.startswith("file:")


def mask_address(source: int | str) -> str:
    """Return a source as it may be printed: without user, password, query and line breaks."""
    text = re.sub(r"(\w:/*).*@", r"\1***@", str(source), flags=re.DOTALL)  # rtsp:/ and rtsp: are typed too
    text = re.sub(r"\?.*", "?***", text, flags=re.DOTALL) if ":" in text else text
    return " ".join(text.split())


def silence_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr: what matters is an error of our own, in one line."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; FFmpeg would print whole addresses
    with contextlib.suppress(AttributeError):  # builds without the logging module
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"(\w:/*)\S*@", r"\1***@", text)[:200]
