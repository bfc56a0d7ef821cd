"""A clip of somebody who makes the poses that an enrollment asks for, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from device.vision.picture import read_picture
from scripts.make_clip import write_clip
from scripts.stage.head import Actor, Look

FPS = 5.0
SIZE = 1.3  # of the portrait in the frame
# As somebody would: each pose held, the head never quite still.
TURNS = ((0.0, 0.0), (16.0, 0.0), (-16.0, 0.0), (0.0, 13.0), (0.0, -13.0))
FRAMES_A_POSE = 8


def write_posing(path: Path, portrait: Path, *, rounds: int) -> Path:
    """Write the clip of so many rounds."""
    actor = Actor(read_picture(portrait))
    drawn = [actor.head(look) for look in poses()]
    write_clip(path, (frame for _ in range(rounds) for frame in drawn), fps=FPS)
    return path


def poses() -> Iterator[Look]:
    """Yield one round: each pose is taken, and held."""
    for yaw_deg, pitch_deg in TURNS:
        for number in range(FRAMES_A_POSE):
            share = min(1.0, (number + 1) / 3)
            yield Look(yaw_deg=yaw_deg * share, pitch_deg=pitch_deg * share, size=SIZE, y_px=20, x_px=number)
