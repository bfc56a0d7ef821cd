"""Any packet: the pin may only move for a pulse that an oracle of the test's own allows."""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from device.lock import server as lock_server
from device.lock.budget import Budget
from device.lock.wire import LONGEST_BYTES, VERBS
from tests.support.lock_bench import OLDEST_S

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))  # docs/how/fail_secure.md names the long run


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
