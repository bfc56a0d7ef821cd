from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.numeric.face_shape import STRAIGHT, STRAIGHT_POINTS, as_mesh, flat_head_pose, misfit
from device.numeric.geometry import apply_transform, eye_openness, five_points
from device.vision.align import MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.detect import LiteRTDetector
from tests.support.photos import model_file, photo, rotated
from tests.support.tiny_model import LANDMARKS, MEAN_SHAPE

limited = st.floats(-50, 50)


def turned_head(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Return the straight head as a mesh without depth, turned as HeadPose says and seen from afar."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    seen = STRAIGHT @ (about_z @ about_y @ about_x).T * 60 + (320, 240, 0)
    mesh = np.full((468, 3), np.nan)
    mesh[list(STRAIGHT_POINTS), :2] = seen[:, :2]
    return mesh


@given(limited, limited, limited)
def test_pose_is_read_back_without_a_depth(yaw: float, pitch: float, roll: float) -> None:
    pose = flat_head_pose(turned_head(yaw, pitch, roll))
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((yaw, pitch, roll), abs=1e-6)


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
@pytest.mark.parametrize("clockwise_deg", [-25, 0, 25])
def test_pose_agrees_with_that_of_the_meshs_depth(name: str, clockwise_deg: int) -> None:
    image = rotated(photo(name), clockwise_deg)
    detector = LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=0.5, threads=1)
    face = MeshAligner(model=model_file(FACE_MESH), threads=1).align(image, detector.detect(image)[0])
    flat = flat_head_pose(face.mesh[:, :2])
    assert flat.roll_deg == pytest.approx(face.pose.roll_deg, abs=2)
    assert flat.yaw_deg == pytest.approx(face.pose.yaw_deg, abs=5)
    assert flat.pitch_deg == pytest.approx(face.pose.pitch_deg, abs=8)


def test_a_mesh_has_its_points_by_number_and_nan_elsewhere() -> None:
    mesh = as_mesh([(1, 2), (3, 4)], (7, 2))
    assert (mesh.shape, mesh.dtype) == ((468, 3), np.float32)
    assert mesh[7, :2].tolist() == [1, 2]
    assert mesh[2, :2].tolist() == [3, 4]
    assert np.isnan(mesh).sum() == 468 * 3 - 4


@given(st.floats(-math.pi, math.pi), st.floats(0.1, 10), st.floats(-500, 500), st.floats(-500, 500))
def test_turn_size_and_place_of_a_face_are_no_misfit(angle: float, scale: float, x: float, y: float) -> None:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    moved = apply_transform([[cos, -sin, x], [sin, cos, y]], MEAN_SHAPE)
    assert misfit(moved, MEAN_SHAPE, LANDMARKS) == pytest.approx(0, abs=1e-6)


def test_misfit_is_a_share_of_the_distance_between_the_eyes() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(0, 1, MEAN_SHAPE.shape)
    right, left = five_points(as_mesh(MEAN_SHAPE, LANDMARKS))[:2]
    apart = np.linalg.norm(left - right)
    steps = [
        misfit(MEAN_SHAPE + noise * share * apart / math.sqrt(2), MEAN_SHAPE, LANDMARKS)
        for share in (0.01, 0.1)
    ]
    assert steps == pytest.approx([0.01, 0.1], rel=0.1)
    assert misfit(random.uniform(0, 1, MEAN_SHAPE.shape), MEAN_SHAPE, LANDMARKS) > 0.4


def test_a_face_seen_in_a_mirror_without_renaming_is_a_misfit() -> None:
    assert misfit(MEAN_SHAPE * (-1, 1), MEAN_SHAPE, LANDMARKS) > 0.4


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf])
def test_points_in_one_place_and_no_numbers_are_infinitely_far(value: float) -> None:
    assert misfit(np.full(MEAN_SHAPE.shape, value), MEAN_SHAPE, LANDMARKS) == math.inf


def eyes(right: float, left: float) -> np.ndarray:
    """Return a mesh with eyes 20 px wide whose lids are so many px apart."""
    mesh = np.full((468, 3), np.nan)
    mesh[[33, 133], :2], mesh[[362, 263], :2] = [(10, 50), (30, 50)], [(60, 50), (80, 50)]
    for upper, lower, x in ((160, 144, 15), (159, 145, 20), (158, 153, 25)):
        mesh[[upper, lower], :2] = [(x, 50 - right / 2), (x, 50 + right / 2)]
    for upper, lower, x in ((385, 380, 65), (386, 374, 70), (387, 373, 75)):
        mesh[[upper, lower], :2] = [(x, 50 - left / 2), (x, 50 + left / 2)]
    return mesh


@given(st.floats(0, 12), st.floats(0, 12), st.floats(-math.pi, math.pi), st.floats(0.1, 10))
def test_openness_is_lid_distance_over_width_whatever_turn_and_size(
    right: float, left: float, angle: float, scale: float
) -> None:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    mesh = eyes(right, left)
    mesh[:, :2] = apply_transform([[cos, -sin, 7], [sin, cos, 9]], mesh[:, :2])
    assert eye_openness(mesh) == pytest.approx((right / 20, left / 20), abs=1e-6)


def test_an_eye_without_width_is_shut() -> None:
    mesh = eyes(6, 6)
    mesh[33] = mesh[133]
    assert eye_openness(mesh) == (0.0, pytest.approx(0.3))
