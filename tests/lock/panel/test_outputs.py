"""Buzzer, LED, silent alarm and keypad in the lock process: what a recognizer may ask for, and what it hears."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from gpiozero.pins.mock import MockFactory

from device.access.pin_entry import PinEntry
from device.build import build_parts, build_prompt
from device.config import Config, KeypadConfig, LivenessConfig, PolicyConfig
from device.errors import LockError, LockRefused
from device.lock.client import RemoteLock
from device.lock.front import Prompt, raise_alarm
from device.lock.panel import outputs
from device.lock.panel.outputs import PATTERNS, Outputs
from device.lock.wire import ALARM, QUIET, SIGNALS, Refusal
from scripts.stage.mock_pins import Trace
from tests.support.lock_bench import Bench, Process, levels
from tests.support.waiting import wait_until

BUZZER, LED, ALARM_PIN = 22, 23, 24
ROWS, COLUMNS = (5, 6, 13, 19), (16, 20, 21)
CONFIG = Config(
    liveness=LivenessConfig(buzzer_pin=BUZZER, led_pin=LED),
    policy=PolicyConfig(alarm_pin=ALARM_PIN),
    keypad=KeypadConfig(rows="5,6,13,19", columns="16,20,21"),
)
LONGEST_PATTERN_S = 2.0


class Keys:
    """Fingers on a keypad: a key that is down leads its row's level to its column."""

    def __init__(self, factory: MockFactory) -> None:
        self.factory, self.down = factory, set()
        for number, row in enumerate(ROWS):
            pin = factory.pin(row)
            pin._change_state = self.wired(number, pin._change_state)

    def wired(self, number, change):
        def changed(value):
            done = change(value)
            for row, column in self.down:
                if row == number:
                    wire = self.factory.pin(COLUMNS[column])
                    wire.drive_high() if value else wire.drive_low()
            return done

        return changed

    def hold(self, key: str) -> None:
        self.down = {
            (row, keys.index(key)) for row, keys in enumerate(("123", "456", "789", "*0#")) if key in keys
        }


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path, outputs=CONFIG, pulse_s=5)
    yield made
    made.close()


class Served:
    """A bench that is served in a thread, and a RemoteLock that is connected to it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.ended = bench, threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        self.lock = RemoteLock(bench.address, life_s=1.5, patience_s=5)

    def serve(self) -> None:
        while not self.ended.is_set():
            self.bench.server.step()

    def close(self) -> None:
        self.lock.close()
        self.ended.set()
        self.thread.join()


@pytest.fixture
def served(bench):
    made = Served(bench)
    yield made
    made.close()


def test_every_move_of_a_challenge_is_a_signal():
    assert set(PATTERNS) | {QUIET, ALARM, "hold_still"} == set(SIGNALS)  # to hold still makes no sound


@pytest.mark.parametrize("move", PATTERNS)
def test_a_signal_plays_its_pattern_once_and_moves_no_bolt(bench, move):
    client, bolt = bench.connect(), bench.pin
    pins = [bench.factory.pin(number) for number in (BUZZER, LED)]
    for pin in (bolt, *pins):
        pin.clear_states()
    assert client.ask(f"signal:{move}").word == "ok"
    count, on_s = PATTERNS[move]
    bench.step_until(lambda: all(len(pin.states) >= 2 * count + 1 for pin in pins))
    time.sleep(0.3)
    for pin in pins:
        assert levels(pin) == [False] + [True, False] * count
        on = [after.timestamp for before, after in pairwise(pin.states) if before.state]
        assert on_s - 0.02 < min(on)
        assert sum(state.timestamp for state in pin.states[1:]) < LONGEST_PATTERN_S
    assert levels(bolt) == [False]
    assert not bench.factory.pin(ALARM_PIN).state


def test_quiet_ends_a_pattern_and_so_does_the_end_of_the_recognizer(bench):
    buzzer = bench.factory.pin(BUZZER)
    for end in ("signal:quiet", "hang up"):
        client = bench.connect()
        client.ask("signal:turn_left")
        wait_until(lambda: buzzer.state)
        if end == "hang up":
            client.socket.close()
            bench.server.step()
        else:
            client.ask(end)
            client.socket.close()
            bench.server.step()
        assert not buzzer.state


def test_an_alarm_is_bounded_and_outlives_its_recognizer(bench, monkeypatch):
    assert outputs.ALARM_S == 60
    monkeypatch.setattr(outputs, "ALARM_S", 0.6)
    client, pin = bench.connect(), bench.factory.pin(ALARM_PIN)
    client.ask("signal:alarm")
    wait_until(lambda: pin.state)
    began_s = time.monotonic()
    client.socket.close()
    bench.server.step()
    assert pin.state
    wait_until(lambda: not pin.state)
    assert time.monotonic() - began_s == pytest.approx(0.6, abs=0.2)
    assert "alarm" not in json.dumps(bench.log.lines)  # silent: the journal is read by others


REFUSED = {
    "unknown": (lambda client: client.ask("signal:fire"), Refusal.UNKNOWN_COMMAND),
    "none": (lambda client: client.ask("signal"), Refusal.UNKNOWN_COMMAND),
    "a pulse in disguise": (lambda client: client.ask("signal:pulse"), Refusal.UNKNOWN_COMMAND),
    "replayed": (lambda client: client.ask("signal:alarm", nonce="0" * 32), Refusal.REPLAY),
    "of the future": (lambda client: client.ask("signal:alarm", age_s=-5), Refusal.AHEAD),
    "flooded": (lambda client: [client.ask("signal:nod") for _ in range(11)][-1], Refusal.FLOOD),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_signal_that_is_refused_locks_and_hangs_up(bench, case):
    client = bench.connect()
    assert client.ask("pulse").word == "ok"
    assert bench.pin.state
    send, refusal = REFUSED[case]
    answer = send(client)
    assert (answer.word, answer.refusal) == ("refused", refusal)
    assert client.hung_up()
    assert not bench.pin.state
    assert not bench.factory.pin(ALARM_PIN).state
    assert bench.log.reasons() == [str(refusal)]
    bench.step_until(lambda: not bench.factory.pin(BUZZER).state)


def test_a_late_signal_is_refused_and_the_next_one_is_played(bench):
    client = bench.connect()
    assert client.ask("signal:alarm", age_s=1.6).refusal is Refusal.STALE
    assert not bench.factory.pin(ALARM_PIN).state
    assert client.ask("signal:alarm").word == "ok"
    wait_until(lambda: bench.factory.pin(ALARM_PIN).state)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # gpiozero's own thread
def test_an_output_that_fails_does_not_keep_the_door_from_anything(bench, monkeypatch):
    client = bench.connect()
    for part in (*bench.outputs._hints, bench.outputs._alarm, bench.outputs._keypad):
        part.close()
    for signal in ("nod", "alarm", "quiet"):
        assert client.ask(f"signal:{signal}").word == "ok"
    assert client.ask("pulse").word == "ok"
    assert bench.pin.state
    assert client.ask("lock").word == "ok"
    assert not bench.pin.state


def test_keys_go_to_the_recognizer_and_into_no_log(served, capfd):
    keys, heard = Keys(served.bench.factory), []
    served.lock.on_key = heard.append
    for key in "2580#":
        keys.hold(key)
        count = len(heard)
        wait_until(lambda count=count: served.lock.check() or len(heard) > count)
        keys.down = set()
        time.sleep(0.1)
        served.lock.check()
    assert heard == list("2580#")
    assert [name for name, _ in served.bench.log.lines] == ["door"]  # as it was found
    assert capfd.readouterr() == ("", "")


def test_a_key_that_is_held_is_one_key_however_busy_the_socket_is(served):
    """Packets wake the loop; two looks within a bounce would make two keys of one."""
    keys, heard = Keys(served.bench.factory), []
    served.lock.on_key = heard.append
    looks = []
    scan = served.bench.outputs._keypad.scan
    served.bench.outputs._keypad.scan = lambda: (looks.append(time.monotonic()), scan())
    keys.hold("7")
    until_s = time.monotonic() + 0.5
    while time.monotonic() < until_s:
        served.lock._ask("beat", time.monotonic())
        time.sleep(0.015)
    assert heard == ["7"]
    assert min(after - before for before, after in pairwise(looks)) >= 0.0199


def test_keys_without_a_recognizer_are_dropped(bench):
    keys = Keys(bench.factory)
    keys.hold("5")
    for _ in range(10):
        bench.server.step()
    keys.down = set()
    bench.server.step()
    client = bench.connect()
    assert client.ask("beat").word == "ok"  # and not a key of somebody before
    assert [name for name, _ in bench.log.lines] == ["door"]


def test_a_broken_key_is_an_error_that_shows_no_digit(served):
    served.bench.server._client.connection.send(b"key:77 " + b"0" * 32 + b" locked locked -")
    with pytest.raises(LockError, match="received a broken key") as caught:
        served.lock.check()
    assert "77" not in str(caught.value)


# The recognizer's side


def test_the_recognizer_asks_where_the_lock_process_has_the_pins(served):
    """Without a pin of its own: its factory would fail."""
    lock, entry = served.lock, PinEntry()
    prompt = build_prompt(CONFIG, lock)
    assert list(build_parts(CONFIG, entry, lock)) == []
    for _ in range(3):  # each frame of a challenge shows the move again
        prompt.show("nod")
    buzzer = served.bench.factory.pin(BUZZER)
    wait_until(lambda: levels(buzzer).count(True) == 3)
    raise_alarm(lock.signal)
    wait_until(lambda: served.bench.factory.pin(ALARM_PIN).state)
    keys, keypad = Keys(served.bench.factory), served.bench.outputs._keypad
    for key in "2580#":
        keys.hold(key)
        wait_until(lambda: keypad._down)
        keys.down = set()
        wait_until(lambda: not keypad._down)
        lock.check()
    assert entry.take() == "2580"
    prompt.show(None)
    assert levels(served.bench.pin).count(True) == 0


def test_where_nothing_is_configured_nothing_is_asked(served):
    asked = []
    served.lock.signal = asked.append
    build_prompt(Config(), served.lock).show("nod")
    assert asked == []
    assert list(build_parts(Config(), PinEntry(), served.lock)) == []


def test_a_signal_that_came_too_late_costs_the_person_a_hint(served, monkeypatch):
    asked = []

    def late(name: str) -> None:
        asked.append(name)
        raise LockRefused("stale")

    monkeypatch.setattr(served.lock, "signal", late)
    Prompt(served.lock.signal).show("nod")
    raise_alarm(served.lock.signal)
    assert asked == ["nod", "alarm", "alarm", "alarm"]  # the alarm is tried again


def test_a_lock_process_that_is_gone_costs_a_hint_and_the_alarm(tmp_path):
    process = Process(tmp_path)
    lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
    process.end()
    Prompt(lock.signal).show("nod")
    raise_alarm(lock.signal)
    with pytest.raises(LockRefused, match="gone"):
        lock.signal("nod")


# The real process


TOML = f"""[liveness]
buzzer_pin = {BUZZER}
[policy]
alarm_pin = {ALARM_PIN}
[keypad]
rows = "5,6,13,19"
columns = "16,20,21"
"""


def test_the_real_process_plays_and_gives_everything_back_low(tmp_path):
    process = Process(tmp_path, TOML)
    lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
    lock.signal("turn_right")
    lock.signal("alarm")
    buzzer, alarm_pin = (Trace(tmp_path / f"gpio{pin}.trace") for pin in (BUZZER, ALARM_PIN))
    wait_until(lambda: len(buzzer) >= 4 and alarm_pin.level)
    code, lines, err = process.end()
    assert (code, err) == (0, "")
    assert [line["event"] for line in lines] == ["started", "door", "stopping"]
    assert [level for _, level in buzzer.changes()] == [True, False] * 2
    assert [level for _, level in alarm_pin.changes()] == [True, False]
    assert process.levels() == []
    loaded = (tmp_path / "modules.txt").read_text().splitlines()
    assert not {"numpy", "cv2", "argon2", "cryptography", "sqlite3"} & set(loaded)


def test_a_killed_process_leaves_no_buzzer_on(tmp_path):
    process = Process(tmp_path, TOML)
    lock = RemoteLock(process.address, life_s=1.5, patience_s=20)
    lock.signal("alarm")
    alarm_pin = Trace(tmp_path / f"gpio{ALARM_PIN}.trace")
    wait_until(lambda: alarm_pin.level)
    process.end(9)
    assert alarm_pin.level  # a Raspberry Pi keeps an output driven
    again = Process(tmp_path, TOML)
    again.connect()[0].close()
    assert not alarm_pin.level
    again.end()


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[liveness]\nbuzzer_pin = 14\n[status]\nserial_port = '/dev/serial0'\n", "carries the serial log"),
        ("[lock]\ndriver = 'jetson'\n[liveness]\nled_pin = 5\n", 'expected lock.driver = "gpiozero"'),
    ],
)
def test_a_pin_that_has_another_use_is_refused_at_the_start(tmp_path, toml, said):
    code, _, err = Process(tmp_path, toml).end(0)
    assert code == 3
    assert said in err


def test_an_output_that_cannot_be_claimed_is_told_and_the_others_are_claimed():
    factory = MockFactory()
    taken = Outputs(replace(CONFIG, keypad=KeypadConfig(), liveness=LivenessConfig()), pin_factory=factory)
    told = []
    outputs = Outputs(CONFIG, pin_factory=factory, warn=told.append)
    [text] = told
    assert text.startswith("policy.alarm_pin: GPIO24 cannot be claimed")
    assert "\n" not in text
    assert outputs.scanned
    outputs.close()
    taken.close()
    Outputs(CONFIG, pin_factory=factory, warn=pytest.fail).close()


def test_a_keypad_that_cannot_be_claimed_is_told():
    factory, told = MockFactory(), []
    taken = Outputs(Config(liveness=LivenessConfig(led_pin=5)), pin_factory=factory)
    outputs = Outputs(CONFIG, pin_factory=factory, warn=told.append)
    assert len(told) == 1
    assert told[0].startswith("keypad: a pin cannot be claimed")
    assert not outputs.scanned
    outputs.play("nod")
    outputs.close()
    taken.close()
