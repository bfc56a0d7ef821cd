"""The passive look alone, and what it has to refuse: a portrait on paper or a screen that fills a webcam's view."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from device.errors import FaceUnlockError
from device.protocols import Detector, LivenessScorer
from device.types import Image
from models.pad.looks import Box
from models.pad.simulator.camera import capture
from models.pad.simulator.layers import FacePlace
from models.pad.simulator.recapture import Photograph, about, broad_camera, shown
from models.pad.simulator.stance import Stance
from scripts.stage.demo_picture import PassiveLook

SIZE, FACE = (320, 240), FacePlace((160.0, 105.0), 100.0)  # (w, h) of the frame, px; the face in it
SWAY_DEG, SWAY_PX = 1.5, 1.5
PASSIVE_FRAMES = 5


def fills_the_view(
    photo: Image, box: tuple[float, float, float, float], species: str, seed: int
) -> Iterator[Image]:
    """Yield frames (240, 320, 3) of a photograph on a species that somebody holds so near that no edge is in view.

    Args:
        box: the detector's box of the photograph's face, px.
        species: "print", "phone" or "tablet".
    """
    rng = np.random.default_rng(seed)
    portrait = Photograph(photo, Box(*box))
    scene, camera = shown(portrait, species, portrait, FACE, SIZE, True, rng), broad_camera(rng)
    while True:
        moved = FacePlace(tuple(np.array(FACE.center) + rng.normal(0, SWAY_PX, 2)), FACE.width_px)
        stance = Stance(FACE.width_px, float(rng.normal(0, SWAY_DEG)))
        yield capture(scene, about(moved, stance), SIZE, camera, rng)


def judged(who: str, frames: Iterator[Image], scorer: LivenessScorer, detector: Detector) -> PassiveLook:
    """Fuse the scores of some frames as the door does: the mean of their logits."""
    logits: list[float] = []
    for image in itertools.islice(frames, PASSIVE_FRAMES):
        found = detector.detect(image)
        if found:
            score = min(max(scorer.score(image, found[0].box), 1e-4), 1 - 1e-4)
            logits.append(math.log(score / (1 - score)))
            shown, box = image, found[0].box
    if not logits:
        raise FaceUnlockError(f"{who}: the detector saw no face in {PASSIVE_FRAMES} frames")
    fused = 1 / (1 + math.exp(-sum(logits) / len(logits)))
    return PassiveLook(who, shown, box, fused, fused >= scorer.unsure)
