"""Where keys come from: a keypad (matrix_keypad.py, by the lock process where there is one), or a serial port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from device.lock.matrix_keypad import SCAN_S

REOPEN_S = 2.0


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
