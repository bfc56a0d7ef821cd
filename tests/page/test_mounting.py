"""The camera's page: what it says of a face, of none, and of a camera that hangs on its side."""

from __future__ import annotations

from unittest.mock import create_autospec

import numpy as np
import pytest

from device.config import Config
from device.page.mounting import AWAY_S, GOOD, VALUES, Mounting, mounting_page
from device.page.window import Window
from device.types import AlignedFace, FaceDetection, Frame, HeadPose, Quality, Reason, Stop
from device.vision.finder import NO_FACE, Finder, Found
from device.vision.turn_search import TurnSearch

IMAGE = np.full((480, 640, 3), 90, np.uint8)


def found(width_px: float = 150.0, *, stop: Stop | None = None, yaw_deg: float = 0.0) -> Found:
    pose = HeadPose(yaw_deg, 0.0, 0.0)
    face = create_autospec(AlignedFace, instance=True, pose=pose)
    quality = Quality(width_px, 90.0, 120.0, 9.0, 1.0, 0.1, 20.0, pose, stop)
    detection = FaceDetection((200.0, 100.0, width_px, width_px), 0.9, np.zeros((6, 2), np.float32))
    return Found(detection, stop or face, 120.0, quality)


class Bench:
    """A mounting that is shown one find after the other, by a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.finder = create_autospec(Finder, instance=True)
        self.search = create_autospec(TurnSearch, instance=True, advice="")
        self.window = create_autospec(Window, instance=True, is_ended=False, unasked_s=0.0)
        self.mounting = Mounting(
            self.window, finder=self.finder, search=self.search, config=Config(), now=lambda: self.now_s
        )

    def see(self, each: Found) -> dict[str, object]:
        self.finder.find.return_value = each
        self.mounting.see(Frame(IMAGE, self.now_s))
        self.now_s += 0.1
        return dict(self.window.show.call_args.kwargs)


def test_a_good_face_is_said_to_be_one_with_every_value() -> None:
    told = Bench().see(found())
    assert (told["hint"], told["kind"]) == (GOOD, "good")
    values = told["values"]
    assert isinstance(values, dict)
    assert set(values) == set(VALUES)
    assert values["size"] == "150 px wide, 23 % of the picture, needs 77 px"
    assert "signal 9.0, needs 2" in values["light"]
    assert values["picture"] == "640 x 480, rotation 0, mirror false"


@pytest.mark.parametrize(
    ("each", "hint"),
    [
        (Found(None, NO_FACE), "No face: step before the camera"),
        (
            found(stop=Stop(Reason.TOO_DARK, "too dark: signal 1.0, needs 2", 1.0, 2.0)),
            "Too dark: signal 1.0, needs 2",
        ),
        (found(70.0), "Come closer: face is 70 px wide, needs 77"),
        (found(yaw_deg=25.0), "Look at the camera: 25 degrees off"),
    ],
)
def test_it_says_what_the_door_would_say(each: Found, hint: str) -> None:
    told = Bench().see(each)
    assert (told["hint"], told["kind"]) == (hint, "")


def test_it_keeps_the_smallest_face_that_passed_and_counts_pictures() -> None:
    bench = Bench()
    for width_px in (150.0, 90.0, 120.0, 60.0):
        told = bench.see(found(width_px))
    values = told["values"]
    assert isinstance(values, dict)
    assert values["smallest"] == "90 px"
    assert values["rate"] == "10.0 pictures a second"


def test_a_camera_that_hangs_on_its_side_is_named_first() -> None:
    bench = Bench()
    bench.search.advice = "faces are seen only after turning the picture: set camera.rotation = 90"
    assert "camera.rotation = 90" in str(bench.see(Found(None, NO_FACE))["hint"])


def test_it_ends_with_its_page_and_when_nobody_looks() -> None:
    bench = Bench()
    assert not bench.mounting.is_over
    bench.window.unasked_s = AWAY_S + 1
    assert bench.mounting.is_over
    bench.window.unasked_s, bench.window.is_ended = 0.0, True
    assert bench.mounting.is_over


def test_its_page_says_how_the_mirror_is_checked() -> None:
    page = mounting_page()
    assert "Raise your right hand" in page
    assert all(f'id="value-{key}"' in page for key in VALUES)
