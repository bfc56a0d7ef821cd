"""What a machine held back is counted, and the time in which a process was stopped is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from scripts.prove.parties import wait_for
from scripts.prove.waits import Underway, Waits, threads_of, waited_s

COUNTED = bool(waited_s(threads_of(os.getpid())))
needs_count = pytest.mark.skipif(not COUNTED, reason="this kernel does not count it")
BUSY = [sys.executable, "-c", "while True: pass"]


@needs_count
def test_of_two_that_share_a_processor_each_waits_for_the_other():
    cpu = min(os.sched_getaffinity(0))
    both = [subprocess.Popen(BUSY, preexec_fn=lambda: os.sched_setaffinity(0, {cpu})) for _ in range(2)]
    waits = Waits(lambda: [each.pid for each in both])
    try:
        began_s = time.monotonic()
        assert wait_for(lambda: waits.since(began_s) > 0.5, 120)
    finally:
        waits.close()
        for each in both:
            each.kill()
            each.wait()


@needs_count
def test_a_process_that_was_stopped_waits_for_nothing():
    with subprocess.Popen(BUSY) as process:
        process.send_signal(signal.SIGSTOP)
        assert wait_for(lambda: state_of(process.pid) == "T", 120)
        before = sum(waited_s(threads_of(process.pid)).values())
        time.sleep(0.3)
        assert sum(waited_s(threads_of(process.pid)).values()) == before
        process.kill()


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_who_has_ended_and_who_never_was_has_waited_for_nothing():
    assert threads_of(2**30) == []
    assert waited_s([*threads_of(2**30)]) == {}


def test_a_wait_that_ends_in_death_is_counted_from_when_it_was_seen(tmp_path):
    """A process that is killed waits for a processor once more, dies, and is gone before Linux has counted that."""
    underway = Underway()

    def after(state: str, counted: str, now_s: float) -> float:
        (tmp_path / "stat").write_text(f"7 (a (b) c) {state} 1 7")
        (tmp_path / "schedstat").write_text(counted)
        return underway.waited_s([tmp_path], now_s)[str(tmp_path)]

    assert after("S", "5 1000000000 3", 10.0) == 1.0
    assert after("R", "5 1000000000 3", 10.5) == 1.0  # since when it is ready, nobody knows
    assert after("R", "5 1000000000 3", 11.0) == 1.5
    assert after("R", "5 1000000000 3", 11.5) == 2.0
    assert after("R", "9 2200000000 4", 12.0) == 2.2  # it ran: the kernel has counted all of it
    assert after("T", "9 2200000000 4", 13.0) == 2.2  # stopped, it waits for nothing
    (tmp_path / "stat").unlink()
    assert underway.waited_s([tmp_path], 14.0) == {}


class Held:
    """A machine that holds everything back for some seconds, and then no more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def since(self, start_s: float) -> float:
        return min(self.seconds, time.monotonic() - start_s)


@pytest.mark.parametrize(("held_s", "found"), [(0.0, False), (600.0, True)])
def test_what_the_machine_held_back_is_added_to_a_patience(held_s, found):
    began_s = time.monotonic()
    assert wait_for(lambda: time.monotonic() > began_s + 0.5, 0.1, Held(held_s)) is found
