"""The live page's process; `enroll.py --page` and `scripts/aim.py` start it, or have systemd start it:

    python -m device.page.live      with the program's socket as stdin

It is given a socket to listen at and the texts of its pages, and answers with the token. It ends with that program.
"""

from __future__ import annotations

import sys

from device.programs import guard_start

if __name__ == "__main__":
    guard_start("page")

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from anyio._backends import _asyncio  # noqa: F401  loaded late otherwise, when no file may be read any more

from device.errors import UsageError
from device.page.crowd import spoken
from device.page.guard import LIMITS, is_own
from device.page.live import cage
from device.page.live.application import Visit, live_app
from device.page.live.certificate import certified
from device.page.live.wire import MAX_VIEW_BYTES, Packet, Wire
from device.programs import Parser, run

END_WAIT_S = 2.0  # for the answers under way


def main(arguments: list[str] | None = None) -> int:
    """Serve until the program ends, and return the exit code."""
    return run("page", lambda: act(arguments))


def act(arguments: list[str] | None) -> int:
    Parser(prog="python -m device.page.live", description="Serve the page of a program.").parse_args(
        arguments
    )
    with given() as control:
        serve(control, enter_cage=cage.enter)
    return 0


@contextlib.contextmanager
def given() -> Iterator[socket.socket]:
    """Yield the program's socket."""
    try:
        control = socket.socket(fileno=os.dup(0))
    except OSError:
        raise UsageError(
            "no program: expected its socket as stdin: run `face-unlock enroll NAME --page` or `face-unlock aim`, "
            "which start this"
        ) from None
    with control:
        yield control


def serve(control: socket.socket, *, enter_cage: Callable[[], None]) -> None:
    """Serve the page of the program at the other end until that ends."""
    wire = Wire(control, longest=MAX_VIEW_BYTES, takes_socket=True)
    packets = wire.packets()
    first = next(packets, None)
    if first is None or wire.handed is None:
        return
    with wire.handed as bound:
        visit = Visit(
            view=first["view"], question=first["question"], tell=lambda said: wire.send({"said": said})
        )
        server, fingerprint = server_of(visit, first)
        enter_cage()
        following = threading.Thread(target=follow, args=(packets, visit, server), daemon=True)
        following.start()
        if wire.send({"token": visit.admittance.token, "fingerprint": fingerprint}):
            with contextlib.suppress(OSError, SystemExit):
                server.run(sockets=[bound])
    wire.end()
    following.join(END_WAIT_S)


def server_of(visit: Visit, about: Packet) -> tuple[uvicorn.Server, str]:
    """Return what serves a visit, with all loaded that it needs, and the fingerprint of its certificate."""
    tls, fingerprint = certified(about["address"]) if about["is_tls"] else (None, "")
    app = live_app(visit, is_own=partial(is_own, about["host"], about["is_tls"]), is_secure=about["is_tls"])
    config = uvicorn.Config(app, http=spoken(tls=tls), **LIMITS)  # type: ignore[arg-type]
    config.load()
    return uvicorn.Server(config), fingerprint


def follow(packets: Iterator[Packet], visit: Visit, server: uvicorn.Server) -> None:
    """Show what the program hands over; its end ends the server."""
    for packet in packets:
        if "show" in packet:
            visit.mirror.show(packet["show"])
        elif "settle" in packet:
            visit.settle()
        elif "last" in packet:
            visit.mirror.end(packet["last"])
    visit.mirror.end({})
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
