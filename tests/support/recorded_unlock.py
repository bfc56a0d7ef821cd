"""Run unlock.py, or the relock, on mock pins that write each of their states into a file:

    python -m tests.support.recorded_unlock PINS unlock [arguments of unlock.py]
    python -m tests.support.recorded_unlock PINS relock [arguments of device.lock.relock]

Like a Raspberry Pi's, such a pin keeps its level when the process dies: the next one finds the file's last state.
What goes wrong is asked for by the environment: `FAIL_AFTER_GRANT=1` raises in the frame after the grant, in the middle
of the pulse; `STUCK_OPEN=1` never lets a pin fall again; `SIGTERM_IN_DEL=1` sends it where Python swallows exceptions;
`NOHUP=1` ignores SIGHUP as nohup does; `CAMERA="skip:20 frozen:60 clip:30"` lets the clip count as a camera with 15
frames a second: so many are left out, repeat the one before, or are shown, and `covered:30` shows a covered lens;
`NO_MEMORY_AFTER_GRANT` leaves the process no more memory than it has in the frame after the grant, and lets `numpy` or
`opencv` ask for more, or takes `all` that is left; `REMOTE=1` drives no pin, but asks the lock process;
`JUMP_S` sets the clock by so many seconds after the first frame.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpiozero.pins.mock import MockFactory, MockPin

Handle = Callable[..., Any]
PINS = Path(sys.argv[1])


class FilePin(MockPin):
    """A mock pin whose waveform survives the process."""

    def __init__(self, factory: Any, info: Any) -> None:
        super().__init__(factory, info)
        if PINS.exists() and (lines := PINS.read_text().splitlines()):
            self._state = lines[-1].endswith("1")

    def _change_state(self, value: Any) -> Any:
        if os.environ.get("STUCK_OPEN") and self._state and not value:
            return False
        changed = super()._change_state(value)
        if changed:
            with PINS.open("a") as file:
                file.write(f"{time.monotonic():.4f} {int(value)}\n")
        return changed


def failing_after_grant(handle: Handle) -> Handle:
    """Break the loop in the frame after the first grant."""
    granted: list[int] = []

    def handle_or_fail(*arguments: Any) -> Any:
        if granted:
            raise RuntimeError("the test's own fault in mid-pulse")
        decision = handle(*arguments)
        granted.extend([1] * decision.granted)
        return decision

    return handle_or_fail


def with_sigterm_in_del(handle: Handle) -> Handle:
    """Send SIGTERM from a __del__ in each frame, as often as MediaPipe's images have one."""

    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # the handler runs in here

    return lambda *arguments: (Dying(), handle(*arguments))[1]


def without_memory_after_grant(handle: Handle) -> Handle:
    """Let memory run out in the frame after the first grant."""
    import resource

    import cv2
    import numpy as np

    def starve() -> Any:
        resource.setrlimit(resource.RLIMIT_AS, (taken_bytes(), resource.RLIM_INFINITY))
        what = os.environ["NO_MEMORY_AFTER_GRANT"]
        if what == "numpy":
            np.zeros((20_000, 20_000, 3), np.uint8)
        if what == "opencv":
            cv2.resize(np.zeros((8, 8, 3), np.uint8), (20_000, 20_000))
        return hoard()

    granted: list[int] = []
    held: list[Any] = []

    def handle_or_starve(*arguments: Any) -> Any:
        if granted and not held:
            held.extend(starve())
        decision = handle(*arguments)
        granted.extend([1] * decision.granted)
        return decision

    return handle_or_starve


def with_set_clock(handle: Handle, jump_s: float) -> Handle:
    """Set the wall clock after the first frame."""
    seen: list[int] = []

    def handled(frame: Any, device: Any, now_s: float) -> Any:
        device.clock._wall_s = lambda: time.time() + (jump_s if seen else 0)
        decision = handle(frame, device, now_s)
        seen.append(1)
        return decision

    return handled


def hoard() -> Any:
    """Take what the process still has at hand, down to pieces of 128 kB: less than a frame needs."""
    for size in (1 << 24, 1 << 20, 1 << 17):
        try:
            while True:
                yield bytearray(size)
        except MemoryError:
            continue


def taken_bytes() -> int:
    """Return the size of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def film_live(script: str) -> Callable[[Any], Any]:
    """Return what opens the clip as a live camera that does what the script says."""
    import numpy as np

    from device.build import build_camera
    from device.types import Frame

    class Camera:
        live = True

        def __init__(self, clip: Any) -> None:
            self.name, self._clip = clip.name, clip
            self._images = self._play()  # goes on where it was when the camera is opened anew

        def frames(self) -> Any:
            for index, image in enumerate(self._images):
                yield Frame(image, time.monotonic(), index)
                time.sleep(1 / 15)

        def close(self) -> None: ...

        def _play(self) -> Any:
            self._clip._paced = False
            clip, random = self._clip.frames(), np.random.default_rng(0)
            shown = None
            for step in script.split():
                kind, count = step.split(":")
                for _ in range(int(count)):
                    if kind in ("clip", "skip"):
                        shown = next(clip).image
                    if kind == "covered":
                        yield random.integers(0, 6, (480, 640, 3), np.uint8)
                    elif kind != "skip":
                        yield shown.copy()

    return lambda config: Camera(build_camera(config))


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN if os.environ.get("NOHUP") else signal.SIG_DFL)
    os.environ.setdefault(
        "RUNTIME_DIRECTORY", str(PINS.resolve().parent)
    )  # never the record of this machine's door
    factory = MockFactory(pin_class=FilePin)
    if sys.argv[2] == "relock":
        from device.lock.relock import main

        sys.exit(main(sys.argv[3:], pin_factory=factory))
    import unlock
    from device.build import build_camera
    from device.pipeline import handle_frame

    handle: Handle = handle_frame
    if os.environ.get("FAIL_AFTER_GRANT"):
        handle = failing_after_grant(handle)
    if os.environ.get("SIGTERM_IN_DEL"):
        handle = with_sigterm_in_del(handle)
    if os.environ.get("NO_MEMORY_AFTER_GRANT"):
        handle = without_memory_after_grant(handle)
    if os.environ.get("JUMP_S"):
        handle = with_set_clock(handle, float(os.environ["JUMP_S"]))
    film = os.environ.get("CAMERA")
    sys.exit(
        unlock.main(
            sys.argv[3:],
            pin_factory=None if os.environ.get("REMOTE") else factory,
            open_camera=film_live(film) if film else build_camera,
            handle=handle,
        )
    )
