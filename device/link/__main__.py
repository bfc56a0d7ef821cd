"""The link process: between one door and a broker. `python -m device.link --folder DIR --socket PATH`

It has a network and nothing else: no pin, no camera, no gallery, no key but that of its own TLS certificate. Whatever
becomes of it, the door works as if it were not there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from device import __version__
from device.desk.credentials import Access
from device.journal.status import StatusLog, stdout_writer
from device.journal.systemd import Notifier
from device.link.broker import Broker
from device.link.discovery import OFFLINE_TEXT
from device.link.hub import Hub
from device.link.link import Link
from device.link.topics import COMMAND, GALLERY, MANIFEST, ONLINE, SUCCESSION, topic
from device.programs import Parser, Stopped, run, stop_signals


def main(arguments: list[str] | None = None) -> int:
    """Carry until a signal, and return the exit code."""
    return run("link", lambda: act(command_line().parse_args(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="python -m device.link", description="Carry between this door and a broker.")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="what `fleet join` wrote")
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="where the door connects")
    return parser


def act(args: argparse.Namespace) -> int:
    """Listen for the door, connect to the broker, and take both down again."""
    access = Access.read(args.folder)
    access.tls()  # before anything listens
    notifier = Notifier.from_environment(os.environ)
    status = StatusLog(writers=[stdout_writer()], demo=False)
    with ExitStack() as undo:
        undo.callback(status.close)
        hub = Hub(args.socket)
        undo.callback(hub.close)
        broker = Broker(
            access,
            subscriptions=[
                (topic(access.user, COMMAND), False),
                (topic(access.user, SUCCESSION), True),
                (topic(access.user, MANIFEST), True),
                (topic(access.user, GALLERY, "+"), True),
            ],
            will=(topic(access.user, ONLINE), OFFLINE_TEXT),
        )
        undo.callback(broker.close)
        link = Link(access.user, hub, broker, status, access.ends)
        undo.callback(link.close)
        status.event("started", version=__version__)
        notifier.ready(f"link of {access.user} to {access.host}:{access.port}")
        try:
            with stop_signals() as check_stop:
                while True:
                    check_stop()
                    link.step()
                    notifier.watchdog(time.monotonic())
        except Stopped:
            notifier.stopping()
            status.event("stopping")
    return 0


if __name__ == "__main__":
    sys.exit(main())
