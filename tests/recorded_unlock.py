"""Run unlock.py, or the relock, on mock pins that write each of their states into a file:

    python -m tests.recorded_unlock PINS unlock [arguments of unlock.py]
    python -m tests.recorded_unlock PINS relock [arguments of device.lock]

Like a Raspberry Pi's, such a pin keeps its level when the process dies: the next one finds the file's last state.
`FAIL_AFTER_GRANT=1` raises in the frame after the grant, in the middle of the pulse.
"""

from __future__ import annotations

import os
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


if __name__ == "__main__":
    factory = MockFactory(pin_class=FilePin)
    if sys.argv[2] == "relock":
        from device.lock import main

        sys.exit(main(sys.argv[3:], pin_factory=factory))
    import unlock

    if os.environ.get("FAIL_AFTER_GRANT"):
        fail_after_grant()
    sys.exit(unlock.main(sys.argv[3:], pin_factory=factory))
