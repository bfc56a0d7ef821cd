"""Front: the door as the recognizer has it, bolt, signals and keys, whether its pins are here or in the lock process.

`LocalFront` holds the pins itself; client.py's `RemoteLock` asks the lock process. Both are a `Front` (protocols.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from device.config import Config
from device.errors import LockRefused
from device.lock.bolt import PulseLock
from device.lock.claim import ClaimFile, own_folder
from device.lock.door import Report
from device.lock.drivers import board_pins, open_lock
from device.lock.panel.keypad import KeypadThread
from device.lock.panel.outputs import Outputs
from device.lock.wire import ALARM, QUIET, SIGNALS, Refusal
from device.lock.wiring import board_text, check_wiring

ALARM_TRIES = 3


class LocalFront:
    """The pins of this board, or given ones (a mock's); `on_news` hears what could not be claimed.

    `is_door`: what is claimed is written down for the relock; False for pins that hold no door (a demo, a replay).
    """

    def __init__(self, config: Config, *, pin_factory: Any, is_door: bool = False) -> None:
        check_wiring(config, board_text())
        self.on_news: Callable[[str, dict[str, Any]], None] | None = None
        self.on_key: Callable[[str], None] | None = None
        self._untold: list[str] = []
        record = ClaimFile(own_folder()) if is_door else None
        with contextlib.ExitStack() as undo:
            pins = undo.enter_context(board_pins(pin_factory, driver=config.lock.driver))
            self.bolt: PulseLock = open_lock(
                config.lock, pin_factory=pins, record=record, warn=self._untold.append
            )
            undo.callback(self.bolt.close)
            self._outputs = Outputs(config, pin_factory=pins, warn=self._untold.append)
            undo.callback(self._outputs.close)
            if self._outputs.scanned:
                undo.callback(KeypadThread(self._scan, lambda: None).close)
            self._undo = undo.pop_all()
        self._opens_outside = config.link.opens

    def __str__(self) -> str:
        return str(self.bolt)

    @property
    def on_change(self) -> Callable[[bool], None] | None:
        return self.bolt.on_change

    @on_change.setter
    def on_change(self, listener: Callable[[bool], None] | None) -> None:
        self.bolt.on_change = listener

    @property
    def is_locked(self) -> bool | None:
        return self.bolt.is_locked

    @property
    def report(self) -> Report:
        """Nothing is known of the leaf: its switches are the lock process's."""
        return Report()

    def check(self) -> None:
        """Raise LockError when the last relock failed; tell what was not told yet."""
        while self._untold and self.on_news is not None:
            self.on_news("warning", {"error": self._untold.pop(0)})
        self.bolt.check()

    def unlock(self, frame_at_s: float | None = None) -> None:
        self.bolt.unlock(frame_at_s)

    def open_from_outside(self) -> None:
        """Unlock for somebody elsewhere; LockRefused where that is not configured."""
        if not self._opens_outside:
            raise LockRefused(str(Refusal.NOT_ALLOWED))
        self.bolt.unlock()

    def lock(self) -> None:
        self.bolt.lock()

    def signal(self, name: str) -> None:
        """Play a pattern, or raise the silent alarm."""
        self._outputs.play(name)

    def close(self) -> None:
        """Lock first, then give everything back."""
        try:
            self.bolt.close()
        finally:
            self._undo.close()

    def _scan(self) -> None:
        for key in self._outputs.keys(time.monotonic()):
            if self.on_key is not None:
                self.on_key(key)


class Prompt:
    """Play the pattern of each move of a challenge once, when the move changes.

    Args:
        signal: plays a pattern by its name; None: nobody is told.
    """

    def __init__(self, signal: Callable[[str], None] | None = None) -> None:
        self._signal = signal
        self._shown: str | None = None

    def show(self, move: str | None) -> None:
        """Play the pattern of a move, be silent otherwise; if the signal comes too late, the person misses one hint."""
        move = move if move in SIGNALS else None
        if move == self._shown:
            return
        self._shown = move
        if self._signal is not None:
            with contextlib.suppress(LockRefused):
                self._signal(move or QUIET)

    def close(self) -> None:
        """Leave the pins to the front."""


def raise_alarm(signal: Callable[[str], None]) -> None:
    """Raise the silent alarm; on a busy board a signal may come too late, and is sent anew."""
    for _ in range(ALARM_TRIES):
        try:
            signal(ALARM)
            return
        except LockRefused:
            continue
