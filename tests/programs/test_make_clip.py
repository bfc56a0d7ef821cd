"""Clips from stills: they decode, hold who they should, and are the same each time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from scripts import make_clip
from tests.support.checkout import run_program


def test_a_clip_decodes_to_its_frames(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    done = run_program(
        "scripts/make_clip.py", str(clip), "nobody:0.4", "tests/data/astronaut.jpg:1", "--fps", "10"
    )
    assert done.returncode == 0, done.stderr

    capture = cv2.VideoCapture(str(clip))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 14
    assert frames[0].shape == (480, 640, 3)
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_the_same_arguments_give_the_same_frames() -> None:
    still = np.full((100, 80, 3), 200, np.uint8)
    one, two = (list(make_clip.render([make_clip.Scene(still, 0.3)], fps=10, seed=3)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_a_person_comes_in_stays_and_leaves() -> None:
    assert make_clip.move(0.0, 4.0).x_px < -500
    assert abs(make_clip.move(2.0, 4.0).x_px) < 20
    assert make_clip.move(4.0, 4.0).x_px > 500
    middle = [make_clip.move(at_s, 4.0) for at_s in np.linspace(1, 3, 50)]
    for values in zip(*((p.scale, p.tilt_deg, p.light) for p in middle), strict=True):
        assert max(values) - min(values) > 0.01  # it moves, turns and is relit


@pytest.mark.parametrize(
    "arguments",
    [
        ["clip.mp4", "nobody"],
        ["clip.mp4", "nobody:x"],
        ["clip.mp4", "nobody:0"],
        ["clip.mp4", "nobody:nan"],
        ["clip.mp4", "missing.jpg:1"],
        ["clip.mp4", "README.md:1"],
        ["clip.mp4", "nobody:1", "--fps", "0"],
        ["clip.mp4", "nobody:1", "--seed", "-1"],
        ["nosuchfolder/clip.mp4", "nobody:0.2"],
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], tmp_path: Path) -> None:
    clip = str(tmp_path / arguments[0])
    done = run_program("scripts/make_clip.py", clip, *arguments[1:])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("make_clip: ")


def test_ctrl_c_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make_clip, "film", interrupt)
    clip = tmp_path / "clip.mp4"
    assert make_clip.main([str(clip), "nobody:1"]) == 130
    assert capsys.readouterr().err == f"make_clip: interrupted: {clip} is not complete\n"
