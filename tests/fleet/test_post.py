"""The keeper's visit to the broker, with more to lay down than a house has."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.desk.credentials import Access
from device.fleet.letters import Letter
from device.fleet.post import Post
from tests.support.machines.broker import Mosquitto, needs_mosquitto
from tests.support.waiting import wait_until

MANY = 400  # more than wait for a program in one queue


@needs_mosquitto
@pytest.mark.timeout(240)
def test_more_records_than_a_queue_holds_are_laid_down_while_a_door_answers_often(
    mosquitto: Mosquitto, own: Path
) -> None:
    door = mosquitto.client("front").listen("face-unlock/front/gallery/+")
    letters = [Letter(("gallery", f"{number:032x}"), b"x" * 40) for number in range(MANY)]
    with Post(Access.read(own)) as post:
        post.lay("front", letters[: MANY // 2])
        for number in range(300):
            door.client.publish("face-unlock/front/ack", f"{number}", qos=1, retain=True)
        post.lay("front", letters)
        assert len(post.lies("front")) == MANY
        for _ in post.listen(60):
            if post.acks.get("front") == b"299":
                break
        assert post.acks["front"] == b"299"
    wait_until(lambda: len(door.retained) == MANY, 60)
    door.close()


@needs_mosquitto
def test_answers_that_came_while_letters_were_laid_are_heard_at_once(mosquitto: Mosquitto, own: Path) -> None:
    door = mosquitto.client("front").up()
    with Post(Access.read(own)) as post:
        door.say("face-unlock/front/ack", b"yes", retain=True)
        wait_until(lambda: not post.lay("front", [Letter(("manifest",), b"m")]) and "front" in post.acks, 60)
        assert next(iter(post.listen(60)), "nothing") is None
    door.close()


@needs_mosquitto
@pytest.mark.timeout(240)
def test_more_answers_than_a_queue_holds_keep_no_letter_from_being_laid(
    mosquitto: Mosquitto, own: Path
) -> None:
    door = mosquitto.client("front").up()
    with Post(Access.read(own)) as post:
        for number in range(MANY):
            door.client.publish("face-unlock/front/ack", f"{number}", qos=0)
        door.say("face-unlock/front/ack", b"last", retain=True)
        wait_until(lambda: post._broker._queue.full(), 60)
        post.lay("front", [Letter(("manifest",), b"m")])
        for _ in post.listen(60):
            if post.acks.get("front") == b"last":
                break
        assert post.acks["front"] == b"last"
    door.close()
