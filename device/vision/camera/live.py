"""A live camera: one thread opens, reads and releases the device, and keeps the newest frame only.

A slow consumer always gets the newest frame, and a hanging read blocks only its own thread. No new frame for
`stall_timeout_s` is `CameraLost`; calling `frames()` again opens the camera anew, in the same process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from device.address import one_line
from device.errors import CameraError, CameraLost, is_out_of_memory
from device.types import Frame, Image

OPENING_FACTOR = 3  # a camera may take this many stall timeouts to open and give its first frame
CLOSE_WAIT_S = 1.0  # close() waits this long for the reader, then leaves it to its fate
RETRY_S = 0.02  # between two reads that gave nothing
MAX_HUNG_READERS = 3  # threads that never came back from a driver; more would only pile up

Shot = tuple[Image, float]  # RGB image and the monotonic second it was taken


class LiveCamera(ABC):
    """Newest frame of a device; subclasses open, read and release it, all in the reader's thread."""

    live = True  # frames are taken now; a frame's age is real

    def __init__(self, *, name: str, stall_timeout_s: float) -> None:
        self.name = name
        self.stall_timeout_s = stall_timeout_s
        self._reader: _Reader | None = None
        self._hung: list[_Reader] = []
        self.stops = 0.0  # of exposure that are asked for, more than the camera would take by itself

    @abstractmethod
    def open_device(self) -> Any:
        """Open the camera; raise CameraLost when a later try may help, CameraError when not."""

    @abstractmethod
    def read_device(self, device: Any) -> Shot | None:
        """Take the next frame; None when there was none this time."""

    @abstractmethod
    def release_device(self, device: Any) -> None:
        """Give the camera back."""

    def expose_device(self, device: Any, stops: float) -> None:  # noqa: B027
        """Ask a device for more or less light than it would take by itself; by default it takes no wish."""

    def expose(self, stops: float) -> None:
        """Ask for so many stops more, less below 0, from the next frame on; 0 leaves the camera alone."""
        self.stops = stops

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
        self._stops = 0.0  # a device that was opened anew meters by itself

    def run(self) -> None:
        device = None
        try:
            device = self._camera.open_device()
            while not self._stopped:
                self._expose(device)
                self._take(device)
        except CameraError as error:
            self._fail(error)
        except Exception as error:  # whatever a driver throws
            text = f"camera {self._camera.name}: {one_line(error)}: check cable and power"
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

    def _expose(self, device: Any) -> None:
        wanted = self._camera.stops
        if wanted != self._stops:
            self._stops = wanted
            self._camera.expose_device(device, wanted)

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
