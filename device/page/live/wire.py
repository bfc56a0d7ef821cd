"""What a program and the process of its page say to each other: one JSON object a line, over a Unix socket.

The program speaks first and hands over the socket at which the page listens:

    program   {"host", "address", "is_tls", "view", "question"}    once, with the socket
    page      {"token", "fingerprint"}                             once
    program   {"show": {...}} and at the end {"last": {...}}       a view, as the page's script takes it
    program   {"settle": true}                                     before it stores: from now on a no comes too late
    page      {"said": one of SAYINGS}                             what the visitor did

The end of either process ends the wire, and so the other's part in it.
"""

from __future__ import annotations

import array
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

# Somebody is admitted, asks for a view, agrees, says no, has the last view; five codes were wrong; it is settled.
SAYINGS = ADMITTED, ASKED, AGREED, DECLINED, TAKEN, ENDED, SETTLED = (
    "admitted", "asked", "agreed", "declined", "taken", "ended", "settled",
)  # fmt: skip
MAX_VIEW_BYTES = 8_000_000  # a contact sheet of fifty faces has two
MAX_SAID_BYTES = 10_000  # the page may be in other hands than ours
SEND_WAIT_S = 5.0

Packet = dict[str, Any]


class Wire:
    """One end.

    Args:
        bound: a connected stream socket; closed with the wire.
        longest: the longest line that is taken, bytes.
        takes_socket: whether the other end may hand over a socket, which `handed` then is.
    """

    def __init__(self, bound: socket.socket, *, longest: int, takes_socket: bool = False) -> None:
        self._socket, self._longest, self._takes_socket = bound, longest, takes_socket
        self._guard = threading.Lock()
        self._rest = b""
        self.handed: socket.socket | None = None
        bound.settimeout(None)
        seconds, parts = divmod(SEND_WAIT_S, 1)
        timeval = array.array("l", [int(seconds), int(parts * 1e6)])
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval.tobytes())

    def send(self, packet: Packet, handed: socket.socket | None = None) -> bool:
        """Send a packet, and a socket with it; False where the other end is gone or takes nothing."""
        data = json.dumps(packet).encode() + b"\n"
        try:
            with self._guard:
                if handed is not None:
                    sent = socket.send_fds(self._socket, [data], [handed.fileno()])
                    data = data[sent:]
                self._socket.sendall(data)
        except OSError:
            self._shut(socket.SHUT_RDWR)  # half of a line may be through: nothing that follows could be read
            return False
        return True

    def packets(self) -> Iterator[Packet]:
        """Yield what comes until the other end is gone; what is too long or no packet ends it too."""
        while (line := self._line()) is not None:
            try:
                packet = json.loads(line)
            except (ValueError, RecursionError):
                return
            if not isinstance(packet, dict):
                return
            yield packet

    def end(self) -> None:
        """Let the other end read that nothing follows."""
        self._shut(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(how)

    def _line(self) -> bytes | None:
        parts, length = [self._rest], len(self._rest)
        while b"\n" not in parts[-1]:
            if length > self._longest:
                return None
            part = self._receive()
            if not part:
                return None
            parts.append(part)
            length += len(part)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line if len(line) <= self._longest else None

    def _receive(self) -> bytes:
        try:
            if not self._takes_socket or self.handed is not None:
                return self._socket.recv(65536)
            part, numbers, _, _ = socket.recv_fds(self._socket, 65536, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return b""
        if numbers:
            self.handed = socket.socket(fileno=numbers[0])
        return part
