"""A page's process without the process: the same page, from a thread of the test."""

from __future__ import annotations

import http.client
import socket
import threading
from urllib.parse import urlencode

from device.page.live.__main__ import serve
from device.page.window import Started

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def start_in_thread() -> Started:
    """Serve a page from here, in no cage; it ends with its window, as the process does."""
    ours, theirs = socket.socketpair()

    def live() -> None:
        with theirs:
            serve(theirs, enter_cage=lambda: None)

    threading.Thread(target=live, daemon=True).start()
    return Started(ours, None, "the test")


class Guest:
    """A visitor without a browser."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._headers = {**FORM, "Origin": f"http://{host}"}

    def get(self, path: str) -> int:
        return self._ask("GET", path)

    def post(self, path: str, **fields: str) -> int:
        return self._ask("POST", path, urlencode(fields))

    def _ask(self, method: str, path: str, body: str | None = None) -> int:
        client = http.client.HTTPConnection(self._host, timeout=30)
        client.request(method, path, body, self._headers)
        answer = client.getresponse()
        answer.read()
        if cookie := answer.getheader("set-cookie"):
            self._headers["Cookie"] = cookie.partition(";")[0]
        client.close()
        return answer.status
