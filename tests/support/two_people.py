"""A gallery of alice and bob."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from device.access.profile import Profile
from device.gallery.gallery import Gallery
from device.numeric.similarity import l2_normalize

D, MODEL = 16, "m"


def two_people(folder: Path) -> Path:
    """Enroll alice and bob, with three random templates each, and return their gallery."""
    path = folder / "gallery.db"
    with Gallery(path, model_id=MODEL, dimension=D, read_only=False) as gallery:
        for index, name in enumerate(("alice", "bob")):
            rows = l2_normalize(np.random.default_rng(index).normal(size=(3, D)))
            gallery.enroll(name, rows, replace=False)
    return path


def profile(path: Path, name: str = "alice") -> Profile:
    with Gallery(path, model_id=MODEL, dimension=D, read_only=True) as gallery:
        return gallery.profile(name)
