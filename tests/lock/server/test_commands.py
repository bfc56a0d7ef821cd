"""The lock process's server: what it obeys and refuses, and recognizers that die, hang or flood."""

from __future__ import annotations

import os
import time

import pytest

from device.lock import server as lock_server
from device.lock.wire import LONGEST_BYTES, read_answer
from tests.support.lock_bench import OLDEST_S, PULSE_S, Raw, levels

# --- what it obeys


def test_a_pulse_is_answered_when_it_is_unlocked_and_ends_by_itself(bench):
    client = bench.connect()
    answer = client.ask("pulse")
    assert (answer.word, answer.bolt, answer.report.door) == ("ok", "unlocked", "unlocked")
    assert bench.pin.state is True
    bench.step_until(lambda: not bench.pin.state)
    assert PULSE_S - 0.05 <= bench.pin.states[-1].timestamp <= PULSE_S + 4  # a busy machine ends it later
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


def test_the_log_of_a_thousand_attacks_is_short(bench, monkeypatch):
    monkeypatch.setattr(
        lock_server, "TELL_S", 1e6
    )  # a busy machine needs longer for a thousand than for a line
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
