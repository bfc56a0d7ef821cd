"""Whoever sends much fills neither the link's log nor the fleet's: what is thrown away is said once in a while."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from device.fleet.__main__ import Follower
from device.fleet.records import Ack
from device.journal.status import StatusLog
from device.link.broker import Message
from device.link.link import COMMANDS, MOST, Link

TURNS = 50


class Lines:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def put(self, line: dict[str, object]) -> None:
        self.lines.append(line)

    def close(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("payload", "is_retained"), [(b"{}", False), (b"x" * 90_000, False), (b"{}", True)])
def test_commands_by_the_thousand_are_a_few_lines_and_a_few_answers(
    payload: bytes, is_retained: bool
) -> None:
    said: list[str] = []
    broker = SimpleNamespace(
        news=lambda: None,
        message=lambda: Message("face-unlock/front/command", payload, is_retained),
        publish=lambda name, *_, **__: said.append(name) or True,
    )
    hub = SimpleNamespace(
        step=lambda wait_s: iter(()), has=lambda role: False, send=lambda role, packet: False
    )
    lines = Lines()
    link = Link("front", hub, broker, StatusLog(writers=[lines], demo=False))
    for _ in range(TURNS):
        link.step()
    assert 10 * COMMANDS[0] < TURNS * MOST
    refused = [line for line in lines.lines if line["event"] == "outside_refused"]
    assert 1 <= len(refused) <= 3 * (COMMANDS[0] + 1)  # a busy machine may take some seconds
    assert len([name for name in said if name.endswith("/event")]) <= 3 * COMMANDS[0]


def test_envelopes_by_the_thousand_are_a_line_for_each_reason() -> None:
    refusals = iter(["not_the_keepers", "", "unreadable"] * 400)
    ack = Ack(sequence=1, seen=1)
    member = SimpleNamespace(
        report=lambda: ack,
        seal_ack=lambda ack: b"",
        step=lambda now_s: 0,
        is_behind=False,
        take=lambda *_: next(refusals),
    )
    packets = [{"topic": "gallery/x", "body": "eA=="}] * 1_200
    line = SimpleNamespace(greeting=None, is_up=True, exchange=lambda: iter(packets), put=lambda packet: None)
    lines = Lines()
    Follower(member, line, StatusLog(writers=[lines], demo=False)).turn(0.0)
    assert [line["reason"] for line in lines.lines] == ["not_the_keepers", "unreadable"]
