"""Post: the keeper's connection to the broker: lays down what is for each door, and reads what each answered."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from device.desk.credentials import Access
from device.errors import LinkError
from device.fleet.letters import Letter, digest_of
from device.link.broker import Broker, Message
from device.link.discovery import discovery_topic
from device.link.topics import ACK, GALLERY, MANIFEST, ONLINE, ROOT, STATE, SUCCESSION, topic
from device.vault.files import hold

CONNECT_S = 20.0  # until the broker is reached
MARK_S = 1.0  # between two marks behind what lies there
PUBLISH_S = (
    60.0  # 200 doors that answer at once are 200 files for the broker to write before its next receipt
)
LAID = (MANIFEST, SUCCESSION, ACK, STATE, ONLINE)  # what lies at the broker for a door, beside its records
TURN_S = 120.0  # for another command's visit


class Post:
    """One visit to the broker; a context manager.

    The broker ends the connection of a user who connects a second time, so visits wait for each other.
    """

    def __init__(self, access: Access) -> None:
        self._access, self._undo = access, ExitStack()
        self._mark = topic(access.user, "mark")
        self.acks: dict[str, bytes] = {}  # by door, sealed
        self._lies: dict[str, str] = {}  # topic of each record, and the digest of its envelope

    def __enter__(self) -> Post:
        with ExitStack() as undo:
            turn = os.open(self._access.folder, os.O_RDONLY)
            undo.callback(os.close, turn)
            try:
                hold(turn, self._access.folder, TURN_S)
            except OSError:
                raise LinkError(
                    f"another fleet command visits the broker for more than {TURN_S:g} s: wait until it ends"
                ) from None
            subscriptions = [(f"{ROOT}/+/{ACK}", True), (f"{ROOT}/+/{GALLERY}/+", True)]
            self._broker = Broker(self._access, subscriptions=subscriptions, echo=self._mark)
            undo.callback(self._broker.close)
            self._await(lambda: self._broker.is_up, CONNECT_S)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def collect(self) -> None:
        """Read what lies at the broker: all that is handed out at the subscription comes before a mark does."""
        heard_s, marked_s = time.monotonic(), float("-inf")
        while True:
            if time.monotonic() - marked_s > MARK_S:  # one that came before the subscription is lost
                self._broker.publish(self._mark, b"", retain=False, qos=0)
                marked_s = time.monotonic()
            message = self._broker.message(MARK_S)
            if message is not None and message.topic == self._mark:
                return
            if message is not None:
                self._take(message)
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > PUBLISH_S:
                raise LinkError(
                    f"broker {self._access.host}: handed out nothing for {PUBLISH_S:g} s: look at its log, then "
                    "try again"
                )

    def lies(self, door: str) -> dict[str, str]:
        """Return the digest of each record that lies there for a door, by its id."""
        below = f"{topic(door, GALLERY)}/"
        return {name.removeprefix(below): each for name, each in self._lies.items() if name.startswith(below)}

    def lay(self, door: str, letters: Sequence[Letter]) -> None:
        """Lay down what is for a door, and take away the records that are no longer."""
        names = [topic(door, *letter.levels) for letter in letters]
        for name, letter in zip(names, letters, strict=True):
            if letter.body:
                self._publish(name, letter.body)
        self.clear(door, keeping=names)

    def clear(self, door: str, keeping: Sequence[str] = (), *, whole: bool = False) -> None:
        """Take away the records of a door but some; `whole`: all of it, also what Home Assistant is shown."""
        for name in sorted(self._lies):
            if name.startswith(f"{topic(door)}/") and name not in keeping:
                self._publish(name, b"")
                self._lies.pop(name, None)
        for name in [topic(door, each) for each in LAID] + [discovery_topic(door)] if whole else []:
            self._publish(name, b"")

    def clear_others(self, doors: Sequence[str]) -> None:
        """Take away what lies there for doors that are no longer: the broker was down when they were revoked."""
        for door in {*(name.split("/")[1] for name in self._lies), *self.acks} - set(doors):
            self.clear(door, whole=True)
            self.acks.pop(door, None)

    def listen(self, seconds: float) -> Iterator[None]:
        """Yield for what was answered until now, and after each answer of a door that comes, for so long."""
        until_s = time.monotonic() + seconds
        yield
        while (left_s := until_s - time.monotonic()) > 0:
            message = self._broker.message(min(left_s, 0.2))
            if message is not None and self._take(message):
                yield

    def _take(self, message: Message) -> bool:
        """Note an answer, or where a record lies; True for an answer."""
        if message.topic == self._mark:  # a late one
            return False
        _, door, kind, *_ = [*message.topic.split("/"), "", ""]
        if kind == ACK and message.payload:
            self.acks[door] = message.payload
        elif kind == GALLERY and message.payload:
            self._lies[message.topic] = digest_of(message.payload)
        elif kind == GALLERY:
            self._lies.pop(message.topic, None)
        return kind == ACK

    def _publish(self, name: str, body: bytes) -> None:
        if not self._broker.publish_and_wait(name, body, PUBLISH_S, self._take):
            raise LinkError(
                f"broker {self._access.host}: took nothing for {PUBLISH_S:g} s: look at its log, then push again"
            )
        if body and f"/{GALLERY}/" in name:
            self._lies[name] = digest_of(body)

    def _await(self, condition: Callable[[], bool], seconds: float) -> None:
        until_s, said = time.monotonic() + seconds, "no answer"
        while not condition():
            said = news.text if (news := self._broker.news()) else said
            if time.monotonic() > until_s:
                raise LinkError(
                    f"broker {self._access.host}:{self._access.port}: {said} for {seconds:g} s: check its address, "
                    "that it runs, and its certificates"
                )
            time.sleep(0.05)
