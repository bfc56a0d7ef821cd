from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.numeric.geometry import (
    REFERENCE_POINTS,
    apply_transform,
    box_overlap,
    decode_candidates,
    detector_anchors,
    five_points,
    head_pose,
    invert_transform,
    mesh_region,
    reference_points,
    similarity_transform,
    weighted_nms,
)

angles = st.floats(-math.pi, math.pi)
scales = st.floats(0.05, 20)
shifts = st.floats(-500, 500)


def similarity(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


@given(angles, scales, shifts, shifts)
def test_the_transform_that_made_the_points_is_found(angle: float, scale: float, x: float, y: float) -> None:
    made = similarity(angle, scale, x, y)
    found = similarity_transform(REFERENCE_POINTS, apply_transform(made, REFERENCE_POINTS))
    np.testing.assert_allclose(found, made, rtol=1e-6, atol=1e-6)


@given(angles, scales, shifts, shifts)
def test_an_inverse_undoes_its_transform(angle: float, scale: float, x: float, y: float) -> None:
    made = similarity(angle, scale, x, y)
    back = apply_transform(invert_transform(made), apply_transform(made, REFERENCE_POINTS))
    np.testing.assert_allclose(back, REFERENCE_POINTS, atol=1e-6)


def test_no_similar_transform_fits_noisy_points_better() -> None:
    rng = np.random.default_rng(7)
    source = REFERENCE_POINTS + rng.normal(0, 3, REFERENCE_POINTS.shape)
    best = similarity_transform(source, REFERENCE_POINTS)

    def residual(matrix: np.ndarray) -> float:
        return float(((apply_transform(matrix, source) - REFERENCE_POINTS) ** 2).sum())

    for _ in range(200):
        angle, scale, x, y = rng.normal(0, (0.02, 0.02, 1, 1))
        nudged = np.vstack([best, [0, 0, 1]])
        nudged = (np.vstack([similarity(angle, 1 + scale, x, y), [0, 0, 1]]) @ nudged)[:2]
        assert residual(best) <= residual(nudged) + 1e-9


def test_mirrored_points_are_not_mirrored_back() -> None:
    mirrored = REFERENCE_POINTS * [-1, 1]
    linear = similarity_transform(mirrored, REFERENCE_POINTS)[:, :2]
    assert np.linalg.det(linear) > 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_points_in_one_place_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="differ"):
        similarity_transform(points, REFERENCE_POINTS)


def test_five_points_are_means_of_their_mesh_points() -> None:
    mesh = np.zeros((468, 3), np.float32)
    mesh[[33, 133, 159, 145, 158, 153, 160, 144]] = (10, 20, 5)
    mesh[[362, 263, 386, 374, 385, 380, 387, 373]] = (30, 20, 5)
    mesh[1], mesh[61], mesh[291] = (20, 30, -9), (14, 40, 0), (26, 40, 0)
    np.testing.assert_array_equal(five_points(mesh), [(10, 20), (30, 20), (20, 30), (14, 40), (26, 40)])


def test_reference_points_scale_with_the_crop_about_its_edge() -> None:
    np.testing.assert_array_equal(reference_points(112), REFERENCE_POINTS)
    np.testing.assert_allclose(reference_points(224), 2 * REFERENCE_POINTS + 0.5, atol=1e-4)
    np.testing.assert_allclose(reference_points(160), (REFERENCE_POINTS + 0.5) * 10 / 7 - 0.5, atol=1e-4)


def made_head(yaw_deg: float = 0, pitch_deg: float = 0, roll_deg: float = 0) -> np.ndarray:
    """Return a mesh with the points that the pose is read from, on a flat face, turned as HeadPose says."""
    mesh = np.zeros((468, 3))
    for right, left, x, y in (
        (33, 263, 45, -20),
        (133, 362, 18, -20),
        (127, 356, 70, -15),
        (61, 291, 25, 45),
    ):
        mesh[right], mesh[left] = (-x, y, 0), (x, y, 0)
    mesh[234], mesh[454] = (-72, 0, 40), (72, 0, 40)
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    # Turning toward the image's right edge brings the face's front, -z, toward +x.
    about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return mesh @ (about_z @ about_y @ about_x).T + (300, 200, 0)


def test_the_made_head_turns_as_the_signs_say() -> None:
    front = np.array([0, 0, -1.0])

    def turned(**angle: float) -> np.ndarray:
        flat, moved = made_head() - (300, 200, 0), made_head(**angle) - (300, 200, 0)
        rotation, *_ = np.linalg.lstsq(flat, moved, rcond=None)
        return front @ rotation

    assert turned(yaw_deg=20)[0] > 0.3  # to the image's right edge
    assert turned(pitch_deg=20)[1] < -0.3  # up


limited = st.floats(-60, 60)


@given(limited, limited, limited)
def test_pose_is_read_back(yaw: float, pitch: float, roll: float) -> None:
    pose = head_pose(made_head(yaw, pitch, roll))
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((yaw, pitch, roll), abs=1e-6)


@given(limited, limited, limited)
def test_mirroring_negates_yaw_and_roll(yaw: float, pitch: float, roll: float) -> None:
    mesh = made_head(yaw, pitch, roll)
    mirrored = mesh * (-1, 1, 1)
    for right, left in ((33, 263), (133, 362), (127, 356), (234, 454), (61, 291)):
        mirrored[[right, left]] = mirrored[[left, right]]
    pose = head_pose(mirrored)
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((-yaw, pitch, -roll), abs=1e-6)


def test_the_mesh_region_is_one_and_a_half_boxes_turned_to_level_eyes() -> None:
    keypoints = np.zeros((6, 2), np.float32)
    keypoints[:2] = (100, 100), (140, 120)
    to_region = mesh_region((80, 90, 100, 100), keypoints, 192)
    right_eye, left_eye, center = apply_transform(to_region, [(100, 100), (140, 120), (130, 140)])
    assert right_eye[1] == pytest.approx(left_eye[1])
    assert right_eye[0] < left_eye[0]
    assert center == pytest.approx([96, 96])
    assert math.dist(right_eye, left_eye) == pytest.approx(math.dist((100, 100), (140, 120)) * 192 / 150)


def test_a_region_of_a_box_without_size_is_finite() -> None:
    assert np.isfinite(mesh_region((5, 5, 0, 0), np.zeros((6, 2), np.float32), 192)).all()


def test_anchors_are_cell_centers() -> None:
    anchors = detector_anchors()
    assert anchors.shape == (896, 2)
    assert anchors[0] == pytest.approx([1 / 32, 1 / 32])
    np.testing.assert_array_equal(anchors[0], anchors[1])
    assert anchors[2] == pytest.approx([3 / 32, 1 / 32])  # x runs first
    assert anchors[512] == pytest.approx([1 / 16, 1 / 16])
    assert anchors[895] == pytest.approx([15 / 16, 15 / 16])


def test_decoding_keeps_what_scores_enough() -> None:
    regressors, logits = np.zeros((896, 16), np.float32), np.full(896, -1e9, np.float32)
    regressors[600, :4], logits[600] = (2, -4, 32, 16), 1.0
    regressors[600, 4:6] = (-5, 7)
    regressors[601, :4], logits[601] = (0, 0, -3, 8), 9.0  # inside out: dropped although sure
    anchors = detector_anchors()
    coordinates, scores = decode_candidates(regressors, logits, anchors, 0.5)
    x, y = anchors[600] * 128
    assert scores == pytest.approx([1 / (1 + math.exp(-1))])
    assert coordinates[0, :6] == pytest.approx([x - 14, y - 12, x + 18, y + 4, x - 5, y + 7])


def test_decoding_survives_extreme_logits() -> None:
    logits = np.array([3e38, -3e38] * 448, np.float32)
    with np.errstate(all="raise"):
        _, scores = decode_candidates(np.zeros((896, 16), np.float32), logits, detector_anchors(), 0.5)
    assert scores == pytest.approx(np.ones(448))


def candidate(*box: float) -> np.ndarray:
    return np.concatenate([box, np.arange(12) + box[0]])


def test_near_candidates_become_their_weighted_mean() -> None:
    coordinates = np.array([candidate(50, 50, 60, 60), candidate(0, 0, 10, 10), candidate(2, 0, 12, 10)])
    merged = weighted_nms(coordinates, np.array([0.7, 0.9, 0.6]), 0.3)
    assert [score for _, score in merged] == [0.9, 0.7]
    assert merged[0][0][:5] == pytest.approx([0.8, 0, 10.8, 10, 0.8])
    assert merged[1][0] == pytest.approx(coordinates[0])


def test_suppression_of_nothing_and_of_boxes_without_area_ends() -> None:
    assert weighted_nms(np.zeros((0, 16)), np.zeros(0), 0.3) == []
    assert len(weighted_nms(np.zeros((2, 16)), np.array([0.8, 0.9]), 0.3)) == 2


def test_overlap() -> None:
    boxes = [(0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10), (30, 30, 40, 40), (4, 4, 4, 4)]
    assert box_overlap((0, 0, 10, 10), boxes) == pytest.approx([1, 1 / 3, 0, 0, 0])
