"""The networks: there, unchanged, and able to run on this processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from device.build import build_aligner, build_detector, build_embedder, build_liveness
from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, red, split_advice
from device.errors import FaceUnlockError
from device.vision.assets import ASSETS, FACE_DETECTOR, digest, find_asset

NAME = "networks"
FETCH = "sudo scripts/install.sh, or on a checkout scripts/fetch_models.py --force"


def check(setup: Setup) -> Iterator[Finding]:
    """Load each network that the configuration needs and let it see one picture."""
    config = setup.config
    needed = ASSETS if config.alignment == "mesh" else (FACE_DETECTOR,)
    for asset in needed:
        path = find_asset(asset)
        if digest(path.read_bytes()) != asset.sha256:
            yield red(NAME, f"{path}: is not the file that MediaPipe published", FETCH)
    try:
        embedder = build_embedder(config)
        side_px = embedder.manifest.side_px
        embedder.embed(np.full((side_px, side_px, 3), 128, np.uint8))
        scorer = build_liveness(config)
        picture = np.full((240, 320, 3), 128, np.uint8)
        if scorer is not None:
            scorer.score(picture, (100.0, 60.0, 100.0, 100.0))
        build_aligner(config, side_px)
        with closing(build_detector(config)) as detector:
            detector.detect(picture)
    except FaceUnlockError as error:
        yield split_advice(NAME, error)
        return
    names = [embedder.model_id, *([scorer.model_id] if scorer is not None else []), config.alignment]
    yield green(NAME, f"{', '.join(names)} and the detector: checksums right, all run")
