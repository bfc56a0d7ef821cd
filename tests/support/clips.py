"""Clips of one color, and clips of people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.support.checkout import run_program


def write_clip(path: Path, frames: int = 5, fps: float = 10) -> Path:
    """Write a clip whose frames are red, each with more blue than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    for n in range(frames):
        writer.write(np.full((48, 64, 3), (n * 40, 0, 250), np.uint8))
    writer.release()
    return path


def make_clip(path: Path, *arguments: str) -> Path:
    """Write a clip by scripts/make_clip.py, and return its path."""
    done = run_program("scripts/make_clip.py", str(path), *arguments)
    assert done.returncode == 0, done.stderr
    return path
