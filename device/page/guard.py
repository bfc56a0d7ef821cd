"""What every request and every answer of a page goes through, before any page is asked.

A page that another site opened in the same browser must not reach it: the Host header has to be one of this page's own
(a name that was bound anew to this address is none), and so has the Origin of whatever changes something.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

READS = ("GET", "HEAD")
MAX_FORM_BYTES = 1000
BACKLOG = 256  # so many may wait; all of them are taken at once, a file each
# Of uvicorn, for every page.
LIMITS = {
    "log_config": None,
    "log_level": "critical",  # what a scanner sends is no news
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "ws": "none",
    "lifespan": "off",
    "timeout_keep_alive": 5,
    "timeout_graceful_shutdown": 1,
    "backlog": BACKLOG,
    "h11_max_incomplete_event_size": 16_384,
}
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "referrer-policy": "same-origin",  # "no-referrer" would make the Origin of a form "null"
    "x-content-type-options": "nosniff",
}


class Guard:
    """Refuse requests of other hosts and origins, and add HEADERS to each answer.

    Args:
        is_own: says whether a Host header is one of this page's.
    """

    def __init__(self, app: ASGIApp, *, is_own: Callable[[str], bool]) -> None:
        self._app, self._is_own = app, is_own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = PlainTextResponse(refusal[1], refusal[0]) if refusal is not None else self._app
        await app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 421, "this page has another address: use the one that was printed\n"
        own = all(host_of(origin) == hosts[0] for origin in origins)
        if not own or len(origins) > 1 or (method not in READS and not origins):
            return 403, "the request came from another site\n"
        return None


def host_of(origin: str) -> str:
    """Return the host and port of an Origin header, "" where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # "http://["
        return ""


def is_loopback_host(host: str) -> bool:
    """Say whether a Host header is this machine by name or number, at whatever port."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in ("localhost", "127.0.0.1", "[::1]")


def is_own(host: str, is_tls: bool, given: str) -> bool:
    """Say whether a Host header means the page at `host`; on this machine alone a tunnel may end at another port."""
    return given in (host, host.removesuffix(":443")) if is_tls else is_loopback_host(given)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a small form; what is larger, or no form, has none."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            return {}
    fields = parse_qs(body.decode(errors="replace"))
    return {name: values[-1] for name, values in fields.items()}
