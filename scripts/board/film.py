"""Show a photograph to a v4l2loopback device as a camera would.

python scripts/board/film.py /dev/video7 photograph.jpg
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

from device.programs import Parser, run
from device.vision.picture import read_picture

WIDTH, HEIGHT, FPS = 640, 480, 15.0
VIDIOC_S_FMT = 0xC0D05605
OUTPUT, BGR3, NO_FIELD, SRGB = 2, int.from_bytes(b"BGR3", "little"), 1, 8


def main(arguments: list[str] | None = None) -> int:
    """Film until it is stopped."""
    return run("film", lambda: act(command_line().parse_args(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="film.py", description="Show a photograph to a v4l2loopback device.")
    parser.add_argument("device", type=Path, help="such as /dev/video7")
    parser.add_argument("photograph", type=Path)
    return parser


def act(args: argparse.Namespace) -> int:
    picture = cv2.resize(read_picture(args.photograph), (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA)
    frame = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
    frame[:, (WIDTH - HEIGHT) // 2 : (WIDTH + HEIGHT) // 2] = picture[..., ::-1]
    chance = np.random.default_rng(0)
    with args.device.open("wb", buffering=0) as device:
        fcntl.ioctl(device, VIDIOC_S_FMT, video_format())
        while True:
            shift = chance.integers(-3, 4, 2)
            noise = chance.normal(0, 2, frame.shape)
            shown = np.roll(frame, shift, (0, 1)) + noise
            device.write(np.clip(shown, 0, 255).astype(np.uint8).tobytes())
            time.sleep(1 / FPS)


def video_format() -> bytes:
    """Return a struct v4l2_format for packed BGR frames written to the device."""
    pixels = struct.pack("8I", WIDTH, HEIGHT, BGR3, NO_FIELD, 3 * WIDTH, 3 * WIDTH * HEIGHT, SRGB, 0)
    return struct.pack("I4x", OUTPUT) + pixels.ljust(200, b"\0")


if __name__ == "__main__":
    sys.exit(main())
