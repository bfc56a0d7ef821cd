"""The lock process as a process: signals, its socket, systemd, and what it does not start with."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from gpiozero import DigitalOutputDevice
from gpiozero.pins.mock import MockFactory

from device import lockd
from device.config import Config, DoorConfig, KeypadConfig, LivenessConfig, LockConfig, PolicyConfig
from tests.support.lock_bench import PULSE_S, Process, levels
from tests.support.waiting import wait_until


@pytest.fixture
def start(tmp_path):
    started = []

    def run(*arguments, **environment):
        started.append(Process(tmp_path, *arguments, **environment))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def test_the_process_loads_no_numpy_and_no_camera(start, tmp_path):
    process = start()
    _recognizer = process.pulse()  # while it lives, nobody locks
    code, _, err = process.end()
    assert (code, err) == (0, "")
    loaded = {name.split(".")[0] for name in (tmp_path / "modules.txt").read_text().split()}
    assert {"device", "gpiozero"} <= loaded
    assert not loaded & {
        "numpy",
        "cv2",
        "mediapipe",
        "sqlite3",
        "sqlite_utils",
        "serial",
        "picamera2",
        "ai_edge_litert",
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_mid_pulse_ends_locked(start, number):
    process = start("[lock]\npulse_s = 30\n")
    connection = process.pulse()
    asked_s = time.monotonic()
    code, lines, err = process.end(number)
    assert (code, err) == (0, "")
    assert process.levels() == [True, False]
    assert process.trace.changes()[-1][0] - asked_s < 1
    assert (lines[0]["event"], lines[-1]["event"]) == ("started", "stopping")
    assert not process.address.exists()
    connection.close()


def test_after_sigkill_the_next_start_takes_over_socket_and_pin(start):
    process = start("[lock]\npulse_s = 30\n")
    _recognizer = process.pulse()  # while it lives, nobody locks
    process.end(signal.SIGKILL)
    assert process.levels() == [
        True
    ]  # nothing in the process can help: this is what the unit's relock is for
    assert process.address.exists()
    again = start("[lock]\npulse_s = 30\n")
    _, hello = again.connect()
    assert hello.bolt == "locked"
    assert process.levels() == [True, False]


def test_the_socket_is_of_owner_and_group(start):
    process = start()
    process.connect()
    assert oct(process.address.stat().st_mode)[-3:] == "660"


def test_two_on_one_socket(start, tmp_path):
    first = start()
    first.connect()
    (tmp_path / "other").mkdir()
    other = Process(tmp_path / "other", "", "--socket", str(first.address))
    other.process.wait(20)
    code, _, err = other.end()
    assert code == 7
    assert "cannot be listened on" in err
    assert first.process.poll() is None


def test_systemd_hears_ready_and_the_watchdog(start, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        process = start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="800000")
        assert manager.recv(4096).startswith(b"READY=1\nSTATUS=holding GPIO17")
        assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        process.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                manager.recv(4096)
        time.sleep(0.7)
        with pytest.raises(BlockingIOError):  # a loop that stands still feeds nothing
            manager.recv(4096)
        process.process.send_signal(signal.SIGCONT)


BAD = {
    "a pulse above the bound": ("[lock]\npulse_s = 31\n", [], 3, "at most 30 s"),
    "a pin that is high at boot": ("[lock]\npin = 4\n", [], 3, "GPIO4 is high at boot"),
    "the serial log's pin": (
        '[lock]\npin = 14\n[status]\nserial_port = "/dev/serial0"\n',
        [],
        3,
        "enable_uart=0",
    ),
    "a pin named twice": ("[door]\nexit_pin = 17\n", [], 3, "it is lock.pin too"),
    "nobody": ("[lock]\n", ["--client-user", "no such user"], 2, "--client-user"),
    "no folder": ("[lock]\n", ["--socket", "/nonexistent/bolt.sock"], 7, "/nonexistent/bolt.sock"),
    "an unknown key": ("[lock]\nmax_s = 1\n", [], 3, "unknown key"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_safe_does_not_start(start, case):
    toml, arguments, code, said = BAD[case]
    process = start(toml, *arguments)
    process.process.wait(20)
    received, _, err = process.end()
    assert received == code
    assert said in err
    assert len(err.splitlines()) == 1
    assert True not in process.levels()


def test_without_an_address_it_says_so(tmp_path):
    assert lockd.main(["--config", str(write(tmp_path, ""))], pin_factory=MockFactory()) == 2


def write(folder: Path, toml: str) -> Path:
    path = folder / "config.toml"
    path.write_text(toml)
    return path


def test_exit_button_of_the_real_process(start, tmp_path):
    (tmp_path / "gpio23.level").write_text("1")
    process = start(f"[lock]\npulse_s = {PULSE_S}\n[door]\nexit_pin = 23\n")
    process.connect()
    (tmp_path / "gpio23.level").write_text("0")
    until_s = time.monotonic() + 5
    while process.levels() != [True, False] and time.monotonic() < until_s:
        time.sleep(0.01)
    assert process.levels() == [True, False]
    _, lines, _ = process.end()
    assert [line["event"] for line in lines if line["event"] != "door"] == [
        "started",
        "unlocked",
        "locked",
        "stopping",
    ]


def test_a_full_disk_and_a_closed_stdout_change_nothing(start):
    process = start("[lock]\npulse_s = 0.3\n")
    process.connect()[0].close()
    process.process.stdout.close()
    _recognizer = process.pulse()  # while it lives, nobody locks
    until_s = time.monotonic() + 5
    while process.trace.level and time.monotonic() < until_s:
        time.sleep(0.01)
    assert process.levels() == [True, False]
    assert process.process.poll() is None
    process.process.stdout = None


def test_an_output_that_cannot_be_claimed_keeps_nobody_in(tmp_path, monkeypatch, capfd):
    """Buzzer, LED, alarms and keypad of this door are held by somebody else: bolt and exit button work."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    factory, stopped = MockFactory(), threading.Event()
    taken = [DigitalOutputDevice(number, pin_factory=factory) for number in (5, 22, 25, 26, 27)]
    config = Config(
        lock=LockConfig(pulse_s=PULSE_S),
        door=DoorConfig(exit_pin=23, alarm_pin=25),
        liveness=LivenessConfig(buzzer_pin=22, led_pin=26),
        policy=PolicyConfig(alarm_pin=27),
        keypad=KeypadConfig(rows="5,6,13,19", columns="16,20,21"),
    )
    address = tmp_path / "bolt.sock"
    args = lockd.parse(["--socket", str(address)])
    process = threading.Thread(target=lockd.serve, args=(config, args, factory, stopped.is_set))
    process.start()
    try:
        wait_until(address.exists)
        pin = factory.pin(17)
        pin.clear_states()
        time.sleep(0.2)  # the button has to be seen up first
        factory.pin(23).drive_low()
        wait_until(lambda: levels(pin) == [False, True, False])
    finally:
        stopped.set()
        process.join(10)
        for each in taken:
            each.close()
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    warned = [line["error"].split(":")[0] for line in told if line["event"] == "warning"]
    assert warned == [
        "door.alarm_pin",
        "liveness.buzzer_pin",
        "liveness.led_pin",
        "policy.alarm_pin",
        "keypad",
    ]
