"""The finder: which face of a picture the door works with, and why none of them."""

from __future__ import annotations

import math
from unittest.mock import create_autospec

import numpy as np
import pytest

from device.protocols import Aligner, Detector
from device.types import Image, Reason, Stop
from device.vision.align import MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.detect import LiteRTDetector
from device.vision.finder import Finder, Found
from tests.support.doors.staged import LIMITS, aligned, detection
from tests.support.photos import model_file, on_canvas, photo

IMAGE: Image = np.zeros((480, 640, 3), np.uint8)
PATTERN = -7.0  # what the mesh says of a pattern that the detector took for a face


def look(*faces: tuple[float, float]) -> tuple[Found, int]:
    """Return what is found among faces of (width in px, presence), and how often the mesh was asked."""
    detections = [detection(width=width) for width, _ in faces]
    presence = {id(each): presence for each, (_, presence) in zip(detections, faces, strict=True)}
    detector = create_autospec(Detector, instance=True)
    detector.detect.return_value = detections
    aligner = create_autospec(Aligner, instance=True)
    aligner.align.side_effect = lambda _, seen: aligned(presence=presence[id(seen)])
    finder = Finder(detector=detector, aligner=aligner, limits=LIMITS, second_face_ratio=0.5)
    return finder.find(IMAGE), aligner.align.call_count


def outcome(found: Found) -> tuple[float | None, Reason | None]:
    """Return the width of the face that was picked, and why it may not be used."""
    width = found.detection.box[2] if found.detection is not None else None
    return width, found.face.reason if isinstance(found.face, Stop) else None


@pytest.mark.parametrize(
    ("widths", "picked", "reason"),
    [
        ([], None, Reason.NO_FACE),
        ([100], 100, None),
        ([40, 100], 100, None),
        ([100, 50], 100, Reason.SEVERAL_FACES),
        ([90, 100, 10], 100, Reason.SEVERAL_FACES),
    ],
)
def test_the_widest_face_is_picked(widths: list[float], picked: float | None, reason: Reason | None) -> None:
    found, _ = look(*((width, 20.0) for width in widths))
    assert outcome(found) == (picked, reason)


def test_a_second_face_counts_only_when_the_mesh_confirms_it() -> None:
    assert outcome(look((100, 20), (90, PATTERN))[0]) == (100, None)
    assert outcome(look((100, 20), (90, math.nan))[0]) == (100, None)
    assert outcome(look((100, 20), (90, PATTERN), (80, 20))[0]) == (100, Reason.SEVERAL_FACES)


def test_a_pattern_that_is_wider_than_the_person_does_not_take_their_place() -> None:
    assert outcome(look((200, PATTERN), (90, 20))[0]) == (90, None)


def test_a_pattern_alone_is_not_a_face() -> None:
    assert outcome(look((200, PATTERN), (90, PATTERN))[0]) == (200, Reason.NOT_A_FACE)


def test_a_crowd_costs_two_looks_of_the_mesh_and_a_single_face_one() -> None:
    assert look((100, 20))[1] == 1
    assert look(*[(100.0, 20.0)] * 10)[1] == 2
    assert look((100, 20), *[(40.0, 20.0)] * 10)[1] == 1


def test_a_stop_says_what_was_measured_and_its_limit() -> None:
    stop = look((100, 20), (80, 20))[0].face
    assert isinstance(stop, Stop)
    assert (stop.measured, stop.limit) == (pytest.approx(0.8), 0.5)


def test_two_people_in_a_photograph_are_two_faces_and_one_is_one() -> None:
    finder = Finder(
        detector=LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=0.5, threads=1),
        aligner=MeshAligner(model=model_file(FACE_MESH), threads=1),
        limits=LIMITS,
        second_face_ratio=0.5,
    )
    one = on_canvas(photo("hopper"), 640, 480, 0, 60, 0.6)
    other = on_canvas(photo("hopper"), 640, 480, 320, 60, 0.6)
    both = np.concatenate([one[:, :320], other[:, 320:]], axis=1)
    assert outcome(finder.find(one))[1] is None
    assert outcome(finder.find(both))[1] is Reason.SEVERAL_FACES


@pytest.mark.parametrize("is_upright", [True, False])
def test_a_face_that_stands_on_its_head_is_refused(is_upright: bool) -> None:
    detector, aligner = create_autospec(Detector, instance=True), create_autospec(Aligner, instance=True)
    detector.detect.return_value = [detection()]
    aligner.align.return_value = aligned()
    aligner.is_upright.return_value = is_upright
    face = Finder(detector=detector, aligner=aligner, limits=LIMITS, second_face_ratio=0.5).find(IMAGE).face
    if is_upright:
        assert not isinstance(face, Stop)
    else:
        assert isinstance(face, Stop)
        assert (face.reason, face.measured) == (Reason.TURNED_AWAY, 180)
        assert "camera.rotation" in face.hint
