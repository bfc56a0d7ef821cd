"""What the shipped networks say of the two portraits and of the demo, recorded: `python -m tests.support.recorded`.

The command writes tests/data/recorded.json and the looks beside it anew; do that where new weights are shipped, and
only there. tests/project/test_nothing_lost.py compares.
"""

from __future__ import annotations

import json
import random
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from gpiozero.pins.mock import MockFactory

import enroll
from device.build import WEIGHTS, build_aligner, build_detector, build_door, manifest_path
from device.config import Config
from device.types import AlignedFace, FaceDetection, Image
from device.vision.embed import load_manifest
from device.vision.liveness import load_liveness_manifest, near_look, wide_look
from device.vision.network import Network, NetworkManifest
from scripts import demo
from tests.support.photos import DATA, photo, photo_path

RECORD = DATA / "recorded.json"
PORTRAITS = ("astronaut", "hopper")
COMMAND = "python -m tests.support.recorded"


def model_ids() -> dict[str, str]:
    """Return the `model_id` of the default embedder and of the liveness network, as they are shipped."""
    return {
        "embedder": load_manifest(manifest_path(Config().model)).model_id,
        "liveness": load_liveness_manifest(WEIGHTS / "pad.json").model_id,
    }


def aligned(name: str) -> AlignedFace:
    """Return the portrait's face, detected and aligned as the door does by default."""
    side_px = load_manifest(manifest_path(Config().model)).side_px
    return build_aligner(Config(), side_px).align(photo(name), detected(name))


def detected(name: str) -> FaceDetection:
    """Return the portrait's face as the door's detector finds it."""
    return max(build_detector(Config()).detect(photo(name)), key=lambda found: found.score)


def looks_path(name: str) -> Path:
    """Return the file of the recorded looks at a portrait: aligned face, near and wide look, side by side."""
    return DATA / f"looks_{name}.png"


def read_looks(name: str) -> tuple[Image, Image, Image]:
    """Return aligned face (112, 112, 3), near look (128, 128, 3) and wide look (80, 80, 3) as they were recorded."""
    three = cv2.cvtColor(cv2.imread(str(looks_path(name))), cv2.COLOR_BGR2RGB)
    return three[:112, :112], three[:, 112:240], three[:80, 240:]


def write_looks(name: str) -> None:
    box, three = detected(name).box, np.zeros((128, 320, 3), np.uint8)
    three[:112, :112] = aligned(name).measured
    three[:, 112:240], three[:80, 240:] = near_look(photo(name), box), wide_look(photo(name), box)
    cv2.imwrite(str(looks_path(name)), cv2.cvtColor(three, cv2.COLOR_RGB2BGR))


def int8_output(manifest: NetworkManifest, picture: Image) -> str:
    """Return the network's int8 output for a picture, as hexadecimal."""
    real, output = Network(manifest, threads=1).run(picture), manifest.output
    assert output.scale is not None
    assert output.zero_point is not None
    return np.round(real / output.scale + output.zero_point).astype(np.int8).tobytes().hex()


def outputs(name: str) -> dict[str, str]:
    """Return what both default networks make of the recorded looks at a portrait."""
    face, near, wide = read_looks(name)
    liveness = load_liveness_manifest(WEIGHTS / "pad.json")
    return {
        "embedding": int8_output(load_manifest(manifest_path(Config().model)), face),
        "near": int8_output(liveness.near, near),
        "wide": int8_output(liveness.wide, wide),
    }


def decisions() -> list[list[Any]]:
    """Play the demo as fast as it goes, its chance foreseen; return for each act who came and what was decided.

    A decision that repeats the one before stands once: how many frames it lasted may differ by machine.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("random.SystemRandom", return_value=random.Random(7)),
    ):
        config = demo.configured(Path(folder), Path("/dev/null"), None)
        subject = photo_path("astronaut")
        views = [subject, *demo.guided_views(Path(folder), subject)]
        options = ["--gallery", config.gallery, "--config", "/dev/null", "--no-sheet"]
        assert enroll.main(["--name", demo.SUBJECT, "--images", *map(str, views), *options]) == 0
        device = build_door(config, pin_factory=MockFactory())
        try:
            acts, steps = demo.act_out(demo.cast(demo.photographs(), 3.0), device, demo.Clock(0.0))
        finally:
            device.close()
    told = []
    for act in acts:
        within = [step.decision for step in steps if act.starts_s <= step.at_s < act.ends_s]
        names = [f"{each.reason} {each.challenge or ''}".strip() for each in within]
        told.append([act.who, [name for name, _ in groupby(names)]])
    return told


def main() -> None:
    """Record everything anew."""
    for name in PORTRAITS:
        write_looks(name)
    record = {
        "models": model_ids(),
        "portraits": {name: outputs(name) for name in PORTRAITS},
        "demo": decisions(),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
