"""How many may stand at a page's address, and how long: nobody is kept out by those who ask for nothing.

A server that says "busy" from so many connections on is shut by whoever opens so many and is silent. Here the oldest of
them goes, unless it is the visitor's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
PATIENCE_S = 15.0  # for the handshake, a request and its answer
VISITOR = "face_unlock.visitor"  # of a request's scope: it showed the session


class Crowd:
    """The connections of one server, the oldest first."""

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self._most = most
        self._all: dict[BriefHTTP, None] = {}

    def join(self, one: BriefHTTP) -> None:
        """Take a new connection; where there are too many the oldest goes that is not the visitor's."""
        self._all[one] = None
        if len(self._all) > self._most:
            min(self._all, key=lambda each: each.is_visitors).hang_up()

    def leave(self, one: BriefHTTP) -> None:
        self._all.pop(one, None)


class BriefHTTP(H11Protocol):
    """HTTP for whoever asks, and takes the answer, in a decent time.

    Args:
        crowd: the server's connections.
        tls: what is spoken, None for plain HTTP. It is spoken here and not by the server, which counts a connection
            only after its handshake.
        patience_s: for each request; the visitor's may take as long as they like.
    """

    def __init__(
        self, *about: Any, crowd: Crowd, tls: ssl.SSLContext | None, patience_s: float, **more: Any
    ) -> None:
        super().__init__(*about, **more)
        self._crowd, self._tls, self._patience_s = crowd, tls, patience_s
        self._line: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._end: asyncio.TimerHandle | None = None
        self._early = b""  # what came with the last words of the handshake

    @property
    def is_visitors(self) -> bool:
        return self.scope is not None and VISITOR in self.scope

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._line = transport
        self._crowd.join(self)
        self._hurry()
        if self._tls is None:
            self.begin(transport)
        else:
            self._handshake = self.loop.create_task(self._secure(transport, self._tls))

    def begin(self, transport: asyncio.Transport) -> None:
        """Take requests from here on."""
        super().connection_made(transport)
        if self._early:
            super().data_received(self._early)

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            self._early += data
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._go()
        if self.transport is not None:
            super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._hurry()
        super().on_response_complete()

    def hang_up(self) -> None:
        """End the connection at once."""
        self._go()
        if self._line is not None:
            self._line.abort()

    async def _secure(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        try:
            secured = await self.loop.start_tls(
                transport, self, tls, server_side=True, ssl_handshake_timeout=self._patience_s
            )
        except OSError:  # it speaks something else, is gone, or too slow
            secured = None
        if secured is None:
            self.hang_up()
        else:
            self.begin(secured)

    def _hurry(self) -> None:
        """Grant the time of one request."""
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(self._patience_s, self._lose_patience)

    def _lose_patience(self) -> None:
        if not self.is_visitors:
            self.hang_up()

    def _go(self) -> None:
        self._crowd.leave(self)
        if self._end is not None:
            self._end.cancel()


def spoken(
    kind: type[BriefHTTP] = BriefHTTP, *, tls: ssl.SSLContext | None = None, patience_s: float = PATIENCE_S
) -> Callable[..., BriefHTTP]:
    """Return what uvicorn is to make of each connection, as its `http`."""
    return partial(kind, crowd=Crowd(), tls=tls, patience_s=patience_s)
