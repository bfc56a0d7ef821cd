"""Line: the door's end of the socket to the link. It never waits; a link that is gone, hung or mad costs nothing."""

from __future__ import annotations

import collections
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from device.desk.wire import Packet, read_packet, write_packet

QUEUE = 64  # packets that wait for a link; the oldest go first
RETRY_S, ANGRY_S = (
    1.0,
    10.0,
)  # before the next try: where nobody listens, and after a link that broke the rules
MOST = 8  # packets are read at a turn
FLOOD = (40, 1.0)  # more packets within so many seconds are no broker's of a house


class Line:
    """A connection to the link that is made again whenever it is lost; `greeting` is what it begins with then.

    Args:
        longest: bytes of the longest packet that is taken.
        flood: (packets, seconds) that are too many; None where many are expected.
    """

    def __init__(
        self,
        address: Path,
        *,
        longest: int,
        flood: tuple[int, float] | None = FLOOD,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.greeting: Callable[[], list[Packet]] = lambda: []
        self._address, self._longest, self._flood, self._now_s = address, longest, flood, now_s
        self._socket: socket.socket | None = None
        self._tried_s = float("-inf")
        self._wait_s = RETRY_S
        self._queue: collections.deque[Packet] = collections.deque(maxlen=QUEUE)
        self._guard = threading.Lock()
        self._count, self._since_s = 0, float("-inf")

    @property
    def is_up(self) -> bool:
        """Whether a link is connected."""
        return self._socket is not None

    def fileno(self) -> int | None:
        """Return the socket's number, for whoever waits for it; None while there is none."""
        return self._socket.fileno() if self._socket is not None else None

    def put(self, packet: Packet) -> None:
        """Queue a packet, from any thread."""
        with self._guard:
            self._queue.append(packet)

    def exchange(self) -> Iterator[Packet]:
        """Send what is queued, and yield what came."""
        if self._socket is None and not self._connect():
            return
        with contextlib.suppress(BlockingIOError):
            try:
                self._send()
                yield from self._receive()
            except BlockingIOError:
                raise
            except OSError:
                self._hang_up(RETRY_S)

    def close(self) -> None:
        """Hang up."""
        self._hang_up(RETRY_S)

    def _connect(self) -> bool:
        now_s = self._now_s()
        if now_s - self._tried_s < self._wait_s:
            return False
        self._tried_s = now_s
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        try:
            connection.connect(str(self._address))
        except OSError:
            connection.close()
            return False
        self._socket, self._wait_s = connection, RETRY_S
        greeting = self.greeting()
        with self._guard:
            self._queue.clear()  # an event of ten minutes ago is no news
            self._queue.extend(greeting)
        return True

    def _send(self) -> None:
        while True:
            with self._guard:
                packet = self._queue.popleft() if self._queue else None
            if packet is None or self._socket is None:
                return
            try:
                self._socket.send(write_packet(packet))
            except BlockingIOError:  # it does not read: what waits is bounded
                with self._guard:
                    if len(self._queue) < QUEUE:
                        self._queue.appendleft(packet)
                return

    def _receive(self) -> Iterator[Packet]:
        for _ in range(MOST):
            if self._socket is None:
                return
            data = self._socket.recv(self._longest + 1)
            packet = read_packet(data, self._longest) if data else None
            if not data or packet is None or self._floods():
                self._hang_up(ANGRY_S if data else RETRY_S)
                return
            yield packet

    def _floods(self) -> bool:
        if self._flood is None:
            return False
        most, span_s = self._flood
        if self._now_s() - self._since_s > span_s:
            self._count, self._since_s = 0, self._now_s()
        self._count += 1
        return self._count > most

    def _hang_up(self, wait_s: float) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket, self._tried_s, self._wait_s = None, self._now_s(), wait_s
