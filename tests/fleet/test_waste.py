"""What a house of many doors need not do twice: open what it knows, write what did not change, read what is at rest."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from device.desk.credentials import Access
from device.fleet import member as member_module
from device.fleet.__main__ import ASK_S, LONGEST_ASK_S, Follower
from device.fleet.letters import Letter
from device.fleet.post import Post
from device.fleet.records import Ack
from device.gallery.gallery import Gallery
from device.journal.status import StatusLog
from tests.support.doors.letters import deliver, letters_of, names
from tests.support.machines.broker import Mosquitto, needs_mosquitto
from tests.support.waiting import wait_until

MORE = 1_200  # records than mosquitto hands out at once unless it is told otherwise


def counted(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[object]:
    """Count the calls of a function, which works on."""
    calls: list[object] = []
    real = getattr(owner, name)

    def call(*args: object, **more: object) -> object:
        calls.append(args)
        return real(*args, **more)

    monkeypatch.setattr(owner, name, call)
    return calls


def test_what_is_here_is_not_opened_again_when_it_comes_again(pair, monkeypatch) -> None:
    letters = letters_of(pair, "alice", "bob")
    deliver(pair, letters)
    opened = counted(monkeypatch, member_module, "open_sealed")
    assert deliver(pair, letters) == ["", "", ""]
    assert len(opened) == 1  # the manifest
    assert pair.member.report().in_sync
    changed = letters_of(pair, "alice", "bob")  # sealed anew
    opened.clear()
    deliver(pair, changed)
    assert len(opened) == 3
    assert pair.member.report().in_sync


def test_a_record_that_was_opened_is_taken_again_after_the_door_was_restored(pair) -> None:
    letters = letters_of(pair, "alice", "bob")
    deliver(pair, letters)
    dump = pair.gallery.dump()
    pair.gallery.restore(dump)  # whom the keeper gave is to come again
    assert pair.member.report().reason == "incomplete"
    deliver(pair, letters)
    assert pair.member.report().in_sync
    assert names(pair) == ["alice", "bob"]


def test_a_door_at_rest_reads_no_row_to_say_how_it_stands(pair, monkeypatch) -> None:
    deliver(pair, letters_of(pair, "alice"))
    assert pair.member.report().in_sync
    read = counted(monkeypatch, Gallery, "profiles")
    states = counted(monkeypatch, Gallery, "fleet")
    for _ in range(5):
        assert pair.member.report().in_sync
    assert (read, states) == ([], [])
    pair.gallery.remove("alice")
    assert pair.member.report().reason == "removed_here"


def test_a_push_without_a_change_opens_no_template_at_the_door(pair, monkeypatch) -> None:
    deliver(pair, letters_of(pair, "alice"))
    opened = counted(monkeypatch, Gallery, "everybody")
    deliver(pair, [letters_of(pair)[-1]])
    assert pair.member.report().sequence == 2
    assert opened == []


def test_a_set_that_is_not_whole_is_asked_for_again_and_ever_less_often(tmp_path: Path) -> None:
    ack = Ack(sequence=1, seen=2, reason="incomplete")
    member = SimpleNamespace(report=lambda: ack, seal_ack=lambda ack: b"", step=lambda now_s: 0, door="front")
    closed: list[float] = []
    line = SimpleNamespace(greeting=None, is_up=True, exchange=lambda: iter(()), put=lambda packet: None)
    line.close = lambda: closed.append(now_s)
    follower = Follower(member, line, StatusLog(writers=[], demo=False))
    follower._came_s = now_s = float(int(time.monotonic()))  # whole: every step is exact
    start_s = now_s
    while now_s < start_s + 4 * LONGEST_ASK_S:
        follower.turn(now_s)
        now_s += 5
    assert closed[0] - start_s < ASK_S + 10
    gaps = [b - a for a, b in itertools.pairwise(closed)]
    assert len(closed) < 20
    assert gaps == sorted(gaps)


@needs_mosquitto
@pytest.mark.timeout(240)
def test_the_broker_writes_its_file_once_for_each_letter_and_not_for_those_who_read_it(
    mosquitto: Mosquitto, own: Path
) -> None:
    assert mosquitto.process is not None
    filler = [Letter(("gallery", f"{number:032x}"), bytes(20_000)) for number in range(20)]
    with Post(Access.read(own)) as post:
        post.lay("front", filler)
    wait_until(lambda: written(mosquitto) == written(mosquitto, 1.5), 60)
    size = (mosquitto.folder / "data/mosquitto.db").stat().st_size
    before = written(mosquitto)
    with Post(Access.read(own)) as post:  # reads all that lies there, and sends one manifest
        post.collect()
        assert len(post.lies("front")) == 20
        post.lay("front", [*(Letter(each.levels, b"") for each in filler), Letter(("manifest",), b"m")])
    # Once handed to the reader, and written some three times; at QoS 1 once more for each of the 20.
    assert (written(mosquitto, 1.5) - before) / size < 10


def written(mosquitto: Mosquitto, after_s: float = 0.0) -> int:
    """Return how many bytes a broker has written by then."""
    time.sleep(after_s)
    assert mosquitto.process is not None
    lines = Path(f"/proc/{mosquitto.process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


@needs_mosquitto
@pytest.mark.timeout(240)
def test_what_lies_at_a_slow_broker_is_read_to_its_end_and_not_sent_again(
    mosquitto: Mosquitto, own: Path
) -> None:
    assert mosquitto.process is not None
    with Post(Access.read(own)) as post:
        post.lay("front", [Letter(("gallery", f"{number:032x}"), bytes(90_000)) for number in range(60)])
    with Post(Access.read(own)) as post:
        back = threading.Timer(4.0, mosquitto.process.send_signal, [signal.SIGCONT])
        mosquitto.process.send_signal(signal.SIGSTOP)
        back.start()
        post.collect()
        assert len(post.lies("front")) == 60
        back.join()


@needs_mosquitto
@pytest.mark.timeout(240)
def test_all_records_are_handed_out_where_there_are_more_than_a_thousand(
    mosquitto: Mosquitto, own: Path
) -> None:
    with Post(Access.read(own)) as post:
        post.lay("front", [Letter(("gallery", f"{number:032x}"), b"x" * 40) for number in range(MORE)])
    with Post(Access.read(own)) as post:
        post.collect()
        assert len(post.lies("front")) == MORE
