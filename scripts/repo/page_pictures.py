"""Photograph the pages for the documents: python scripts/repo/page_pictures.py  (needs Chromium; some minutes)

Writes docs/owner/page-*.webp. Enrollment and camera are real runs before a drawn head of the public-domain portrait;
the status page shows made-up lines of a door.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import uvicorn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.journal.status import make_line
from device.page.guard import LIMITS
from device.page.snapshot import Snapshot
from device.page.status import status_app
from device.programs import Parser, run
from device.types import Image
from scripts.stage.chromium import Chromium
from scripts.stage.paged import Paged
from scripts.stage.posing import write_posing

PORTRAIT = ROOT / "tests/data/astronaut.jpg"
QUALITY = 80  # of WebP: a few tens of kB, and text stays sharp
TURNING = "/[1-9] of \\d+ degrees/.test(document.getElementById('hint').textContent)"  # a hint with its value
PHONE, DESKTOP, TALL, WIDE = (390, 640), (1100, 540), (1100, 760), (1100, 860)

FACTS = {
    "people": [
        {"name": "Eileen", "since": "2026-03-02T09:14:00Z", "rules": ["access face"]},
        {
            "name": "Grace",
            "since": "2026-05-11T16:40:00Z",
            "rules": ["access face", "hours Mon-Fri 08:00-18:00"],
        },
    ],
    "selftest": "passed on 2026-03-03",
    "heartbeat_s": 30.0,
}
LINES: list[tuple[str, dict[str, object]]] = [
    ("started", {"version": "0.1.0"}),
    ("ready", {"is_locked": True, "subjects": 2}),
    ("approach", {"stage": "opened", "reason": "granted", "subject_id": "Eileen", "took_s": 2.1}),
    (
        "approach",
        {
            "stage": "seen",
            "reason": "too_dark",
            "measured": 1.4,
            "limit": 2.0,
            "advice": "too dark: more light on the face: signal 1.4, needs 2",
        },
    ),
    (
        "approach",
        {
            "stage": "compared",
            "reason": "below_threshold",
            "closeness": "far_below",
            "advice": "enroll again in the light of this door",
        },
    ),
    (
        "approach",
        {
            "stage": "judged",
            "reason": "outside_hours",
            "subject_id": "Grace",
            "advice": "face-unlock change NAME --hours",
        },
    ),
    ("heartbeat", {"fps": 9.8, "is_locked": True, "camera_lost": False}),
]


def main(arguments: list[str] | None = None) -> int:
    """Make the pictures and return the exit code."""
    return run("page_pictures", lambda: act(parse(arguments)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="page_pictures.py", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "docs/owner", metavar="PATH", help="where they go"
    )
    return parser.parse_args(arguments)


def act(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_posing(folder / "posing.mp4", PORTRAIT, rounds=6)
        with Chromium(folder / "browser") as browser:
            photograph_enrollment(browser, clip, folder, args.folder)
            photograph_aim(browser, clip, folder, args.folder)
            photograph_status(browser, folder, args.folder)
    return 0


def photograph_enrollment(browser: Chromium, clip: Path, folder: Path, out: Path) -> None:
    options = ("--name", "eileen", "--camera", str(clip), "--gallery", str(folder / "gallery.db"))
    program = Paged("enroll.py", *options, "--page-at", "127.0.0.1:0", folder=folder)
    try:
        browser.set_screen(*PHONE, mobile=True)
        browser.go(program.address)
        browser.wait("!!document.querySelector('button[value=yes]')")
        phones = [photograph(browser)]
        browser.evaluate("document.querySelector('button[value=yes]').click()")
        browser.wait(f"document.querySelectorAll('li.done').length >= 2 && {TURNING}")
        phones.append(photograph(browser))
        browser.set_screen(*DESKTOP, dark=True)
        browser.wait(f"document.querySelectorAll('li.done').length >= 3 && {TURNING}")
        write(out / "page-enroll-desktop.webp", photograph(browser))
        browser.set_screen(*PHONE, mobile=True)
        browser.wait("document.getElementById('hint').textContent.startsWith('Enrolled')")
        write(out / "page-enroll-phone.webp", np.hstack([*phones, photograph(browser)]))
        program.end()
    finally:
        program.close()


def photograph_aim(browser: Chromium, clip: Path, folder: Path, out: Path) -> None:
    program = Paged("scripts/aim.py", "--camera", str(clip), "--page-at", "127.0.0.1:0", folder=folder)
    try:
        browser.set_screen(*TALL)
        browser.go(program.address)
        browser.wait("/^[1-9]/.test(document.getElementById('value-rate')?.textContent)")
        write(out / "page-aim-desktop.webp", photograph(browser))
    finally:
        program.close()


def photograph_status(browser: Chromium, folder: Path, out: Path) -> None:
    file = folder / "status.json"
    snapshot = Snapshot(file, lambda: FACTS)
    for number, (name, fields) in enumerate(LINES):
        at = datetime.now(timezone.utc) - timedelta(minutes=11 * (len(LINES) - number))
        snapshot.put(make_line(name, fields, at=at, demo=False))
    snapshot.close(10.0)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(status_app(file), **LIMITS))  # type: ignore[arg-type]
        threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True).start()
        for screen, name, is_mobile in ((WIDE, "desktop", False), (PHONE, "phone", True)):
            browser.set_screen(*screen, mobile=is_mobile)
            browser.go(f"http://127.0.0.1:{bound.getsockname()[1]}/")
            browser.wait("document.title === 'The door'")
            write(out / f"page-status-{name}.webp", photograph(browser))


def photograph(browser: Chromium) -> Image:
    """Return what the browser shows now, as OpenCV has it: BGR."""
    image = cv2.imdecode(np.frombuffer(browser.photograph(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def write(path: Path, image: Image) -> None:
    path.write_bytes(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes())


if __name__ == "__main__":
    sys.exit(main())
