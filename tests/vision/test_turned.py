"""Cameras that hang on their side, upside down, or give mirrored pictures; and how the door finds that out."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import create_autospec

import numpy as np
import pytest

from device.build import build_camera
from device.config import CameraConfig, Config, parse_config
from device.enroll.collector import Collector
from device.errors import CameraLost, ConfigError
from device.protocols import Embedder
from device.types import Frame, Image, Reason, Stop
from device.vision.align import MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.camera.turned import TurnedCamera, turn
from device.vision.detect import LiteRTDetector
from device.vision.finder import Finder
from device.vision.turn_search import ENOUGH, EVERY, TurnSearch
from tests.support.clips import make_clip
from tests.support.doors.staged import LIMITS
from tests.support.photos import model_file, photo

CORNERS = np.array([[[1], [2]], [[3], [4]]], np.uint8).repeat(3, axis=2)  # 1 2 over 3 4


class Reel:
    """A camera of given pictures that is lost after them."""

    name, live = "reel", True

    def __init__(self, *images: Image) -> None:
        self.images, self.closed, self.given_back = images, False, False

    def frames(self) -> Iterator[Frame]:
        try:
            for index, image in enumerate(self.images):
                yield Frame(image, 7.0 + index, index)
            raise CameraLost("the reel is over")
        finally:
            self.given_back = True

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("rotation_deg", "mirror", "seen"),
    [
        (0, False, [[1, 2], [3, 4]]),
        (90, False, [[3, 1], [4, 2]]),
        (180, False, [[4, 3], [2, 1]]),
        (270, False, [[2, 4], [1, 3]]),
        (0, True, [[2, 1], [4, 3]]),
        (90, True, [[1, 3], [2, 4]]),
    ],
)
def test_a_picture_is_turned_clockwise_and_then_mirrored(
    rotation_deg: int, mirror: bool, seen: list[list[int]]
) -> None:
    camera = TurnedCamera(Reel(CORNERS), rotation_deg=rotation_deg, mirror=mirror)
    frame = next(camera.frames())
    assert frame.image[..., 0].tolist() == seen
    assert frame.image.flags.c_contiguous
    assert (frame.captured_at_s, frame.index, camera.name, camera.live) == (7.0, 0, "reel", True)


def test_a_turned_camera_is_lost_and_closed_as_the_camera_is() -> None:
    reel = Reel(CORNERS)
    camera = TurnedCamera(reel, rotation_deg=90, mirror=False)
    with pytest.raises(CameraLost):
        list(camera.frames())
    camera.close()
    assert reel.closed


def test_whoever_stops_looking_gives_the_camera_back() -> None:
    reel = Reel(CORNERS, CORNERS)
    frames = TurnedCamera(reel, rotation_deg=90, mirror=False).frames()
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert reel.given_back


def test_the_configuration_turns_every_kind_of_camera(tmp_path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", "nobody:0.2")
    straight = build_camera(Config(camera=CameraConfig(source=str(clip))))
    turned = build_camera(Config(camera=CameraConfig(source=str(clip), rotation=90)))
    height, width, _ = next(iter(straight.frames())).image.shape
    assert next(iter(turned.frames())).image.shape == (width, height, 3)


def test_other_angles_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"camera.rotation: expected one of 0, 90, 180, 270, received 45"):
        parse_config({"camera": {"rotation": 45}}, origin="test")


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder(
        detector=LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=0.5, threads=1),
        aligner=MeshAligner(model=model_file(FACE_MESH), threads=1),
        limits=LIMITS,
        second_face_ratio=0.5,
    )


def watch(finder: Finder, images: list[Image], *, rotation_deg: int = 0, mirror: bool = False) -> list[str]:
    """Return what is advised while the camera shows these pictures, each long enough to be turned once."""
    search = TurnSearch(finder, rotation_deg=rotation_deg, mirror=mirror)
    told = []
    for image in images:
        found = finder.find(image)
        for _ in range(EVERY):
            search.see(image, found)
            told += [details["error"] for _, details in search.news()]
    return told


@pytest.mark.parametrize("hung_deg", [90, 180, 270])
def test_a_camera_that_is_hung_wrongly_is_told_once_with_the_key_that_helps(
    finder: Finder, hung_deg: int
) -> None:
    wrong = turn(photo("hopper"), -hung_deg)
    assert watch(finder, [wrong] * 4 * ENOUGH) == [
        f"faces are seen only after turning the picture: set camera.rotation = {hung_deg}"
    ]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("right_deg", [0, 90, 180])
def test_the_advice_counts_from_what_is_configured_and_helps(
    finder: Finder, right_deg: int, mirror: bool
) -> None:
    """The sensor's picture is upright after `right_deg`; configured is 90 more."""
    sensor = turn(photo("hopper"), -right_deg)
    seen = turn(sensor, right_deg + 90, mirror)
    (advice,) = watch(finder, [seen] * 4 * ENOUGH, rotation_deg=(right_deg + 90) % 360, mirror=mirror)
    assert advice.endswith(f"camera.rotation = {right_deg}")
    assert not isinstance(finder.find(turn(sensor, right_deg, mirror)).face, Stop)


def test_one_face_upright_ends_the_search(finder: Finder) -> None:
    upright = photo("hopper")
    assert watch(finder, [upright, *[turn(upright, 180)] * 4 * ENOUGH]) == []


def test_of_an_empty_hall_one_picture_in_ten_is_turned(finder: Finder) -> None:
    class Counting(Finder):
        looks = 0

        def find(self, image: Image):
            self.looks += 1
            return super().find(image)

    hall = np.full((480, 640, 3), 90, np.uint8)
    counting = Counting(
        detector=finder.detector, aligner=finder.aligner, limits=LIMITS, second_face_ratio=0.5
    )
    search, nobody = TurnSearch(counting, rotation_deg=0, mirror=False), finder.find(hall)
    for _ in range(40):
        search.see(hall, nobody)
    assert counting.looks == 40 / EVERY


def test_an_enrollment_at_a_camera_that_hangs_on_its_side_says_so(finder: Finder) -> None:
    collector = Collector(
        finder=finder,
        embedder=create_autospec(Embedder, instance=True),
        same_person=0.5,
        duplicate=0.97,
        samples=1,
        guided=True,
        search=TurnSearch(finder, rotation_deg=0, mirror=False),
    )
    on_its_side = turn(photo("hopper"), 90)
    hints = [collector.offer(on_its_side).hint for _ in range(6 * EVERY)]
    assert hints[-1].endswith("set camera.rotation = 270")
    assert not collector.samples


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_a_face_upside_down_is_refused_and_an_upright_one_is_not(finder: Finder, name: str) -> None:
    assert not isinstance(finder.find(photo(name)).face, Stop)
    stop = finder.find(turn(photo(name), 180)).face
    assert isinstance(stop, Stop)
    assert stop.reason in (Reason.TURNED_AWAY, Reason.NOT_A_FACE, Reason.NO_FACE)
