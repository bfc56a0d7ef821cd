"""The lines between recognizer and lock process: what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.lock.door import Report
from device.lock.wire import (
    ALARMS,
    BOLTS,
    DOORS,
    KEYS,
    LONGEST_BYTES,
    SIGNALS,
    VERBS,
    Answer,
    Command,
    Refusal,
    judge,
    read_answer,
    read_command,
    write_answer,
    write_command,
)

NONCE, OTHER = "0f" * 16, "f0" * 16
nonces = st.integers(0, 2**128 - 1).map("{:032x}".format)
commands = st.builds(
    Command,
    verb=st.sampled_from(VERBS),
    nonce=nonces,
    frame_at_s=st.integers(0, 10**15 - 1).map(lambda us: us / 1e6),
    life_s=st.integers(0, 99999).map(lambda ms: ms / 1e3),
)
answers = st.builds(
    Answer,
    word=st.sampled_from(["hello", "ok", "state"]),
    nonce=nonces,
    bolt=st.sampled_from(BOLTS),
    report=st.builds(
        Report, door=st.sampled_from(sorted(DOORS)), alarms=st.frozensets(st.sampled_from(sorted(ALARMS)))
    ),
)


@given(commands)
def test_a_command_comes_through(command):
    packet = write_command(command)
    assert len(packet) <= LONGEST_BYTES
    read = read_command(packet)
    assert (read.verb, read.nonce, read.life_s) == (command.verb, command.nonce, command.life_s)
    assert abs(read.frame_at_s - command.frame_at_s) < 2e-6


@given(answers)
def test_an_answer_comes_through(answer):
    assert len(write_answer(answer)) <= LONGEST_BYTES
    assert read_answer(write_answer(answer)) == answer


@pytest.mark.parametrize("refusal", list(Refusal))
def test_every_refusal_comes_through(refusal):
    answer = Answer("refused", NONCE, "locked", Report("locked"), refusal)
    assert read_answer(write_answer(answer)) == answer


def test_every_signal_is_a_verb_and_no_other_verb_is_a_signal():
    asked = {verb: Command(verb, NONCE, 1.0, 1.0).signal for verb in VERBS}
    assert {verb for verb, signal in asked.items() if signal is None} == {"pulse", "open", "lock", "beat"}
    assert sorted(filter(None, asked.values())) == sorted(SIGNALS)
    assert all(len(write_command(Command(verb, NONCE, 10**8, 1.0))) <= LONGEST_BYTES for verb in VERBS)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_comes_through_and_is_not_shown(key):
    answer = Answer("key", NONCE, "locked", Report("locked"), key=key)
    assert read_answer(write_answer(answer)) == answer
    assert repr(answer) == repr(Answer("key", NONCE, "locked", Report("locked")))


PACKETS = {
    b"": Refusal.RUBBISH,
    b"pulse": Refusal.RUBBISH,
    b"pulse 0 1 1": Refusal.RUBBISH,
    f"pulse {NONCE} 1 1\n".encode(): Refusal.RUBBISH,
    f" pulse {NONCE} 1 1".encode(): Refusal.RUBBISH,
    f"pulse {NONCE} -1 1".encode(): Refusal.RUBBISH,
    f"pulse {NONCE} 1 1e9".encode(): Refusal.RUBBISH,
    f"pulse {NONCE} {'9' * 16} 1".encode(): Refusal.RUBBISH,
    f"pulse {NONCE} \u0661 1".encode(): Refusal.RUBBISH,  # a digit to str.isdigit()
    f"pulse {NONCE.upper()} 1 1".encode(): Refusal.RUBBISH,
    f"pulse {NONCE} 1 1 {' ' * LONGEST_BYTES}".encode(): Refusal.RUBBISH,
    f"unlock {NONCE} 1 1".encode(): Refusal.UNKNOWN_COMMAND,
    f"pulses {NONCE} 1 1".encode(): Refusal.UNKNOWN_COMMAND,
    f"signal {NONCE} 1 1".encode(): Refusal.UNKNOWN_COMMAND,
    f"signal:fire {NONCE} 1 1".encode(): Refusal.UNKNOWN_COMMAND,
    f"pulse:alarm {NONCE} 1 1".encode(): Refusal.UNKNOWN_COMMAND,
    f"alarm {NONCE} 1 1".encode(): Refusal.UNKNOWN_COMMAND,
    f"signal: {NONCE} 1 1".encode(): Refusal.RUBBISH,
    f"signal:alarm:alarm {NONCE} 1 1".encode(): Refusal.RUBBISH,
    f"signal:Alarm {NONCE} 1 1".encode(): Refusal.RUBBISH,
}


@pytest.mark.parametrize("packet", PACKETS, ids=lambda packet: packet[:20])
def test_what_is_no_command(packet):
    assert read_command(packet) is PACKETS[packet]


@given(st.binary(max_size=300))
def test_bytes_are_no_command_and_no_answer(packet):
    assert read_command(packet) in (Refusal.RUBBISH, Refusal.UNKNOWN_COMMAND)
    assert read_answer(packet) is None


@pytest.mark.parametrize(
    ("verb", "nonce", "age_s", "life_s", "refusal"),
    [
        ("pulse", NONCE, 0.2, 1.5, None),
        ("pulse", NONCE, -0.05, 1.5, None),
        ("pulse", OTHER, 0.2, 1.5, Refusal.REPLAY),
        ("beat", OTHER, 0.2, 1.5, Refusal.REPLAY),
        ("pulse", NONCE, 1.6, 1.5, Refusal.STALE),
        ("pulse", NONCE, 2.1, 99.0, Refusal.STALE),  # whatever life it claims
        ("beat", NONCE, 2.1, 99.0, Refusal.STALE),
        ("pulse", NONCE, 0.1, 0.0, Refusal.STALE),
        ("pulse", NONCE, -0.2, 1.5, Refusal.AHEAD),
        ("pulse", NONCE, -1e6, 1.5, Refusal.AHEAD),
    ],
)
def test_judgement(verb, nonce, age_s, life_s, refusal):
    command = Command(verb, nonce, 1000 - age_s, life_s)
    assert judge(command, nonce=NONCE, now_s=1000, oldest_s=2, opened_by_s=-1) is refusal


def test_one_frame_opens_once():
    command = Command("pulse", NONCE, 999.8, 1.5)
    for opened_by_s, refusal in ((999.7, None), (999.8, Refusal.REPLAY), (999.9, Refusal.REPLAY)):
        assert judge(command, nonce=NONCE, now_s=1000, oldest_s=2, opened_by_s=opened_by_s) is refusal


@pytest.mark.parametrize(
    "packet",
    [
        b"ok",
        f"ok {NONCE} open locked -".encode(),
        f"ok {NONCE} locked ajar -".encode(),
        f"ok {NONCE} locked locked fire".encode(),
        f"ok:stale {NONCE} locked locked -".encode(),
        f"refused {NONCE} locked locked -".encode(),
        f"refused:mood {NONCE} locked locked -".encode(),
        f"granted {NONCE} locked locked -".encode(),
        f"key {NONCE} locked locked -".encode(),
        f"key:E {NONCE} locked locked -".encode(),
        f"key:55 {NONCE} locked locked -".encode(),
        f"key:stale {NONCE} locked locked -".encode(),
        f"ok:5 {NONCE} locked locked -".encode(),
        f"state:5 {NONCE} locked locked -".encode(),
    ],
)
def test_what_is_no_answer(packet):
    assert read_answer(packet) is None
