"""Where a PIN is entered: a keypad (matrix_keypad.py, by the lock process where there is one), or a serial port.

Digits, then `#` (or Enter) ends a PIN, `*` (or Escape) starts over. A PIN that takes longer than `ENTRY_S` is dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from device.matrix_keypad import SCAN_S
from device.pin import LONGEST

ENTRY_S = 10.0  # from the first key to the last
REOPEN_S = 2.0


class PinEntry:
    """Gather keys into PINs; keys come from any thread, `take` is the door's."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._guard = threading.Lock()
        self._digits, self._since_s = "", 0.0
        self._ended: tuple[str, float] | None = None

    def press(self, key: str) -> None:
        """Hear one key; what is none is ignored."""
        with self._guard:
            if self._now_s() - self._since_s > ENTRY_S:
                self._digits = ""
            if key in "#\r\n":
                self._ended = (self._digits, self._now_s()) if self._digits else self._ended
                self._digits = ""
            elif key in "*\x1b":
                self._digits = ""
            elif key.isascii() and key.isdigit():
                self._since_s = self._since_s if self._digits else self._now_s()
                self._digits = (self._digits + key)[: LONGEST + 1]  # one too many is wrong, whatever follows

    def take(self) -> str | None:
        """Return the PIN that was ended last, once."""
        with self._guard:
            ended, self._ended = self._ended, None
            return ended[0] if ended and self._now_s() - ended[1] <= ENTRY_S else None

    def clear(self) -> None:
        """Forget what was pressed so far: it belonged to somebody else."""
        with self._guard:
            self._digits, self._ended = "", None


class KeypadThread:
    """Look for keys in a thread of its own; what fails there costs the keypad, never the door."""

    def __init__(self, step: Callable[[], None], close: Callable[[], None]) -> None:
        self._step, self._close = step, close
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keypad", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(2)
        self._close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._step()
                self._ended.wait(SCAN_S)
            except Exception:
                self._ended.wait(REOPEN_S)


class SerialKeypad:
    """Read keys from a serial port; one that is absent or unplugged is opened again."""

    def __init__(self, port: str, baud: int, on_key: Callable[[str], None]) -> None:
        self._port, self._baud, self._on_key = port, baud, on_key
        self._open: Any = None

    def step(self) -> None:
        """Wait a moment for keys, and tell them."""
        if self._open is None:
            import serial

            self._open = serial.Serial(self._port, self._baud, timeout=0.2, exclusive=True)
        try:
            for byte in self._open.read(1) + self._open.read(self._open.in_waiting):
                self._on_key(chr(byte))
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        opened, self._open = self._open, None
        with suppress(Exception):
            if opened is not None:
                opened.close()
