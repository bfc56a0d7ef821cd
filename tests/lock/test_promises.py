"""What the pages promise of the lock process and its client is what both hold: each number once more, from the text."""

from __future__ import annotations

import pytest

from device.lock import client, server
from tests.support.checkout import ROOT

LOG, DEGRADED = "docs/owner/log.md", "docs/how/degraded.md"


@pytest.mark.parametrize(
    ("page", "promise"),
    [
        (LOG, f"no beat of the recognizer for {server.SILENCE_S:g} s"),
        (LOG, f"its loop turns within {client.HANGS_S:g} s"),
        (LOG, f"more than {server.FLOOD[0]} packets or {server.SIGNAL_FLOOD[0]} signals in a second"),
        (LOG, f"each reason at most once in {server.TELL_S:g} s"),
        (DEGRADED, f"does not answer for {client.ANSWER_S:g} s"),
        (DEGRADED, f"after {client.PATIENCE_S:g} s without"),
        (DEGRADED, f"its loop turns within {client.HANGS_S:g} s"),
    ],
)
def test_the_pages_promise_what_is_held(page: str, promise: str) -> None:
    assert promise in (ROOT / page).read_text(encoding="utf-8")


def test_a_recognizer_that_turns_is_never_taken_for_a_silent_one() -> None:
    """Four beats fit into the silence that is waited for, and an answer that is late does not fill it."""
    assert 4 * client.BEAT_S <= server.SILENCE_S
    assert 2 * client.ANSWER_S <= server.SILENCE_S
    assert server.FLOOD[1] == server.SIGNAL_FLOOD[1] == 1


def test_one_more_than_the_limit_is_too_many_and_a_second_later_none_is() -> None:
    rate = server.Rate((3, 1.0), 10.0)
    assert [rate.exceeded(10.5) for _ in range(4)] == [False, False, False, True]
    assert rate.exceeded(11.0)  # the second is not over
    assert not rate.exceeded(11.01)
