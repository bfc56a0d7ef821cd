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
from device.page.live import Visit, live_app
from device.page.mounting import Mounting, mounting_page
from device.page.serving import Serving, bind

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
        place, visit = bind(args.page_at or ""), Visit(view=mounting_page())
        app = live_app(visit, is_own=place.is_own, is_secure=place.tls is not None)
        with closing(Serving(app, place)):
            print(invitation(place, visit.admittance.token), file=sys.stderr, flush=True)
            visit.wait_for_start(START_WAIT_S)
            if not visit.has_agreed:
                raise UsageError(f"nobody opened the page within {START_WAIT_S:g} s: start it again")
            show(config, visit)
        return 0


def show(config: Config, visit: Visit) -> None:
    """Show the camera until the visitor has seen enough."""
    with closing(build_finder(config, CROP_PX)) as finder, closing(build_camera(config)) as camera:
        mounting = Mounting(visit, finder=finder, search=build_search(config, finder), config=config)
        for frame in camera.frames():
            mounting.see(frame)
            if mounting.is_over:
                break
    visit.mirror.end(hint="Ended: nothing was stored.")


if __name__ == "__main__":
    sys.exit(main())
