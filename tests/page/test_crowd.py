"""A crowd at a page's address: who asks for nothing keeps nobody out, and who dawdles is hung up on."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
import uvicorn

from device.page.crowd import MAX_CONNECTIONS, spoken
from device.page.guard import LIMITS
from device.page.live.application import Visit, live_app
from device.page.live.certificate import certified
from tests.support.pages import FORM

CROWD = 3 * MAX_CONNECTIONS


class Server:
    """A live page at the loopback, in a thread."""

    def __init__(self, is_tls: bool, patience_s: float) -> None:
        self.visit = Visit(view="<p>view</p>")
        app = live_app(self.visit, is_own=lambda host: True, is_secure=is_tls)
        tls = certified("127.0.0.1")[0] if is_tls else None
        config = uvicorn.Config(app, http=spoken(tls=tls, patience_s=patience_s), **LIMITS)  # type: ignore[arg-type]
        self.server = uvicorn.Server(config)
        self.bound = socket.create_server(("127.0.0.1", 0))
        self.address = self.bound.getsockname()
        self._is_tls = is_tls
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.bound]}, daemon=True)
        self._thread.start()

    def client(self) -> http.client.HTTPConnection:
        if self._is_tls:
            context = ssl._create_unverified_context()  # of the moment: nobody vouches for it
            return http.client.HTTPSConnection(*self.address, context=context, timeout=60)
        return http.client.HTTPConnection(*self.address, timeout=60)

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join(30)


@contextlib.contextmanager
def served(*, is_tls: bool, patience_s: float = 300.0) -> Iterator[Server]:
    server = Server(is_tls, patience_s)
    try:
        yield server
    finally:
        server.close()


def status(client: http.client.HTTPConnection, path: str = "/", **headers: str) -> int:
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    answer.read()
    return answer.status


def enter(server: Server, client: http.client.HTTPConnection) -> str:
    """Enter with the token; return the session's cookie."""
    scheme = "http" if not server._is_tls else "https"
    host = f"127.0.0.1:{server.address[1]}"
    client.request(
        "POST",
        "/enter",
        urlencode({"token": server.visit.admittance.token}),
        {**FORM, "Origin": f"{scheme}://{host}"},
    )
    answer = client.getresponse()
    answer.read()
    assert answer.status == 303
    return (answer.getheader("set-cookie") or "").partition(";")[0]


def press(server: Server, said: bytes = b"") -> list[socket.socket]:
    """Open many connections that say so much and then nothing."""
    crowd = []
    for _ in range(CROWD):
        one = socket.create_connection(server.address, timeout=60)
        with contextlib.suppress(OSError):
            one.sendall(said)
        crowd.append(one)
    return crowd


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: 127", b"\x16\x03\x01\x02\x00"])
def test_a_silent_crowd_keeps_nobody_out(is_tls: bool, said: bytes) -> None:
    with served(is_tls=is_tls) as server:
        crowd = press(server, said)
        assert status(server.client()) == 200
        assert status(server.client()) == 200
        for each in crowd:
            each.close()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_the_visitors_connection_outlives_the_crowd(is_tls: bool) -> None:
    with served(is_tls=is_tls) as server:
        client = server.client()
        cookie = enter(server, client)
        server.visit.mirror.show({"hint": "look"})
        assert status(client, "/look?after=0", Cookie=cookie) == 200
        own = client.sock
        crowd = press(server)
        assert status(client, "/look?after=0", Cookie=cookie) == 200
        assert client.sock is own  # it was not opened anew
        for each in crowd:
            each.close()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_whoever_dawdles_is_hung_up_on(is_tls: bool) -> None:
    with served(is_tls=is_tls, patience_s=0.3) as server:
        with socket.create_connection(server.address, timeout=60) as slow:
            slow.sendall(b"GET")
            with contextlib.suppress(ConnectionError):
                assert slow.recv(100) == b""


def test_whoever_does_not_take_the_answers_is_hung_up_on() -> None:
    with served(is_tls=False, patience_s=0.5) as server:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(60)
            deaf.connect(server.address)
            asked = b"GET /page.css HTTP/1.1\r\nHost: x\r\n\r\n" * 2000
            with pytest.raises(ConnectionError):
                say_for_ever(deaf, asked)


def say_for_ever(one: socket.socket, said: bytes) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        one.sendall(said)


def test_a_visitor_may_be_slow() -> None:
    with served(is_tls=False, patience_s=0.3) as server:
        client = server.client()
        cookie = enter(server, client)
        assert status(client, "/look?after=0", Cookie=cookie) == 200  # waits four seconds for a view
