"""handle_frame: each stage once, in order; who may pass, and that nobody else does."""

from __future__ import annotations

import numpy as np
import pytest

from device.decide.decider import LivenessRule
from device.errors import GalleryError, LockError, LockRefused
from device.pipeline import Door, handle_frame
from device.types import Reason
from device.vision.unscored import Unscored
from tests.support.doors.staged import ALICE, STRANGER, aligned, detection, frame, reasons


def test_the_third_matching_frame_unlocks_once(device: Door) -> None:
    assert reasons(device, [0.0, 0.1, 0.2, 0.3]) == [
        Reason.CONFIRMING,
        Reason.CONFIRMING,
        Reason.GRANTED,
        Reason.COOLDOWN,
    ]
    device.lock.unlock.assert_called_once_with(0.2)  # the time of the frame, which a lock process checks


def test_a_decision_says_who_and_what_was_seen(device: Door) -> None:
    decision = [handle_frame(frame(at_s), device, at_s) for at_s in (0.0, 0.1, 0.2)][-1]
    assert (decision.granted, decision.subject_id, decision.similarity) == (True, "alice", pytest.approx(1.0))
    assert decision.detection is not None
    assert decision.track_id == 1


def test_a_stranger_is_never_let_in(device: Door) -> None:
    device.embedder.embed.return_value = STRANGER
    assert set(reasons(device, [0.1 * i for i in range(20)])) == {Reason.BELOW_THRESHOLD}
    device.lock.unlock.assert_not_called()


def test_an_empty_gallery_lets_nobody_in(device: Door) -> None:
    device.gallery.remove("alice")
    assert set(reasons(device, [0.0, 0.1, 0.2, 0.3])) == {Reason.EMPTY_GALLERY}
    device.lock.unlock.assert_not_called()


def test_a_person_who_is_removed_is_out_at_once(device: Door) -> None:
    assert reasons(device, [0.0, 0.1]) == [Reason.CONFIRMING] * 2
    device.gallery.remove("alice")
    assert reasons(device, [0.2]) == [Reason.EMPTY_GALLERY]


def test_an_old_frame_is_not_even_looked_at(device: Door) -> None:
    decision = handle_frame(frame(0.0), device, 1.6)
    assert decision.reason is Reason.STALE_FRAME
    device.finder.detector.detect.assert_not_called()


@pytest.mark.parametrize(("hangs_s", "reason"), [(0.05, Reason.GRANTED), (0.15, Reason.STALE_FRAME)])
def test_a_frame_that_grows_old_in_a_stage_does_not_open(
    device: Door, hangs_s: float, reason: Reason
) -> None:
    """Handed in when it is 1.4 s old, of the 1.5 s that it may be."""
    reasons(device, [0.0, 0.1])
    passed_s = 0.0

    def hang(_face: object) -> np.ndarray:
        nonlocal passed_s
        passed_s += hangs_s
        return ALICE

    device.steady_s = lambda: passed_s
    device.embedder.embed.side_effect = hang
    decision = handle_frame(frame(0.2), device, 0.2 + 1.4)
    assert decision.reason is reason
    assert device.lock.unlock.call_count == (reason is Reason.GRANTED)


def test_each_check_stops_before_the_network(device: Door) -> None:
    device.finder.detector.detect.return_value = []
    assert reasons(device, [0.0]) == [Reason.NO_FACE]
    device.finder.aligner.align.assert_not_called()
    device.finder.detector.detect.return_value = [detection()]
    for at_s, face, reason in (
        (1.0, aligned(presence=-1.0), Reason.NOT_A_FACE),
        (1.1, aligned(contrast=2), Reason.TOO_DARK),
    ):
        device.finder.aligner.align.return_value = face
        decision = handle_frame(frame(at_s), device, at_s)
        assert decision.reason is reason
        assert decision.hint
    device.embedder.embed.assert_not_called()


def test_a_second_near_face_starts_the_count_anew(device: Door) -> None:
    two = [detection(), detection(width=80, left=400)]
    assert reasons(device, [0.0, 0.1]) == [Reason.CONFIRMING] * 2
    device.finder.detector.detect.return_value = two
    assert reasons(device, [0.2]) == [Reason.SEVERAL_FACES]
    device.finder.detector.detect.return_value = two[:1]
    assert reasons(device, [0.3, 0.4, 0.5]) == [Reason.CONFIRMING, Reason.CONFIRMING, Reason.GRANTED]


def test_a_bystander_far_behind_is_ignored(device: Door) -> None:
    device.finder.detector.detect.return_value = [detection(), detection(width=50, left=400)]
    assert reasons(device, [0.0, 0.1, 0.2])[-1] is Reason.GRANTED


def test_whoever_jumps_in_starts_anew(device: Door) -> None:
    assert reasons(device, [0.0, 0.1]) == [Reason.CONFIRMING] * 2
    device.finder.detector.detect.return_value = [detection(left=450)]
    assert reasons(device, [0.2]) == [Reason.CONFIRMING]


def test_after_a_lost_camera_the_count_starts_anew(device: Door) -> None:
    reasons(device, [0.0, 0.1])
    device.forget()
    assert reasons(device, [0.2]) == [Reason.CONFIRMING]


def test_only_a_bolt_that_moved_forgives_refused_approaches(device: Door) -> None:
    device.embedder.embed.return_value = STRANGER
    for visit in range(4):
        reasons(device, [visit * 4 + 0.1 * i for i in range(16)])
    device.embedder.embed.return_value = ALICE
    device.lock.unlock.side_effect = LockRefused("budget")
    with pytest.raises(LockRefused):
        reasons(device, [16.0, 16.1, 16.2])
    assert device.decider._refusals.count.wrong == 4
    device.lock.unlock.side_effect = None
    assert reasons(device, [24.0, 24.1, 24.2])[-1] is Reason.GRANTED
    assert device.decider._refusals.count.wrong == 0


def test_a_challenge_under_way_when_the_camera_is_lost_was_refused(device: Door) -> None:
    device.liveness.score.return_value = 0.5
    for index in range(60):
        if handle_frame(frame(0.1 * index), device, 0.1 * index).challenge:
            break
    device.forget()
    assert device.decider._refusals.count.wrong == 1


def test_a_fault_is_an_exception_and_no_grant(device: Door) -> None:
    device.embedder.embed.side_effect = GalleryError("broken")
    with pytest.raises(GalleryError):
        handle_frame(frame(0.0), device, 0.0)
    device.lock.unlock.assert_not_called()


def test_close_locks_first_and_frees_the_rest_even_when_the_pin_fails(device: Door) -> None:
    device.lock.close.side_effect = LockError("stuck")
    with pytest.raises(LockError):
        device.close()
    device.finder.detector.close.assert_called_once_with()


def test_a_suspected_face_never_opens(device: Door) -> None:
    device.liveness.score.return_value = 0.1
    assert set(reasons(device, [0.1 * i for i in range(20)])) == {Reason.SPOOF_SUSPECTED}
    device.lock.unlock.assert_not_called()


def test_the_scorer_sees_the_frame_and_its_face_once_a_frame(device: Door) -> None:
    seen = frame(0.0)
    handle_frame(seen, device, 0.0)
    ((image, box),) = (call.args for call in device.liveness.score.call_args_list)
    assert image is seen.image
    assert box == device.finder.detector.detect.return_value[0].box


def test_an_unsure_face_is_asked_and_a_still_one_never_gets_in(device: Door) -> None:
    device.liveness.score.return_value = 0.5
    seen = [handle_frame(frame(0.1 * i), device, 0.1 * i) for i in range(100)]
    device.lock.unlock.assert_not_called()
    assert {Reason.CHALLENGE, Reason.CHALLENGE_FAILED} <= {each.reason for each in seen}
    asked = [each for each in seen if each.challenge]
    assert asked
    assert all(each.hint for each in asked)


def test_without_liveness_nothing_is_scored(device: Door) -> None:
    scorer, device.liveness = device.liveness, Unscored()
    device.decider._liveness = LivenessRule(mode="off", unsure=0, attack=0)
    assert reasons(device, [0.0, 0.1, 0.2])[-1] is Reason.GRANTED
    scorer.score.assert_not_called()


def test_a_scorer_that_is_missing_is_no_way_in(device: Door) -> None:
    device.liveness = Unscored()  # the rule still asks for a score
    assert set(reasons(device, [0.0, 0.1, 0.2, 0.3])) == {Reason.SPOOF_SUSPECTED}


def test_who_walks_past_far_away_is_not_even_compared(device: Door) -> None:
    device.finder.detector.detect.return_value = [detection(width=62)]
    assert set(reasons(device, [0.0, 0.1, 0.2, 0.3])) == {Reason.TOO_FAR}
    device.embedder.embed.assert_not_called()


def test_who_looks_aside_does_not_open(device: Door) -> None:
    device.finder.aligner.align.return_value = aligned(yaw_deg=25.0)
    assert set(reasons(device, [0.0, 0.1, 0.2, 0.3])) == {Reason.NOT_FACING}
    device.lock.unlock.assert_not_called()


def two_faces(device: Door, stranger_px: float, picture_px: float) -> list[Reason]:
    """A live stranger, and a picture of Alice beside their head; each face is what it is to every stage."""
    stranger, picture = detection(width=stranger_px), detection(width=picture_px, left=350)
    faces = {id(stranger): (aligned(), STRANGER, 0.95), id(picture): (aligned(), ALICE, 0.1)}
    by_crop = {id(face.image): embedding for face, embedding, _ in faces.values()}
    by_box = {stranger.box: 0.95, picture.box: 0.1}
    device.finder.detector.detect.return_value = [stranger, picture]
    device.finder.aligner.align.side_effect = lambda _, found: faces[id(found)][0]
    device.embedder.embed.side_effect = lambda crop: by_crop[id(crop)]
    device.liveness.score.side_effect = lambda _, box: by_box[box]
    return reasons(device, [0.1 * i for i in range(20)])


@pytest.mark.parametrize(
    ("stranger_px", "picture_px", "reason"),
    [
        (120, 100, Reason.SEVERAL_FACES),  # beside each other
        (100, 120, Reason.SEVERAL_FACES),
        (150, 70, Reason.BELOW_THRESHOLD),  # a small picture: the stranger is looked at
        (70, 150, Reason.SPOOF_SUSPECTED),  # a large one: it has to be alive itself
    ],
)
def test_a_live_stranger_with_a_picture_beside_their_head_loses(
    device: Door, stranger_px: float, picture_px: float, reason: Reason
) -> None:
    assert set(two_faces(device, stranger_px, picture_px)) == {reason}
    device.lock.unlock.assert_not_called()


def test_a_swap_in_mid_track_takes_nothing_along(device: Door) -> None:
    """A live stranger gives way to a picture of Alice in the same place: the box goes on, the face does not."""
    device.embedder.embed.return_value = STRANGER
    reasons(device, [0.0, 0.1, 0.2])
    device.embedder.embed.return_value, device.liveness.score.return_value = ALICE, 0.1
    assert set(reasons(device, [0.3, 0.4, 0.5, 0.6])) == {Reason.SPOOF_SUSPECTED}
    device.lock.unlock.assert_not_called()


def test_a_swap_between_two_that_may_pass_starts_anew(device: Door) -> None:
    assert reasons(device, [0.0, 0.1]) == [Reason.CONFIRMING] * 2
    device.embedder.embed.return_value = STRANGER
    swapped = handle_frame(frame(0.2), device, 0.2)
    device.embedder.embed.return_value = ALICE
    back = handle_frame(frame(0.3), device, 0.3)
    assert (swapped.track_id, back.track_id) == (2, 3)
    assert back.reason is Reason.CONFIRMING


def test_a_swap_ends_a_running_challenge(device: Door) -> None:
    device.liveness.score.return_value = 0.5
    assert reasons(device, [0.1 * i for i in range(4)])[-1] is Reason.CHALLENGE
    device.embedder.embed.return_value = STRANGER
    assert reasons(device, [0.4]) == [Reason.BELOW_THRESHOLD]
    device.embedder.embed.return_value = ALICE
    assert reasons(device, [0.5]) == [Reason.CONFIRMING]


def test_a_second_face_that_comes_near_ends_a_running_challenge(device: Door) -> None:
    device.liveness.score.return_value = 0.5
    assert reasons(device, [0.1 * i for i in range(4)])[-1] is Reason.CHALLENGE
    device.finder.detector.detect.return_value = [detection(), detection(width=80, left=400)]
    assert reasons(device, [0.4]) == [Reason.SEVERAL_FACES]
    device.finder.detector.detect.return_value = [detection()]
    assert reasons(device, [0.5, 0.6]) == [Reason.CONFIRMING] * 2
