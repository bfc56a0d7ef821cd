"""Turn stills into a clip of people who come before a camera and go.

    python scripts/make_clip.py clip.mp4 nobody:2 tests/data/astronaut.jpg:4 nobody:1

Each scene is `nobody` or an image file, and its seconds. A portrait steps in before an empty wall, sways, tilts, comes
nearer and leaves, while the light changes and the camera adds blur and noise. The same arguments give the same clip.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.errors import UsageError
from device.programs import Parser, run
from device.types import Image
from device.vision.camera.pixels import silence_opencv
from device.vision.picture import read_picture

WIDTH_PX, HEIGHT_PX, FPS = 640, 480, 15
STEP_S = 0.8  # how long a person takes to step in or out
FEATHER_PX = 22.0  # the portrait's edges melt into the wall
SEED = 7


@dataclass(frozen=True)
class Scene:
    """A person's still, (H, W, 3) uint8 RGB (None: nobody), and how long they stay."""

    still: Image | None
    seconds: float


@dataclass(frozen=True)
class Pose:
    """Where and how the still stands in one frame."""

    x_px: float  # of its center, from the frame's
    y_px: float
    scale: float
    tilt_deg: float
    light: float
    blur_px: float


def render(scenes: Sequence[Scene], *, fps: float = FPS, seed: int = SEED) -> Iterator[Image]:
    """Yield the frames of all scenes, (480, 640, 3) uint8 RGB."""
    random = np.random.default_rng(seed)
    wall = empty_wall(random)
    for scene in scenes:
        portrait, outline = prepare(scene.still) if scene.still is not None else (wall, None)
        count = round(scene.seconds * fps)
        for index in range(count):
            pose = move(index / fps, scene.seconds)
            view = wall if outline is None else stand(wall, portrait, outline, pose)
            yield film(view, pose if outline is not None else move(0, 1), random)


def move(at_s: float, seconds: float) -> Pose:
    """Return the pose at a time of a scene: in from the left, swaying, out to the right."""
    entering, leaving = ease(at_s / STEP_S), ease((seconds - at_s) / STEP_S)
    away_px = WIDTH_PX * 0.95
    moving = max(4 * entering * (1 - entering), 4 * leaving * (1 - leaving))
    return Pose(
        x_px=-away_px * (1 - entering) + away_px * (1 - leaving) + 16 * math.sin(1.9 * at_s),
        y_px=8 * math.sin(2.7 * at_s + 1) + 10,
        scale=1.0 + 0.10 * math.sin(1.1 * at_s + 0.5),
        tilt_deg=5 * math.sin(1.5 * at_s),
        light=1.0 + 0.16 * math.sin(0.9 * at_s + 2),
        blur_px=0.6 + 2.2 * moving,
    )


def ease(share: float) -> float:
    """Return a smooth step: 0 at 0 and before, 1 at 1 and after."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def empty_wall(random: np.random.Generator) -> Image:
    """Return a corridor without anybody: a lit wall, a darker floor, coarse plaster."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    light = 1 - 0.38 * np.hypot((x - 250) / WIDTH_PX, (y - 120) / HEIGHT_PX)
    plaster = cv2.resize(random.normal(0, 1, (60, 80)).astype(np.float32), (WIDTH_PX, HEIGHT_PX))
    wall = np.stack([light * 186, light * 184, light * 176], axis=-1) + 2.5 * plaster[..., None]
    wall[y > 405] *= 0.62
    return np.clip(cv2.GaussianBlur(wall, (0, 0), 1.5), 0, 255).astype(np.uint8)


def prepare(still: Image) -> tuple[Image, npt.NDArray[np.float32]]:
    """Return a still scaled to the frame's height and its soft outline in [0, 1]; the lower edge stays hard."""
    factor = HEIGHT_PX / still.shape[0]
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    portrait = cv2.resize(still, None, fx=factor, fy=factor, interpolation=interpolation)
    height, width = portrait.shape[:2]
    edge = int(2 * FEATHER_PX)
    outline = np.zeros((height + 2 * edge, width), np.float32)
    outline[edge:, edge:-edge] = 1
    soft = cv2.GaussianBlur(outline, (0, 0), FEATHER_PX)[:height]
    return portrait, soft


def stand(wall: Image, portrait: Image, outline: npt.NDArray[np.float32], pose: Pose) -> Image:
    """Lay the portrait over the wall."""
    height, width = portrait.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), pose.tilt_deg, pose.scale)
    turn[:, 2] += (WIDTH_PX - width) / 2 + pose.x_px, (HEIGHT_PX - height) / 2 + pose.y_px
    size = (WIDTH_PX, HEIGHT_PX)
    # The picture's border is repeated, the outline's is not: no dark rim where the two meet.
    person = cv2.warpAffine(portrait, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(outline, turn, size, flags=cv2.INTER_LINEAR)[..., None]
    return (person * weight + wall * (1 - weight)).astype(np.uint8)


def film(view: Image, pose: Pose, random: np.random.Generator) -> Image:
    """Add what a camera adds: blur, exposure, noise."""
    blurred = cv2.GaussianBlur(view, (0, 0), pose.blur_px).astype(np.float32)
    noise = random.normal(0, 2.5, (HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32)
    return np.clip(blurred * pose.light + noise, 0, 255).astype(np.uint8)


def write_clip(path: Path, frames: Iterator[Image], *, fps: float = FPS) -> int:
    """Write an MP4 and return the number of frames; a file that cannot be read again is a UsageError."""
    silence_opencv()  # FFmpeg reads its level once, at the first clip of a process
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (WIDTH_PX, HEIGHT_PX))
    count = 0
    try:
        for frame in frames if writer.isOpened() else ():
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    readable = cv2.VideoCapture(str(path))
    good = count > 0 and readable.read()[0]
    readable.release()
    if not good:
        raise UsageError(f"{path}: no clip could be written: check that the folder exists and can be written")
    return count


def parse_scene(text: str) -> Scene:
    """Read `nobody:SECONDS` or `FILE:SECONDS`."""
    name, _, seconds_text = text.rpartition(":")
    try:
        seconds = float(seconds_text)
    except ValueError:
        seconds = -1.0
    if not name or not 0 < seconds <= 600:
        raise UsageError(f"scene {text!r}: expected nobody:SECONDS or FILE:SECONDS, above 0 and at most 600")
    return Scene(None if name == "nobody" else read_picture(Path(name)), seconds)


def main(arguments: list[str] | None = None) -> int:
    """Write the clip and return the exit code."""
    args = parse(arguments)
    return run("make_clip", lambda: act(args), interrupted=f"interrupted: {args.clip} is not complete")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="make_clip.py", description="Turn stills into a clip.")
    parser.add_argument("clip", type=Path, help="file to write, .mp4")
    parser.add_argument("scenes", nargs="+", help="nobody:SECONDS or FILE:SECONDS")
    parser.add_argument("--fps", type=float, default=FPS, help=f"frames a second (default {FPS})")
    parser.add_argument("--seed", type=int, default=SEED, help="of the noise")
    return parser.parse_args(arguments)


def act(args: argparse.Namespace) -> int:
    if not 1 <= args.fps <= 120:
        raise UsageError(f"--fps: expected 1 to 120, received {args.fps:g}")
    if args.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, received {args.seed}")
    scenes = [parse_scene(text) for text in args.scenes]
    count = write_clip(args.clip, render(scenes, fps=args.fps, seed=args.seed), fps=args.fps)
    print(f"{args.clip}: {count} frames, {count / args.fps:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
