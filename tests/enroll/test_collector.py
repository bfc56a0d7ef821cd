"""The collector: which images become samples, and what a person is told about the others."""

from __future__ import annotations

from unittest.mock import create_autospec

import numpy as np
import pytest

from device.enroll.collector import PATIENCE_FRAMES, Collector, Sample, contact_sheet, template
from device.protocols import Aligner, Detector, Embedder
from device.types import FaceDetection, HeadPose, Image
from device.vision.finder import Finder
from tests.support.doors.staged import LIMITS, aligned, detection

IMAGE: Image = np.zeros((480, 640, 3), np.uint8)


def direction(degrees: float) -> np.ndarray:
    """Return a unit vector; two of them are alike by the cosine of their angle."""
    angle = np.radians(degrees)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


class Scene:
    """What the stages see next, and a collector that looks."""

    def __init__(self, samples: int = 3, guided: bool = False) -> None:
        self.detector = create_autospec(Detector, instance=True)
        self.aligner = create_autospec(Aligner, instance=True)
        self.embedder = create_autospec(Embedder, instance=True)
        self.collector = Collector(
            finder=Finder(detector=self.detector, aligner=self.aligner, limits=LIMITS, second_face_ratio=0.5),
            embedder=self.embedder,
            same_person=0.5,
            duplicate=0.97,
            samples=samples,
            guided=guided,
        )

    def offer(
        self,
        degrees: float,
        *,
        pose: HeadPose | None = None,
        contrast: int = 80,
        faces: list[FaceDetection] | None = None,
    ):
        self.detector.detect.return_value = [detection()] if faces is None else faces
        face = aligned(contrast=contrast)
        object.__setattr__(face, "pose", pose or HeadPose(0, 0, 0))
        self.aligner.align.return_value = face
        self.embedder.embed.return_value = direction(degrees)
        return self.collector.offer(IMAGE)


def test_different_good_samples_are_kept_until_complete() -> None:
    scene = Scene(samples=2)
    assert scene.offer(0).accepted
    assert not scene.collector.is_complete
    assert scene.offer(30).accepted
    assert scene.collector.is_complete
    assert scene.collector.templates().shape == (2, 2)


def test_what_is_wrong_is_said_with_numbers() -> None:
    scene = Scene()
    assert scene.offer(0, contrast=2).hint == "too dark: more light on the face: signal 0.6, needs 2"
    assert scene.offer(0, faces=[]).hint.startswith("no face")
    assert scene.offer(0, faces=[detection(), detection(left=400)]).hint.startswith("two faces")
    assert scene.collector.samples == []


def test_a_near_duplicate_is_refused() -> None:
    scene = Scene()
    assert scene.offer(0).accepted
    verdict = scene.offer(5)
    assert not verdict.accepted
    assert "nearly the same" in verdict.hint


def test_a_near_duplicate_of_a_stored_template_is_refused() -> None:
    scene = Scene()
    scene.collector.remember(np.stack([direction(0), direction(90)]))
    assert "nearly the same" in scene.offer(5).hint
    assert scene.offer(45).accepted
    assert scene.collector.templates().shape == (1, 2)


def test_somebody_else_does_not_slip_in_between() -> None:
    scene = Scene()
    assert scene.offer(0).accepted
    verdict = scene.offer(85)
    assert not verdict.accepted
    assert "not the person" in verdict.hint


def test_the_guide_asks_for_poses_in_turn() -> None:
    scene = Scene(samples=3, guided=True)
    assert scene.offer(0).hint == "turn a little left"
    assert scene.offer(20).hint == "turn a little left"  # still straight
    assert scene.offer(20, pose=HeadPose(15, 0, 0)).hint == "turn a little right"
    assert scene.offer(-20, pose=HeadPose(-15, 0, 0)).accepted
    assert scene.collector.is_complete


def test_a_stiff_neck_does_not_end_the_enrollment() -> None:
    scene = Scene(samples=2, guided=True)
    scene.offer(0)
    verdicts = [scene.offer(20) for _ in range(PATIENCE_FRAMES + 1)]
    assert [verdict.accepted for verdict in verdicts] == [False] * PATIENCE_FRAMES + [True]


def test_the_most_common_failure_is_known() -> None:
    scene = Scene()
    assert scene.collector.most_common_failure == ""
    for contrast in (1, 2, 3):
        scene.offer(0, contrast=contrast)
    scene.offer(0, faces=[])
    assert scene.collector.most_common_failure == "too dark"


@pytest.mark.parametrize(("count", "shape"), [(1, (128, 128, 3)), (5, (128, 608, 3)), (7, (248, 608, 3))])
def test_the_contact_sheet_holds_all_faces(count: int, shape: tuple[int, int, int]) -> None:
    faces = [np.full((112, 112, 3), 10 + i, np.uint8) for i in range(count)]
    sheet = contact_sheet([Sample(direction(0), face, HeadPose(0, 0, 0)) for face in faces])
    assert sheet.shape == shape
    assert all((sheet == 10 + i).any() for i in range(count))


def test_a_template_is_the_mean_of_a_face_and_its_mirror_image() -> None:
    embedder = create_autospec(Embedder, instance=True)
    embedder.embed.side_effect = lambda face: direction(40 if face[0, 0, 0] else 80)  # lit left?
    face = np.zeros((112, 112, 3), np.uint8)
    face[:, :56] = 255
    for view in (face, face[:, ::-1]):
        assert template(embedder, view) == pytest.approx(direction(60), abs=1e-6)
    assert all(call.args[0].flags.c_contiguous for call in embedder.embed.call_args_list[1:2])
