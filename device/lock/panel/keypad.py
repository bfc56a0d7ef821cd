"""Where keys come from: a matrix keypad on GPIO, which the lock process scans where there is one, or a serial port.

This module knows keys and nothing of PINs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from device.errors import LockError

SCAN_S = 0.02  # a key that bounces does so for less
REOPEN_S = 2.0

KEYS_4X3 = ("123", "456", "789", "*0#")
KEYS_4X4 = ("123A", "456B", "789C", "*0#D")


class KeypadThread:
    """Read keys in a thread of its own; a failure there disables the keypad, never the door."""

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


class MatrixKeypad:
    """Scan a keypad: one row is driven at a time, and the columns say which of its keys are down."""

    def __init__(
        self, rows: Sequence[int], columns: Sequence[int], on_key: Callable[[str], None], *, pin_factory: Any
    ) -> None:
        from gpiozero import DigitalInputDevice, DigitalOutputDevice

        keys = {3: KEYS_4X3, 4: KEYS_4X4}.get(len(columns))
        if len(rows) != 4 or keys is None:
            raise LockError(
                f"keypad: expected 4 rows and 3 or 4 columns, received {len(rows)} and {len(columns)}"
            )
        self._keys, self._on_key = keys, on_key
        self._rows: list[Any] = []
        self._columns: list[Any] = []
        self._down: set[str] = set()
        try:
            self._rows += [DigitalOutputDevice(pin, pin_factory=pin_factory) for pin in rows]
            self._columns += [
                DigitalInputDevice(pin, pull_up=False, pin_factory=pin_factory) for pin in columns
            ]
        except Exception as error:
            self.close()
            raise LockError(
                f"keypad: a pin cannot be claimed: {error}: check keypad.rows and .columns"
            ) from error

    def scan(self) -> None:
        """Look at every key once, and tell those that went down since the last scan."""
        down: set[str] = set()
        for row, keys in zip(self._rows, self._keys, strict=True):
            row.on()
            down |= {key for key, column in zip(keys, self._columns, strict=True) if column.value}
            row.off()
        new, self._down = down - self._down, down
        if len(down) == 1:  # with several down a matrix shows keys that nobody touched
            for key in new:
                self._on_key(key)

    def close(self) -> None:
        for pin in (*self._rows, *self._columns):
            with suppress(Exception):
                pin.close()
