"""The lock process for tests: a server on a bench that is stepped by hand, and the real process on file pins."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

from gpiozero.pins.mock import MockFactory, MockPin

from device import lockd
from device.config import Config, DoorConfig
from device.lock import server as lock_server
from device.lock.door import DoorRule
from device.lock.gpio import GpioLock
from device.lock.panel.outputs import Outputs
from device.lock.panel.switches import DoorPins
from device.lock.wire import read_answer
from scripts.stage.mock_pins import Trace
from tests.support.checkout import ROOT

PULSE_S = 0.3
OLDEST_S = 2.0


def levels(pin):
    return [state.state for state in pin.states]


class StuckPin(MockPin):
    """A pin that a short holds while `stuck`."""

    stuck = False

    def _change_state(self, value):
        return False if self.stuck and self._function == "output" else super()._change_state(value)


class Log:
    """Takes the place of the status log."""

    def __init__(self):
        self.lines = []

    def event(self, name, **fields):
        self.lines.append((name, fields))

    def reasons(self):
        return [fields["reason"] for name, fields in self.lines if name == "command_refused"]


class Bench:
    """A server that is stepped by hand, its pins, and recognizers that connect to it."""

    def __init__(self, folder, *, door=None, users=None, pulse_s=PULSE_S, outputs=None, opens_outside=False):
        self.factory = MockFactory(pin_class=StuckPin)
        self.lock = GpioLock(pin=17, active_high=True, pulse_s=pulse_s, pin_factory=self.factory)
        self.pin = self.factory.pin(17)
        self.log = Log()
        self.address = folder / "bolt.sock"
        self.listener = lockd.listen(self.address)
        self.pins = DoorPins(door or DoorConfig(), pin_factory=self.factory)
        self.outputs = Outputs(outputs or Config(), pin_factory=self.factory)
        self.server = lock_server.LockServer(
            lock=self.lock,
            pins=self.pins,
            outputs=self.outputs,
            listener=self.listener,
            users=frozenset({os.getuid()}) if users is None else users,
            rule=DoorRule(held_open_s=30, settle_s=1),
            oldest_s=OLDEST_S,
            status=self.log,
            opens_outside=opens_outside,
        )

    def connect(self):
        connection = Raw(self)
        connection.greet()
        return connection

    def step_until(self, condition, seconds=30.0):
        until_s = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until_s, self.log.lines
            self.server.step()

    def close(self):
        self.server.close()
        self.lock.close()
        self.pins.close()
        self.outputs.close()
        self.listener.close()
        self.factory.close()


class Raw:
    """A recognizer that sends whatever it is told to."""

    def __init__(self, bench):
        self.bench = bench
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(1)
        self.socket.connect(str(bench.address))
        self.nonce = "0" * 32

    def greet(self):
        self.bench.server.step()
        return self.receive()

    def receive(self):
        """Return the next answer that is no news of the door; None when it was hung up."""
        while packet := self.socket.recv(300):
            answer = read_answer(packet)
            self.nonce = answer.nonce
            if answer.word != "state":
                return answer
        return None

    def send(self, packet):
        self.socket.send(packet)
        self.bench.server.step()

    def ask(self, verb, *, nonce=None, age_s=0.0, life_ms=1500):
        frame_us = round((time.monotonic() - age_s) * 1e6)
        self.send(f"{verb} {nonce or self.nonce} {frame_us} {life_ms}".encode())
        return self.receive()

    def hung_up(self):
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(300) == b""
        return True


class Process:
    """A real lock process on file pins."""

    def __init__(self, folder, toml="", *arguments, **environment):
        self.folder, self.address = folder, folder / "bolt.sock"
        (folder / "config.toml").write_text(toml or f"[lock]\npulse_s = {PULSE_S}\n")
        self.trace = Trace(folder / "gpio17.trace")
        options = ["--config", str(folder / "config.toml"), "--socket", str(self.address), *arguments]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/stage/mock_pins.py"), str(folder), "lockd", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def connect(self, patience_s=90):
        until_s = time.monotonic() + patience_s
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.settimeout(5)
            try:
                connection.connect(str(self.address))
                answer = read_answer(connection.recv(300))
                if answer.word != "hello":
                    raise OSError(answer.refusal)  # busy, for one that hung up was not missed yet
                return connection, answer
            except OSError:
                connection.close()
                assert self.process.poll() is None, self.process.communicate()
                assert time.monotonic() < until_s
                time.sleep(0.02)

    def pulse(self):
        (connection, hello), before = self.connect(), len(self.trace)
        connection.send(f"pulse {hello.nonce} {round(time.monotonic() * 1e6)} 1500".encode())
        until_s = time.monotonic() + 30
        while len(self.trace) == before and time.monotonic() < until_s:
            time.sleep(0.005)
        assert len(self.trace) > before
        return connection

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err

    def levels(self):
        return [level for _, level in self.trace.changes()]


def await_level(bolt, wanted, seconds):
    until_s = time.monotonic() + seconds
    while bolt.trace.level != wanted:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return time.monotonic()


SWITCHES = DoorConfig(contact_pin=22, exit_pin=23, tamper_pin=24, alarm_pin=25)
