"""A clip: a video file, each frame once, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from device.address import mask_address
from device.errors import CameraError
from device.types import Frame
from device.vision.camera.pixels import silence_opencv, to_rgb


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
