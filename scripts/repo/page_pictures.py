"""Photograph the pages for the documents: python scripts/repo/page_pictures.py  (needs Chromium; some minutes)

Writes docs/owner/page-*.webp from real runs: a drawn head of the public-domain portrait stands before the camera.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.programs import Parser, run
from device.types import Image
from scripts.stage.chromium import Chromium
from scripts.stage.paged import Paged
from scripts.stage.posing import write_posing

PORTRAIT = ROOT / "tests/data/astronaut.jpg"
QUALITY = 80  # of WebP: a few tens of kB, and text stays sharp
PHONE, DESKTOP, TALL = (390, 640), (1100, 540), (1100, 760)


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
        browser.wait("document.querySelectorAll('li.done').length >= 2 && !!document.querySelector('li.now')")
        phones.append(photograph(browser))
        browser.set_screen(*DESKTOP, dark=True)
        browser.wait("document.querySelectorAll('li.done').length >= 3 && !!document.querySelector('li.now')")
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


def photograph(browser: Chromium) -> Image:
    """Return what the browser shows now, as OpenCV has it: BGR."""
    image = cv2.imdecode(np.frombuffer(browser.photograph(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def write(path: Path, image: Image) -> None:
    path.write_bytes(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes())


if __name__ == "__main__":
    sys.exit(main())
