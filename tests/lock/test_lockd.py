"""The lock process: what it obeys, what it refuses, and that its pin is locked after whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from gpiozero import DigitalOutputDevice
from gpiozero.pins.mock import MockFactory
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from device import lockd
from device.config import Config, DoorConfig, KeypadConfig, LivenessConfig, LockConfig, PolicyConfig
from device.lock import server as lock_server
from device.lock.budget import Budget
from device.lock.wire import LONGEST_BYTES, VERBS, read_answer
from tests.support.lock_bench import OLDEST_S, PULSE_S, Bench, Process, Raw

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))  # docs/how/fail_secure.md names the long run


@pytest.fixture
def make_bench(tmp_path):
    made = []

    def make(**options):
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench):
    return make_bench()


def levels(pin):
    return [state.state for state in pin.states]


# --- what it obeys


def test_a_pulse_is_answered_when_it_is_unlocked_and_ends_by_itself(bench):
    client = bench.connect()
    answer = client.ask("pulse")
    assert (answer.word, answer.bolt, answer.report.door) == ("ok", "unlocked", "unlocked")
    assert bench.pin.state is True
    bench.step_until(lambda: not bench.pin.state)
    assert bench.pin.states[-1].timestamp == pytest.approx(PULSE_S, abs=0.15)
    assert levels(bench.pin) == [False, True, False]
    assert ("door", {"door": "unlocked"}) in bench.log.lines


def test_each_answer_has_a_nonce_of_its_own(bench):
    client = bench.connect()
    nonces = {client.nonce}
    for _ in range(20):
        client.ask("beat")
        nonces.add(client.nonce)
    assert len(nonces) == 21


@pytest.mark.parametrize("options", [{"nonce": "f" * 32}, {"age_s": 60}, {"age_s": -1000}, {"life_ms": 0}])
def test_lock_is_obeyed_whatever_its_nonce_and_age(bench, options):
    client = bench.connect()
    client.ask("pulse")
    answer = client.ask("lock", **options)
    assert (answer.word, answer.bolt) == ("ok", "locked")
    assert bench.pin.state is False
    assert client.ask("pulse").word == "ok"


def test_the_end_of_the_pulse_is_told_unasked(bench):
    client = bench.connect()
    client.ask("pulse")
    bench.step_until(lambda: not bench.lock.is_pulsing)
    for _ in range(3):
        bench.server.step()
    answer = read_answer(client.socket.recv(300))
    assert (answer.word, answer.bolt) == ("state", "locked")
    assert answer.nonce == client.nonce  # and the command after it is still good
    assert client.ask("beat").word == "ok"


def test_pulse_after_pulse_is_locked_at_the_bound(make_bench, monkeypatch):
    monkeypatch.setattr("device.lock.bolt.MAX_OPEN_S", 0.6)
    bench = make_bench(pulse_s=0.4)
    client = bench.connect()
    until_s = time.monotonic() + 0.75
    while False not in levels(bench.pin)[1:] and time.monotonic() < until_s:
        client.ask("pulse")
        bench.server.step()
    fall = bench.pin.states[2]
    assert fall.state is False
    assert fall.timestamp == pytest.approx(0.6, abs=0.1)


# --- what it refuses


def test_a_stale_frame_opens_nothing_and_its_sender_may_stay(bench):
    client = bench.connect()
    for age_s, life_ms in ((1.6, 1500), (OLDEST_S + 0.1, 99999), (0.1, 0)):
        answer = client.ask("pulse", age_s=age_s, life_ms=life_ms)
        assert (answer.word, str(answer.refusal)) == ("refused", "stale")
    assert client.ask("pulse").word == "ok"
    assert levels(bench.pin) == [False, True]
    assert bench.log.reasons() == ["stale"]  # once in five seconds


HOSTILE = {
    "rubbish": b"\x00\xff" * 10,
    "json": b'{"pulse": true}',
    "too long": b"x" * (LONGEST_BYTES + 1),
    "much too long": b"x" * 60_000,
    "unknown command": b"unlock " + b"0" * 32 + b" 1 1",
    "a nonce never given": b"pulse " + b"0" * 32 + b" 1 1",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_command_locks_and_is_hung_up_on(bench, case):
    client = bench.connect()
    client.ask("pulse")
    client.send(HOSTILE[case])
    assert bench.pin.state is False
    assert client.receive().word == "refused"
    assert client.hung_up()
    assert len(bench.log.reasons()) == 1
    assert bench.connect().ask("beat").word == "ok"  # the next one is served


def test_a_command_said_twice_is_a_replay(bench):
    client = bench.connect()
    used = client.nonce
    client.ask("beat")
    assert str(client.ask("pulse", nonce=used).refusal) == "replay"
    assert client.hung_up()
    assert levels(bench.pin) == [False]


def test_a_nonce_of_an_earlier_connection_is_worth_nothing(bench):
    client = bench.connect()
    kept = client.nonce
    client.socket.close()
    bench.server.step()
    other = bench.connect()
    assert str(other.ask("pulse", nonce=kept).refusal) == "replay"
    assert levels(bench.pin) == [False]


def test_one_frame_does_not_open_twice(bench):
    client = bench.connect()
    frame_us = round(time.monotonic() * 1e6)
    client.send(f"pulse {client.nonce} {frame_us} 1500".encode())
    assert client.receive().word == "ok"
    bench.step_until(lambda: not bench.pin.state)
    client.send(f"pulse {client.nonce} {frame_us} 1500".encode())
    assert str(client.receive().refusal) == "replay"
    assert levels(bench.pin) == [False, True, False]


def test_a_frame_of_the_future_is_refused(bench):
    client = bench.connect()
    assert str(client.ask("pulse", age_s=-1).refusal) == "ahead"
    assert levels(bench.pin) == [False]


def test_another_user_is_turned_away(make_bench):
    bench = make_bench(users=frozenset({os.getuid() + 1}))
    stranger = Raw(bench)
    assert str(stranger.greet().refusal) == "wrong_user"
    assert stranger.hung_up()
    assert bench.log.reasons() == ["wrong_user"]


def test_one_recognizer_at_a_time_until_it_is_silent(bench, monkeypatch):
    first = bench.connect()
    second = Raw(bench)
    assert str(second.greet().refusal) == "busy"
    assert first.ask("pulse").word == "ok"  # unharmed
    monkeypatch.setattr(lock_server, "SILENCE_S", 0.05)
    time.sleep(0.1)
    third = Raw(bench)
    assert third.greet().word == "hello"
    assert first.hung_up()
    assert bench.pin.state is False


def test_who_comes_in_the_moment_that_the_other_hangs_up_is_served(bench):
    first = bench.connect()
    first.socket.close()
    assert bench.connect().ask("beat").word == "ok"


# --- a recognizer that dies, hangs or floods


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_recognizer_that_dies_is_locked_behind(make_bench, way):
    bench = make_bench(pulse_s=30)
    client = bench.connect()
    client.ask("pulse")
    if way == "reset":  # with an answer unread the kernel says reset instead of end
        client.socket.send(f"beat {client.nonce} {round(time.monotonic() * 1e6)} 1500".encode())
        bench.server.step()
    client.socket.close()
    bench.step_until(lambda: not bench.pin.state, 1)


def test_a_recognizer_that_hangs_is_locked_out(make_bench, monkeypatch):
    monkeypatch.setattr(lock_server, "SILENCE_S", 0.3)
    bench = make_bench(pulse_s=30)
    client = bench.connect()
    client.ask("pulse")
    for _ in range(4):
        time.sleep(0.15)
        client.ask("beat")
    assert bench.pin.state is True  # 0.6 s of beats
    bench.step_until(lambda: not bench.pin.state, 1)
    assert bench.log.reasons() == ["silent"]
    assert str(client.receive().refusal) == "silent"


def test_a_silent_recognizer_may_stay_while_it_is_locked(bench, monkeypatch):
    monkeypatch.setattr(lock_server, "SILENCE_S", 0.05)
    client = bench.connect()  # it loads its networks now
    time.sleep(0.1)
    bench.server.step()
    assert client.ask("pulse").word == "ok"


def test_a_flood_locks(make_bench):
    bench = make_bench(pulse_s=30)
    client = bench.connect()
    client.ask("pulse")
    refusals = []
    for _ in range(lock_server.FLOOD[0] + 1):
        answer = client.ask("beat")
        if answer is None or answer.refusal:
            refusals.append(str(answer.refusal))
            break
    assert refusals == ["flood"]
    assert bench.pin.state is False
    assert client.hung_up()


def test_a_recognizer_that_never_reads_is_locked_out(make_bench, monkeypatch):
    monkeypatch.setattr(lock_server, "FLOOD", (10**9, 1.0))
    bench = make_bench(pulse_s=30)
    client = bench.connect()
    client.ask("pulse")
    for _ in range(5000):
        bench.server._send(bench.server._client, "state")
        if bench.server._client is None:
            break
    assert bench.server._client is None
    assert bench.pin.state is False


def test_the_log_of_a_thousand_attacks_is_short(bench):
    for _ in range(300):
        for packet in (b"rubbish", b"unlock " + b"0" * 32 + b" 1 1", b"pulse " + b"0" * 32 + b" 1 1"):
            client = bench.connect()
            client.send(packet)
            client.socket.close()
    assert sorted(bench.log.reasons()) == ["replay", "rubbish", "unknown_command"]


# --- the pin and the door


def test_a_pin_that_does_not_obey_is_jammed_and_opens_for_nobody(bench):
    client = bench.connect()
    client.ask("pulse")
    bench.pin.stuck = True
    bench.step_until(lambda: ("alarm", {"reason": "jammed"}) in bench.log.lines)
    answer = client.ask("beat")
    assert (answer.bolt, answer.report.door) == ("jammed", "jammed")
    assert str(client.ask("pulse").refusal) == "jammed"
    bench.pin.stuck = False
    bench.step_until(lambda: bench.lock.is_locked and ("alarm_over", {"reason": "jammed"}) in bench.log.lines)
    assert client.ask("pulse").word == "ok"


def test_a_pin_that_somebody_else_drives_is_locked_again(bench):
    bench.pin.state = True
    bench.server.step()
    assert bench.pin.state is False


SWITCHES = DoorConfig(contact_pin=22, exit_pin=23, tamper_pin=24, alarm_pin=25)


@pytest.fixture
def door(make_bench):
    """A shut door with switches, and the pins to move them by: low is shut or pressed."""
    bench = make_bench(door=SWITCHES, pulse_s=30)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: ("door", {"door": "locked"}) in bench.log.lines)
    return bench


def press(bench, pin=23, seconds=0.15):
    bench.factory.pin(pin).drive_low()
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        bench.server.step()
    bench.factory.pin(pin).drive_high()


def test_the_exit_button_works_with_the_recognizer_dead(door):
    press(door)
    assert door.pin.state is True


def test_a_dying_recognizer_does_not_lock_in_who_pressed_the_button(door):
    client = door.connect()
    press(door)
    client.socket.close()
    for _ in range(5):
        door.server.step()
    assert door.pin.state is True


def test_rubbish_does_not_lock_in_who_pressed_the_button(door):
    client = door.connect()
    press(door)
    client.send(b"rubbish")
    assert client.receive().word == "refused"
    assert door.pin.state is True


ENDS = {
    "lock": lambda client: client.ask("lock"),
    "hang up": lambda client: client.socket.close(),
    "rubbish": lambda client: client.send(b"rubbish"),
    "a pulse, and lock": lambda client: (client.ask("pulse"), client.ask("lock")),
    "a pulse, and hang up": lambda client: (client.ask("pulse"), client.socket.close()),
    "a pulse, and another recognizer": lambda client: (
        client.ask("pulse"),
        client.socket.close(),
        client.bench.connect(),
    ),
}


@pytest.mark.parametrize("first", ["button", "recognizer"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_that_the_recognizer_does_ends_the_pulse_of_the_button(make_bench, end, first):
    """A pulse belongs to who asked for it."""
    bench = make_bench(door=SWITCHES, pulse_s=2.0)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: ("door", {"door": "locked"}) in bench.log.lines)
    client = bench.connect()
    if first == "recognizer":
        client.ask("pulse")
    press(bench)
    pressed_s = time.monotonic() - 0.15
    ENDS[end](client)
    bench.step_until(lambda: not bench.pin.state, 4)
    assert levels(bench.pin) == [False, True, False]
    assert 1.75 <= time.monotonic() - pressed_s <= 4


def test_the_recognizer_is_told_that_the_button_opened(door):
    client = door.connect()
    press(door)
    assert client.ask("lock").bolt == "released"
    assert client.ask("pulse").bolt == "unlocked"
    assert client.ask("lock").bolt == "released"


def test_the_buttons_pulse_outlives_neither_itself_nor_a_recognizer_that_hangs(make_bench, monkeypatch):
    """After the button's own pulse, the recognizer's is its own again: one that hangs, or goes, is locked behind."""
    monkeypatch.setattr(lock_server, "SILENCE_S", 0.2)
    bench = make_bench(door=SWITCHES, pulse_s=3.0)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: bench.log.lines)
    press(bench)
    bench.step_until(lambda: not bench.pin.state)
    for end in ("silence", "hang up"):
        client = bench.connect()
        client.ask("pulse")
        began_s = time.monotonic()
        if end == "hang up":
            client.socket.close()
        bench.step_until(lambda: not bench.pin.state, 2)
        assert time.monotonic() - began_s < 2  # before its pulse is over
        client.socket.close()
        bench.server.step()


def test_a_recognizer_that_hangs_in_the_buttons_pulse_ends_only_its_own(make_bench, monkeypatch):
    monkeypatch.setattr(lock_server, "SILENCE_S", 0.2)
    bench = make_bench(door=SWITCHES, pulse_s=3.0)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: bench.log.lines)
    client = bench.connect()
    client.ask("pulse")
    press(bench)
    bench.step_until(lambda: "silent" in bench.log.reasons(), 2)
    assert bench.pin.state is True
    bench.step_until(lambda: not bench.pin.state)


def test_who_presses_while_the_leaf_stands_open_still_gets_out(door):
    """Somebody else's door falls shut behind them; that ends their pulse, not the one of the button."""
    client = door.connect()
    client.ask("pulse")
    door.factory.pin(22).drive_high()
    door.step_until(lambda: ("door", {"door": "open"}) in door.log.lines)
    press(door)
    door.factory.pin(22).drive_low()
    for _ in range(30):
        door.server.step()
    assert door.pin.state is True
    assert client.ask("lock").bolt == "released"
    door.factory.pin(22).drive_high()  # now it is theirs that opens, and falls shut
    door.step_until(lambda: door.log.lines[-1] == ("door", {"door": "open"}))
    door.factory.pin(22).drive_low()
    door.step_until(lambda: not door.pin.state, 1)


# --- a recognizer that was taken over


class Minutes:
    """Time that a test moves, for server, bolt and client alike."""

    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        for module in ("device.lock.server", "device.lock.bolt"):
            monkeypatch.setattr(f"{module}.time", self)

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        time.sleep(0.001)


@pytest.mark.parametrize("pulse_s", [0.5, 5, 14, 16, 30])
def test_a_hostile_recognizer_holds_the_door_open_for_half_of_a_minute_at_most(
    make_bench, monkeypatch, pulse_s
):
    """It asks as often as it likes; each tenth of a second is looked at, for three minutes."""
    minutes = Minutes(monkeypatch)
    bench = make_bench(pulse_s=pulse_s)
    client, open_at = bench.connect(), []
    for tick in range(1800):
        minutes.now_s += 0.1
        frame_us = round(minutes.now_s * 1e6)
        client.send(f"pulse {client.nonce} {frame_us} 1500".encode())
        answer = client.receive()
        assert answer.word == "ok" or str(answer.refusal) == "too_often"
        bench.lock.end_overdue()
        open_at += [tick] if bench.pin.state else []
    for start in range(0, 1200, 10):
        assert sum(start <= tick < start + 600 for tick in open_at) <= 302
    rises = sum(level and not before for before, level in pairwise(levels(bench.pin)))
    assert rises <= 10 * 4
    assert open_at[-1] > 1200  # and it is let in again, minute after minute
    assert ("alarm", {"reason": "too_often"}) in bench.log.lines
    assert "too_often" in answer.report.alarms


def test_opening_from_outside_is_refused_unless_it_is_configured(make_bench):
    bench = make_bench()
    client = bench.connect()
    assert str(client.ask("open").refusal) == "not_allowed"
    assert bench.pin.state is False
    assert client.ask("pulse").word == "ok"  # the recognizer stays


def test_opening_from_outside_shares_the_budget_of_pulses(make_bench, monkeypatch):
    minutes = Minutes(monkeypatch)
    bench = make_bench(pulse_s=0.5, opens_outside=True)
    client, answers = bench.connect(), []
    for verb in ["pulse", "open"] * 6:
        minutes.now_s += 1
        client.send(f"{verb} {client.nonce} {round(minutes.now_s * 1e6)} 1500".encode())
        answers.append(client.receive())
        bench.lock.end_overdue()
    assert [answer.word for answer in answers] == ["ok"] * 10 + ["refused"] * 2
    assert str(answers[-1].refusal) == "too_often"


@pytest.mark.parametrize("options", [{"age_s": 60}, {"age_s": -1000}, {"nonce": "f" * 32}])
def test_an_old_opening_from_outside_opens_nothing(make_bench, options):
    bench = make_bench(opens_outside=True)
    client = bench.connect()
    assert client.ask("open", **options).word == "refused"
    assert bench.pin.state is False


def test_after_its_half_minute_the_bolt_is_locked_to_it_for_as_long(make_bench, monkeypatch):
    minutes = Minutes(monkeypatch)
    bench = make_bench(pulse_s=30)
    client = bench.connect()

    def ask():
        client.send(f"pulse {client.nonce} {round(minutes.now_s * 1e6)} 1500".encode())
        return client.receive()

    assert ask().word == "ok"
    minutes.now_s += 30.1
    bench.step_until(lambda: not bench.pin.state)
    for _ in range(29):
        assert str(ask().refusal) == "too_often"
        minutes.now_s += 1
    minutes.now_s += 1
    assert ask().word == "ok"


def test_the_exit_button_has_no_budget(make_bench, monkeypatch):
    minutes = Minutes(monkeypatch)
    bench = make_bench(door=SWITCHES, pulse_s=30)
    for pin in (22, 24):
        bench.factory.pin(pin).drive_low()
    bench.step_until(lambda: bench.log.lines)
    client = bench.connect()
    client.send(f"pulse {client.nonce} {round(minutes.now_s * 1e6)} 1500".encode())
    client.receive()
    minutes.now_s += 29.9
    bench.factory.pin(23).drive_low()
    bench.server.step()
    minutes.now_s += 0.06
    bench.server.step()
    minutes.now_s += 10  # the recognizer's half minute is over, the button's pulse is not
    bench.server.step()
    assert bench.pin.state is True
    minutes.now_s += 20
    bench.step_until(lambda: not bench.pin.state)


def test_the_alarm_of_a_recognizer_that_asks_too_often_ends_after_a_minute(make_bench, monkeypatch):
    minutes = Minutes(monkeypatch)
    bench = make_bench(door=DoorConfig(alarm_pin=25), pulse_s=30)
    client = bench.connect()
    for _ in range(2):
        minutes.now_s += 0.1
        client.send(f"pulse {client.nonce} {round(minutes.now_s * 1e6)} 1500".encode())
        client.receive()
    assert bench.factory.pin(25).state is True
    minutes.now_s += 59
    bench.server.step()
    assert bench.factory.pin(25).state is True
    minutes.now_s += 2
    bench.step_until(lambda: not bench.factory.pin(25).state)
    assert ("alarm_over", {"reason": "too_often"}) in bench.log.lines


def test_a_touch_of_the_button_that_is_no_press(door):
    press(door, seconds=0.01)
    for _ in range(10):
        door.server.step()
    assert door.pin.state is False


def test_a_button_that_is_stuck_opens_once(make_bench):
    bench = make_bench(door=SWITCHES)
    bench.factory.pin(22).drive_low()
    bench.step_until(lambda: bench.log.lines)
    bench.factory.pin(23).drive_low()
    until_s = time.monotonic() + 3 * PULSE_S
    while time.monotonic() < until_s:
        bench.server.step()
    assert levels(bench.pin) == [False, True, False]


def test_a_door_that_falls_shut_is_locked(door):
    client = door.connect()
    client.ask("pulse")
    door.factory.pin(22).drive_high()
    door.step_until(lambda: ("door", {"door": "open"}) in door.log.lines)
    assert door.pin.state is True
    door.factory.pin(22).drive_low()
    door.step_until(lambda: not door.pin.state, 1)


def test_a_forced_door_is_told_and_drives_the_alarm(door):
    client = door.connect()
    door.factory.pin(22).drive_high()
    door.step_until(lambda: ("alarm", {"reason": "forced"}) in door.log.lines)
    assert door.factory.pin(25).state is True
    assert client.ask("beat").report.alarms == {"forced"}
    door.factory.pin(22).drive_low()
    door.step_until(lambda: ("alarm_over", {"reason": "forced"}) in door.log.lines)
    assert door.factory.pin(25).state is False


# --- fuzz: the pin may only move for a pulse that an oracle of the test's own allows

EDGES_S = (-0.1, 0.0, 1.5, OLDEST_S)  # beside which rounding decides
LINES = st.tuples(
    st.sampled_from([*VERBS, "pulse", "pulse", "pulse", "unlock", "PULSE", ""]),
    st.sampled_from(["now", "now", "now", "before", "random"]),
    st.one_of(st.floats(0, 1.4), st.floats(-5, 5)).filter(
        lambda age_s: all(abs(age_s - edge_s) > 0.001 for edge_s in EDGES_S)
    ),
    st.sampled_from([1500, 1500, 99999, 0, 100000, -1]),
)
PACKETS = st.one_of(
    st.binary(max_size=2 * LONGEST_BYTES),
    LINES,
    LINES,
    st.tuples(LINES, st.integers(0, 10**6), st.integers(0, 7)),  # a good line with one bit flipped
)
tried = {"packets": 0, "pulses": 0}


class Fuzzed:
    """The bench as the fuzzer sees it."""

    def __init__(self, bench, clock):
        self.bench, self.clock, self.before, self.opened_by_us = bench, clock, "1" * 32, -1
        self.client = bench.connect()

    def line(self, parts):
        verb, which, age_s, life_ms = parts
        nonce = {"now": self.client.nonce, "before": self.before, "random": secrets.token_hex(16)}[which]
        self.clock.now_s += 0.01
        frame_us = round((self.clock.now_s - age_s) * 1e6)
        good = verb == "pulse" and which == "now" and 0 <= life_ms <= 99999
        good = good and -0.1 <= age_s <= min(life_ms / 1e3, OLDEST_S) and frame_us > self.opened_by_us
        return f"{verb} {nonce} {frame_us} {life_ms}".encode(), good, frame_us

    def send(self, packet, may_open, frame_us):
        """Send one packet; the pin may only have been asked to unlock if it may open."""
        asked = self.bench.pulses
        self.client.socket.send(packet)
        self.bench.server.step()
        assert self.bench.pulses - asked == may_open, packet
        if may_open:
            self.opened_by_us = frame_us
            tried["pulses"] += 1
        self.before = self.client.nonce
        if self.client.receive() is None or self.bench.server._client is None:
            assert self.bench.pin.state is False  # who is hung up on leaves a locked door
            self.client.socket.close()
            self.client = self.bench.connect()


class Clock:
    """The server's time, so that a busy machine does not age a packet on its way."""

    now_s = 1000.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def fuzzed(make_bench, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lock_server, "time", clock)
    monkeypatch.setattr(lock_server, "FLOOD", (10**9, 1.0))
    monkeypatch.setattr(Budget, "allows", lambda self, now_s: True)
    bench = make_bench(pulse_s=30)
    bench.pulses = 0
    unlock = bench.lock.unlock

    def count(**asker):
        bench.pulses += 1
        unlock(**asker)

    monkeypatch.setattr(bench.lock, "unlock", count)
    return Fuzzed(bench, clock)


def test_fuzzed_packets_open_nothing(fuzzed):
    @settings(max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(PACKETS, min_size=1, max_size=20))
    @example([("pulse", "now", 0.1, 1500), ("pulse", "now", 0.1, 1500), ("pulse", "before", 0.1, 1500)])
    def attack(packets):
        for each in packets:
            tried["packets"] += 1
            if isinstance(each, bytes):
                if each:  # an empty packet is the end of the connection
                    fuzzed.send(each, False, 0)
            elif len(each) == 4:
                fuzzed.send(*fuzzed.line(each))
            else:
                packet = bytearray(fuzzed.line(each[0])[0])
                packet[each[1] % len(packet)] ^= 1 << each[2]
                # a flipped digit of time or life may leave a good command: such a one is not sent
                if each[1] % len(packet) < len(each[0][0]) + 33:
                    fuzzed.send(bytes(packet), False, 0)

    attack()
    print(f"\nfuzzed: {tried['packets']} packets, {tried['pulses']} of them good pulses")
    assert tried["pulses"] > 0


# --- the real process


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
    process.pulse()
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
    held = process.pulse()  # a recognizer that hangs up ends its pulse
    process.end(signal.SIGKILL)
    held.close()
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
    process.pulse()
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


def wait_until(condition, seconds=10.0):
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.005)
