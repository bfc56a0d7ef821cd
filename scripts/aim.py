"""Show what the door's camera sees, for mounting it: on a page, enrolling nobody and opening nothing.

    python scripts/aim.py                           on a phone in the same network, by QR code
    python scripts/aim.py --page-at 127.0.0.1:8080  on this machine, or by ssh -L

The page has the picture, mirrored, with the face's box, and beside it what is measured with its limits: how large the
face is, its light, sharpness and turn, how many pictures a second are looked at, and what the door would say. It ends
with its button, with Ctrl-C, or when nobody looks any more. Stop the door first: a camera serves one program.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.programs import Parser, configured, guard_start, run, stop_signals_raise

if __name__ == "__main__":
    guard_start("aim")

from device.build import build_camera, build_finder, build_search
from device.config import Config
from device.errors import UsageError
from device.page.invitation import invitation
from device.page.mounting import Mounting, mounting_page
from device.page.place import bind
from device.page.window import Window

CROP_PX = 112  # of the aligned face; nothing compares it
START_WAIT_S = 300.0


def main(arguments: list[str] | None = None) -> int:
    """Show the camera until it ends, and return the exit code."""
    return run("aim", lambda: act(parse(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="aim.py", description="Show what the door's camera sees, for mounting it.")
    parser.add_argument(
        "--page-at", metavar="ADDRESS", help="the page at this address, such as 127.0.0.1:8080 for ssh -L"
    )
    parser.share("--camera", "--config")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    return command_line().parse_args(arguments)


def act(args: argparse.Namespace) -> int:
    with stop_signals_raise():
        config = configured(args)
        place = bind(args.page_at or "")
        with closing(Window(place, view=mounting_page())) as window:
            print(invitation(place, window.token, window.fingerprint), file=sys.stderr, flush=True)
            window.wait_for_start(START_WAIT_S)
            if not window.has_agreed:
                raise UsageError(why_nobody(window))
            show(config, window)
        return 0


def why_nobody(window: Window) -> str:
    """Say why nobody looks."""
    if window.is_guessed_at:
        return "five wrong codes were tried on the page: start it again"
    cause = window.loss if window.is_lost else f"nobody opened the page within {START_WAIT_S:g} s"
    return f"{cause}: start it again"


def show(config: Config, window: Window) -> None:
    """Show the camera until the visitor has seen enough."""
    with closing(build_finder(config, CROP_PX)) as finder, closing(build_camera(config)) as camera:
        mounting = Mounting(window, finder=finder, search=build_search(config, finder), config=config)
        for frame in camera.frames():
            mounting.see(frame)
            if mounting.is_over:
                break
    window.end(hint="Ended: nothing was stored.")
    if window.is_lost:
        raise UsageError(f"{window.loss}: start it again")


if __name__ == "__main__":
    sys.exit(main())
