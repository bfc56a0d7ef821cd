"""Keypads: what is typed on rows and columns, and on a serial port."""

from __future__ import annotations

import os
import pty
import time

import pytest
from gpiozero.pins.mock import MockFactory

from device.access.pin_entry import PinEntry
from device.errors import LockError
from device.lock.panel.keypad import KeypadThread, MatrixKeypad, SerialKeypad
from tests.support.doors.admitting import PIN


class Matrix:
    """The wires of a keypad: a key that is down leads its row's level to its column."""

    ROWS, COLUMNS = (5, 6, 13, 19), (16, 20, 21)

    def __init__(self) -> None:
        self.factory, self.down = MockFactory(), set()
        self.pressed: list[str] = []
        self.keypad = MatrixKeypad(self.ROWS, self.COLUMNS, self.pressed.append, pin_factory=self.factory)
        for row in self.ROWS:
            pin = self.factory.pin(row)
            pin._change_state = self.wired(pin, pin._change_state)

    def wired(self, pin, change):
        def changed(value):
            done = change(value)
            for row, column in self.down:
                if pin is self.factory.pin(self.ROWS[row]):
                    wire = self.factory.pin(self.COLUMNS[column])
                    wire.drive_high() if value else wire.drive_low()
            return done

        return changed


def test_a_matrix_keypad_tells_each_key_once():
    matrix = Matrix()
    for row, keys in enumerate(("123", "456", "789", "*0#")):
        for column, key in enumerate(keys):
            matrix.pressed.clear()
            matrix.down = {(row, column)}
            for _ in range(3):
                matrix.keypad.scan()
            matrix.down = set()
            matrix.keypad.scan()
            assert matrix.pressed == [key]
    matrix.down = {(0, 0), (1, 1)}
    matrix.pressed.clear()
    matrix.keypad.scan()
    assert matrix.pressed == []
    matrix.keypad.close()
    assert all(matrix.factory.pin(pin).state == 0 for pin in Matrix.ROWS)


def test_a_keypad_pin_in_use_is_one_line():
    factory = MockFactory()
    first = MatrixKeypad((5, 6, 13, 19), (16, 20, 21), lambda key: None, pin_factory=factory)
    with pytest.raises(LockError, match="keypad: a pin cannot be claimed"):
        MatrixKeypad((19, 22, 23, 24), (25, 26, 27), lambda key: None, pin_factory=factory)
    first.close()
    with pytest.raises(LockError, match="expected 4 rows"):
        MatrixKeypad((1,), (2, 3, 4), lambda key: None, pin_factory=factory)


def test_a_pin_typed_on_a_serial_port():
    ours, theirs = pty.openpty()
    entry = PinEntry()
    port = SerialKeypad(os.ttyname(theirs), 9600, entry.press)
    thread = KeypadThread(port.step, port.close)
    until_s, pin = time.monotonic() + 20, None
    while pin is None and time.monotonic() < until_s:
        os.write(ours, b"2580\r")  # again and again: what comes before the port is open is lost
        time.sleep(0.3)
        pin = entry.take()
    thread.close()
    os.close(ours)
    os.close(theirs)
    assert pin == PIN


def test_a_serial_port_that_is_absent_costs_the_keypad_only():
    thread = KeypadThread(SerialKeypad("/dev/nonexistent", 9600, print).step, lambda: None)
    time.sleep(0.1)
    thread.close()
