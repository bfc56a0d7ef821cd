"""Show a photograph to a v4l2loopback device as a camera would: noise, and a hand that is not quite still.

python scripts/board/film.py /dev/video7 photograph.jpg                        until it is stopped
python scripts/board/film.py /dev/video7 photograph.jpg --while /tmp/somebody  while that file is there, else a wall
"""

from __future__ import annotations

import argparse
import fcntl
import struct
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np
import numpy.typing as npt

from device.programs import Parser, run
from device.vision.picture import read_picture

Picture = npt.NDArray[np.uint8]
WIDTH, HEIGHT, BRICK, LOOKS, FPS = 640, 480, 40, 8, 5.0
VIDIOC_S_FMT = 0xC0D05605
OUTPUT, BGR3, NO_FIELD, SRGB = 2, int.from_bytes(b"BGR3", "little"), 1, 8


def main(arguments: list[str] | None = None) -> int:
    """Film until it is stopped."""
    return run("film", lambda: act(command_line().parse_args(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="film.py", description="Show a photograph to a v4l2loopback device.")
    parser.add_argument("device", type=Path, help="such as /dev/video7")
    parser.add_argument("photograph", type=Path)
    parser.add_argument(
        "--while", dest="marker", type=Path, metavar="FILE", help="an empty scene without FILE"
    )
    return parser


def act(args: argparse.Namespace) -> int:
    picture = cv2.resize(read_picture(args.photograph), (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA)
    somebody = wall()
    somebody[:, (WIDTH - HEIGHT) // 2 : (WIDTH + HEIGHT) // 2] = picture[..., ::-1]
    chance = np.random.default_rng(0)
    shown = noisy(somebody, chance), noisy(wall(), chance)
    with args.device.open("wb", buffering=0) as device:
        fcntl.ioctl(device, VIDIOC_S_FMT, video_format())
        while True:
            scene = shown[args.marker is not None and not args.marker.exists()]
            device.write(moved(scene[chance.integers(LOOKS)], chance).tobytes())
            time.sleep(1 / FPS)


def wall() -> Picture:
    """Return an empty scene: large bricks, for one without any detail counts as a covered lens."""
    bricks = np.random.default_rng(1).integers(60, 130, (HEIGHT // BRICK, WIDTH // BRICK, 1), np.uint8)
    return np.repeat(bricks.repeat(BRICK, 0).repeat(BRICK, 1), 3, 2)


def noisy(picture: Picture, chance: np.random.Generator) -> list[Picture]:
    """Return looks at a picture. They are made once: an emulated core has no time for it at each frame."""
    looks = (picture + chance.normal(0, 2, picture.shape) for _ in range(LOOKS))
    return [np.clip(look, 0, 255).astype(np.uint8) for look in looks]


def moved(look: Picture, chance: np.random.Generator) -> Picture:
    """Return a look as a hand holds it; its first row is new each time, for a camera never repeats itself."""
    frame = np.roll(look, chance.integers(-3, 4, 2), (0, 1))
    frame[0] = chance.integers(0, 256, frame[0].shape, np.uint8)
    return frame


def video_format() -> bytes:
    """Return a struct v4l2_format for packed BGR frames written to the device."""
    pixels = struct.pack("8I", WIDTH, HEIGHT, BGR3, NO_FIELD, 3 * WIDTH, 3 * WIDTH * HEIGHT, SRGB, 0)
    return struct.pack("I4x", OUTPUT) + pixels.ljust(200, b"\0")


if __name__ == "__main__":
    sys.exit(main())
