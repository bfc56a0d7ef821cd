"""The status page: what the door said last, for whoever may reach its socket; it reads one file and has no button.

    python -m device.page.status --file /run/face-unlock/status.json     with a socket of systemd
    python -m device.page.status --file status.json --socket page.sock   with one of its own
    python -m device.page.status --file status.json --tls FOLDER         for viewers in the network

It ends by itself when nobody has looked for a while; systemd starts it again for the next look.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from device.errors import UsageError
from device.health import read_board
from device.page.crowd import spoken
from device.page.guard import LIMITS, Guard, is_loopback_host
from device.page.markup import FOLDER
from device.page.report import report
from device.page.snapshot import read_snapshot
from device.programs import Parser, run, stop_signals_raise

FIRST_FD = 3  # sd_listen_fds(3)
IDLE_S = 600.0


@dataclass
class Looks:
    """When somebody looked last, s of a clock that nobody sets."""

    last_s: float

    def is_idle(self, idle_s: float) -> bool:
        return time.monotonic() - self.last_s > idle_s


def status_app(
    path: Path,
    *,
    sys_folder: Path = Path("/sys"),
    looks: Looks | None = None,
    is_own: Callable[[str], bool] = is_loopback_host,
) -> ASGIApp:
    """Return the application of a status page that reads the snapshot at `path`; `is_own` judges Host headers."""

    async def home(request: Request) -> Response:
        if looks is not None:
            looks.last_s = time.monotonic()
        text = report(read_snapshot(path), read_board(sys_folder), datetime.now(timezone.utc))
        return HTMLResponse(text)

    async def style(request: Request) -> Response:
        return FileResponse(FOLDER / "page.css")

    pages: Mapping[str, Callable[[Request], Awaitable[Response]]] = {"/": home, "/page.css": style}
    routes = [Route(address, page, methods=["GET"]) for address, page in pages.items()]
    return Guard(Starlette(routes=routes), is_own=is_own)


def main(arguments: list[str] | None = None) -> int:
    """Serve until nobody has looked for a while, and return the exit code."""
    return run("status page", lambda: act(parse(arguments)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m device.page.status", description="Show what the door said last.")
    parser.add_argument(
        "--file", type=Path, required=True, metavar="PATH", help="what `unlock --status-file` writes"
    )
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="listen here; without it at systemd's socket"
    )
    parser.add_argument(
        "--tls",
        type=Path,
        metavar="FOLDER",
        help="speak TLS, to viewers of the fleet alone; of `fleet join`",
    )
    return parser.parse_args(arguments)


def act(args: argparse.Namespace, idle_s: float = IDLE_S) -> int:
    looks = Looks(time.monotonic())
    server = uvicorn.Server(config_of(args, looks))
    with stop_signals_raise(), listening(args.socket, os.environ) as bound:
        threading.Thread(target=end_when_idle, args=(server, looks, idle_s), daemon=True).start()
        with contextlib.suppress(SystemExit):  # SIGTERM: it did what it should
            server.run(sockets=[bound])
    return 0


def config_of(args: argparse.Namespace, looks: Looks) -> uvicorn.Config:
    """Return how to serve: as it is where ssh encrypts, else with TLS for viewers."""
    if args.tls is None:
        return uvicorn.Config(status_app(args.file, looks=looks), http=spoken(), **LIMITS)  # type: ignore[arg-type]
    from device.page.viewers import Entrance, ViewersOnly  # a page by ssh pays for no TLS

    entrance = Entrance.read(args.tls)
    app = status_app(args.file, looks=looks, is_own=entrance.is_own)
    return uvicorn.Config(app, http=spoken(ViewersOnly, tls=entrance.tls), **LIMITS)  # type: ignore[arg-type]


def end_when_idle(server: uvicorn.Server, looks: Looks, idle_s: float) -> None:
    while not looks.is_idle(idle_s):
        time.sleep(min(idle_s, 5.0))
    server.should_exit = True


@contextlib.contextmanager
def listening(path: Path | None, environ: Mapping[str, str]) -> Iterator[socket.socket]:
    """Yield the socket to listen at: systemd's, or one at a path, which goes with the program."""
    if path is None:
        if environ.get("LISTEN_FDS") != "1" or environ.get("LISTEN_PID") != str(os.getpid()):
            raise UsageError("no socket: expected one of systemd (face-unlock-page.socket), or --socket PATH")
        with socket.socket(fileno=FIRST_FD) as given:
            yield given
        return
    with socket.socket(socket.AF_UNIX) as bound:
        try:
            bound.bind(str(path))
        except OSError as fault:
            cause = fault.strerror or fault
            raise UsageError(f"--socket {path}: {cause}: name a new file in a folder of yours") from None
        try:
            path.chmod(0o600)
            bound.listen()
            yield bound
        finally:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
