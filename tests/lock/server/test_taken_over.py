"""A recognizer that was taken over asks for pulse after pulse."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from device.config import DoorConfig
from tests.support.lock_bench import SWITCHES, levels


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


def test_what_is_left_of_a_pulse_that_was_ended_is_given_back(make_bench):
    """Seven people in a minute, each gone in a moment: seven pulses of 6 s would be more than the half minute."""
    bench = make_bench(pulse_s=6)
    client = bench.connect()
    for _ in range(7):
        assert client.ask("pulse").word == "ok"
        assert client.ask("lock").bolt == "locked"


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
