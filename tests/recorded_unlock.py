"""Run unlock.py, or the relock, on mock pins that write each of their states into a file:

    python -m tests.recorded_unlock PINS unlock [arguments of unlock.py]
    python -m tests.recorded_unlock PINS relock [arguments of device.lock]

Like a Raspberry Pi's, such a pin keeps its level when the process dies: the next one finds the file's last state.
What goes wrong is asked for by the environment: `FAIL_AFTER_GRANT=1` raises in the frame after the grant, in the middle
of the pulse; `STUCK_OPEN=1` never lets a pin fall again; `SIGTERM_IN_DEL=1` sends it where Python swallows exceptions;
`NOHUP=1` ignores SIGHUP as nohup does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gpiozero.pins.mock import MockFactory, MockPin

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


def fail_after_grant() -> None:
    """Break the loop in the frame after the first grant."""
    import unlock

    handle, granted = unlock.handle_frame, []

    def handle_or_fail(*arguments: Any) -> Any:
        if granted:
            raise RuntimeError("the test's own fault in mid-pulse")
        decision = handle(*arguments)
        granted.extend([1] * decision.granted)
        return decision

    unlock.handle_frame = handle_or_fail


def sigterm_in_del() -> None:
    """Send SIGTERM from a __del__ in each frame, as often as MediaPipe's images have one."""
    import unlock

    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # the handler runs in here

    handle = unlock.handle_frame
    unlock.handle_frame = lambda *arguments: (Dying(), handle(*arguments))[1]


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN if os.environ.get("NOHUP") else signal.SIG_DFL)
    factory = MockFactory(pin_class=FilePin)
    if sys.argv[2] == "relock":
        from device.lock import main

        sys.exit(main(sys.argv[3:], pin_factory=factory))
    import unlock

    if os.environ.get("FAIL_AFTER_GRANT"):
        fail_after_grant()
    if os.environ.get("SIGTERM_IN_DEL"):
        sigterm_in_del()
    sys.exit(unlock.main(sys.argv[3:], pin_factory=factory))
