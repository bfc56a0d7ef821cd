"""Run the real programs on pins that are a file, for the proof and for tests:

    python scripts/stage/mock_pins.py FOLDER lockd  [arguments of device.lockd]
    python scripts/stage/mock_pins.py FOLDER relock [arguments of device.lock.relock]
    python scripts/stage/mock_pins.py FOLDER unlock [arguments of unlock.py]  a clip is played as if it were a camera,
                                             pulled while FOLDER/camera_pulled is there, hung while camera_hangs is
    python scripts/stage/mock_pins.py FOLDER visit  SOCKET                         a recognizer without a camera

Like a Raspberry Pi's, such a pin keeps its level when its process dies, and the next process finds it so. Each change
is a record of FOLDER/gpioNN.trace, in shared memory of the file: neither SIGKILL nor a full disk can lose one. An input
reads FOLDER/gpioNN.level (`0` or `1`), follows its pull resistor where that is absent, and counts how often it is
looked at in FOLDER/gpioNN.looks. The product itself has no
such switch: the pins are handed to `main()`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

RECORD = struct.Struct("<dI4x")
COUNT = struct.Struct("<Q")
SIZE_BYTES = 1 << 20


class Trace:
    """All changes of one pin, shared by whoever opens the file."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(SIZE_BYTES)
            self._memory = mmap.mmap(file.fileno(), SIZE_BYTES)

    def __len__(self) -> int:
        return int(COUNT.unpack_from(self._memory, 0)[0])

    def append(self, level: bool) -> None:
        """Write the record first, then that it counts."""
        number = len(self)
        RECORD.pack_into(self._memory, COUNT.size + number * RECORD.size, time.monotonic(), level)
        COUNT.pack_into(self._memory, 0, number + 1)

    def count(self) -> None:
        """Count one more change without a record of it."""
        COUNT.pack_into(self._memory, 0, len(self) + 1)

    def changes(self, first: int = 0) -> list[tuple[float, bool]]:
        """List (monotonic second, level) from a given record on."""
        places = (COUNT.size + number * RECORD.size for number in range(first, len(self)))
        return [(at_s, bool(level)) for at_s, level in (RECORD.unpack_from(self._memory, p) for p in places)]

    @property
    def level(self) -> bool:
        """The pin now; low before the first change."""
        count = len(self)
        return self.changes(count - 1)[0][1] if count else False


def file_pins(folder: Path) -> Any:
    """Return gpiozero's mock factory with pins that live in a folder."""
    from gpiozero.pins.mock import MockFactory, MockPin

    class FilePin(MockPin):
        def __init__(self, factory: Any, info: Any) -> None:
            super().__init__(factory, info)
            number = info.name.removeprefix("GPIO")
            self._trace = Trace(folder / f"gpio{number}.trace")
            self._input = folder / f"gpio{number}.level"
            self._looks = Trace(folder / f"gpio{number}.looks")
            self._state = self._trace.level

        def _change_state(self, value: Any) -> Any:
            if self._function == "output" and value and (folder / "stuck_locked").exists():
                return False
            if self._function == "output" and not value and (folder / "stuck_open").exists():
                return False
            changed = super()._change_state(value)
            if changed and self._function == "output":
                self._trace.append(bool(value))
            return changed

        def _set_function(self, value: Any) -> None:
            if value == "input" and self._function == "output":
                self._function = value  # given back: the level stays as it was driven
                return
            super()._set_function(value)

        def _get_state(self) -> Any:
            if self._function == "input":
                try:
                    return self._input.read_text().strip() == "1"
                except FileNotFoundError:  # its pull resistor's level
                    pass
                finally:
                    self._looks.count()
            return super()._get_state()

    return MockFactory(pin_class=FilePin)


def visit(socket_path: str) -> int:
    """Beat like a camera loop, and ask for a pulse for each line of stdin; its end is a lost camera."""
    import select

    from device.errors import LockRefused
    from device.lock.client import RemoteLock

    lock = RemoteLock(Path(socket_path), life_s=1.5)
    print("ready", flush=True)
    while True:
        if select.select([0], [], [], 0.03)[0]:
            word = os.read(0, 100)
            if not word:
                raise OSError("the camera is gone")
            with contextlib.suppress(LockRefused):  # it asks again, whatever it is told
                lock.unlock(time.monotonic())
                print("pulse", flush=True)
        lock.check()


def noisy(image: Any) -> Any:
    """Return a frame with the last bits of its first row drawn anew: a sensor never gives the same frame twice.

    A clip that is opened again does, and the door takes that for a frozen camera.
    """
    import numpy as np

    image = image.copy()
    row = image[0].reshape(-1)
    row ^= np.frombuffer(os.urandom(row.size), np.uint8) & 1
    return image


def play_live(folder: Path) -> Callable[[Any], Any]:
    """Return what opens a clip as a camera, behind the reader that real cameras have: its frames are of now."""
    from device.build import build_camera
    from device.errors import CameraLost
    from device.types import Frame
    from device.vision.camera.clip import ClipCamera
    from device.vision.camera.live import LiveCamera, Shot

    class LiveClip(LiveCamera):
        def __init__(self, clip: ClipCamera, stall_timeout_s: float) -> None:
            super().__init__(name=clip.name, stall_timeout_s=stall_timeout_s)
            self._clip = clip

        def open_device(self) -> Iterator[Frame]:
            self._check()
            return self._clip.frames()

        def read_device(self, device: Iterator[Frame]) -> Shot:
            self._check()
            while (folder / "camera_hangs").exists():
                time.sleep(0.02)
            frame = next(device, None)
            if frame is None:
                raise CameraLost(f"camera {self.name}: no more frames")
            return noisy(frame.image), time.monotonic()

        def release_device(self, device: Any) -> None:
            device.close()

        def _check(self) -> None:
            if (folder / "camera_pulled").exists():
                raise CameraLost(f"camera {self.name}: pulled")

    def build(config: Any) -> LiveClip:
        clip = build_camera(config)
        assert isinstance(clip, ClipCamera)
        return LiveClip(clip, config.camera.stall_timeout_s)

    return build


def main() -> int:
    """Run one of the programs on pins that are files, and return its exit code."""
    if len(sys.argv) < 3:
        asked = sys.argv[1:] in (["-h"], ["--help"])
        print(__doc__, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    folder, program, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    os.environ.setdefault("RUNTIME_DIRECTORY", str(folder.resolve()))  # where the claimed pin is written down
    if program == "lockd":
        from device import lockd

        try:
            return lockd.main(arguments, pin_factory=file_pins(folder))
        finally:
            (folder / "modules.txt").write_text("\n".join(sys.modules))
    if program == "relock":
        from device.lock import relock

        return relock.main(arguments, pin_factory=file_pins(folder))
    if program == "visit":
        return visit(*arguments)
    if not any(Path(each).parent == folder for each in arguments):
        print(
            "mock_pins: unlock: expected --lock-socket in FOLDER: a film opens no real door", file=sys.stderr
        )
        return 2
    import unlock

    return unlock.main(arguments, open_camera=play_live(folder))


if __name__ == "__main__":
    sys.exit(main())
