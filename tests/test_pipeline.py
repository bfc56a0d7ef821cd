"""handle_frame: each stage once, in order; who may pass, and that nobody else does."""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest

from device.decision import Decider, DecisionRule
from device.errors import GalleryError, LockError
from device.gallery import Gallery
from device.pipeline import Device, handle_frame, pick_face
from device.protocols import Aligner, Detector, Embedder, Lock
from device.quality import QualityLimits
from device.track import Tracker
from device.types import AlignedFace, FaceDetection, Frame, HeadPose, Reason

LIMITS = QualityLimits(
    min_face_px=60,
    min_sharpness=0,
    min_brightness=40,
    max_brightness=225,
    max_yaw_deg=35,
    max_pitch_deg=30,
    max_roll_deg=35,
    min_presence=0,
)
ALICE = np.eye(4, dtype=np.float32)[0]
STRANGER = np.eye(4, dtype=np.float32)[1]


def detection(width: float = 120.0, left: float = 100.0) -> FaceDetection:
    return FaceDetection(box=(left, 80.0, width, width), score=0.9, keypoints=np.zeros((6, 2), np.float32))


def aligned(brightness: int = 120, presence: float = 5.0) -> AlignedFace:
    image = np.full((112, 112, 3), brightness, np.uint8)
    return AlignedFace(
        image=image,
        measured=image,
        landmarks=np.zeros((5, 2), np.float32),
        mesh=np.zeros((468, 3), np.float32),
        presence=presence,
        pose=HeadPose(0, 0, 0),
        eye_openness=(0.3, 0.3),
    )


@pytest.fixture
def device(tmp_path: Path) -> Device:
    gallery = Gallery(tmp_path / "gallery.db", model_id="m", dimension=4, read_only=False)
    gallery.enroll("alice", ALICE[None], replace=False)
    made = Device(
        detector=create_autospec(Detector, instance=True),
        second_face_ratio=0.5,
        tracker=Tracker(max_gap_s=0.5, min_overlap=0.3),
        aligner=create_autospec(Aligner, instance=True),
        limits=LIMITS,
        embedder=create_autospec(Embedder, instance=True),
        gallery=gallery,
        decider=Decider(DecisionRule(threshold=0.5, k=3, n=5, cooldown_s=5.0, max_frame_age_s=1.5)),
        lock=create_autospec(Lock, instance=True),
    )
    made.detector.detect.return_value = [detection()]
    made.aligner.align.return_value = aligned()
    made.embedder.embed.return_value = ALICE
    return made


def frame(at_s: float) -> Frame:
    return Frame(np.zeros((480, 640, 3), np.uint8), at_s)


def reasons(device: Device, times: list[float]) -> list[Reason]:
    return [handle_frame(frame(at_s), device, at_s).reason for at_s in times]


def test_the_third_matching_frame_unlocks_once(device: Device) -> None:
    assert reasons(device, [0.0, 0.1, 0.2, 0.3]) == [
        Reason.CONFIRMING,
        Reason.CONFIRMING,
        Reason.GRANTED,
        Reason.COOLDOWN,
    ]
    device.lock.unlock.assert_called_once_with(0.2)  # the time of the frame, which a lock process checks


def test_a_decision_says_who_and_what_was_seen(device: Device) -> None:
    decision = [handle_frame(frame(at_s), device, at_s) for at_s in (0.0, 0.1, 0.2)][-1]
    assert (decision.granted, decision.subject_id, decision.similarity) == (True, "alice", pytest.approx(1.0))
    assert decision.detection is not None
    assert decision.track_id == 1


def test_a_stranger_is_never_let_in(device: Device) -> None:
    device.embedder.embed.return_value = STRANGER
    assert set(reasons(device, [0.1 * i for i in range(20)])) == {Reason.BELOW_THRESHOLD}
    device.lock.unlock.assert_not_called()


def test_an_empty_gallery_lets_nobody_in(device: Device) -> None:
    device.gallery.remove("alice")
    assert set(reasons(device, [0.0, 0.1, 0.2, 0.3])) == {Reason.EMPTY_GALLERY}
    device.lock.unlock.assert_not_called()


def test_a_person_who_is_removed_is_out_at_once(device: Device) -> None:
    assert reasons(device, [0.0, 0.1]) == [Reason.CONFIRMING] * 2
    device.gallery.remove("alice")
    assert reasons(device, [0.2]) == [Reason.EMPTY_GALLERY]


def test_an_old_frame_is_not_even_looked_at(device: Device) -> None:
    decision = handle_frame(frame(0.0), device, 1.6)
    assert decision.reason is Reason.STALE_FRAME
    device.detector.detect.assert_not_called()


def test_a_frame_that_grows_old_in_a_stage_does_not_open(device: Device) -> None:
    reasons(device, [0.0, 0.1])

    def hang(_face: object) -> np.ndarray:
        time.sleep(0.15)
        return ALICE

    device.embedder.embed.side_effect = hang
    decision = handle_frame(frame(0.2), device, 0.2 + 1.4)
    assert decision.reason is Reason.STALE_FRAME
    device.lock.unlock.assert_not_called()


def test_each_check_stops_before_the_network(device: Device) -> None:
    device.detector.detect.return_value = []
    assert reasons(device, [0.0]) == [Reason.NO_FACE]
    device.aligner.align.assert_not_called()
    device.detector.detect.return_value = [detection()]
    for at_s, face, reason in (
        (1.0, aligned(presence=-1.0), Reason.NOT_A_FACE),
        (1.1, aligned(brightness=31), Reason.TOO_DARK),
    ):
        device.aligner.align.return_value = face
        decision = handle_frame(frame(at_s), device, at_s)
        assert decision.reason is reason
        assert decision.hint
    device.embedder.embed.assert_not_called()


def test_a_second_near_face_starts_the_count_anew(device: Device) -> None:
    two = [detection(), detection(width=80, left=400)]
    assert reasons(device, [0.0, 0.1]) == [Reason.CONFIRMING] * 2
    device.detector.detect.return_value = two
    assert reasons(device, [0.2]) == [Reason.SEVERAL_FACES]
    device.detector.detect.return_value = two[:1]
    assert reasons(device, [0.3, 0.4, 0.5]) == [Reason.CONFIRMING, Reason.CONFIRMING, Reason.GRANTED]


def test_a_bystander_far_behind_is_ignored(device: Device) -> None:
    device.detector.detect.return_value = [detection(), detection(width=50, left=400)]
    assert reasons(device, [0.0, 0.1, 0.2])[-1] is Reason.GRANTED


def test_whoever_jumps_in_starts_anew(device: Device) -> None:
    assert reasons(device, [0.0, 0.1]) == [Reason.CONFIRMING] * 2
    device.detector.detect.return_value = [detection(left=450)]
    assert reasons(device, [0.2]) == [Reason.CONFIRMING]


def test_after_a_lost_camera_the_count_starts_anew(device: Device) -> None:
    reasons(device, [0.0, 0.1])
    device.forget()
    assert reasons(device, [0.2]) == [Reason.CONFIRMING]


def test_a_fault_is_an_exception_and_no_grant(device: Device) -> None:
    device.embedder.embed.side_effect = GalleryError("broken")
    with pytest.raises(GalleryError):
        handle_frame(frame(0.0), device, 0.0)
    device.lock.unlock.assert_not_called()


def test_close_locks_first_and_frees_the_rest_even_when_the_pin_fails(device: Device) -> None:
    device.lock.close.side_effect = LockError("stuck")
    with pytest.raises(LockError):
        device.close()
    device.detector.close.assert_called_once_with()


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
    face, why = pick_face([detection(width=width) for width in widths], 0.5)
    assert (face.box[2] if face else None, why) == (picked, reason)
