"""Depth from motion: flat pictures and heads, as points, without a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decide.challenge import LEAST_DEPTH, LEAST_MISFIT
from device.decide.parallax import NO_PARALLAX, homography, map_points, measure
from tests.support.solid_face import face_points, seen

PLANE, HEAD = face_points(depth=0.0), face_points(depth=1.0)


def test_a_homography_is_found_again() -> None:
    matrix = np.array([[1.1, 0.05, 12.0], [-0.08, 0.95, -7.0], [2e-4, -1e-4, 1.0]])
    points = np.random.default_rng(0).uniform(0, 300, (50, 2))
    found = homography(points, map_points(matrix, points))
    np.testing.assert_allclose(found / found[2, 2], matrix, rtol=1e-6, atol=1e-6)


angles = st.floats(-50, 50)


@settings(max_examples=100, deadline=None)
@given(angles, angles, angles, st.floats(0.5, 2.0), st.floats(-80, 80))
def test_a_plane_has_no_depth_however_it_turns(yaw, pitch, roll, size, shift) -> None:
    parallax = measure(seen(PLANE), seen(PLANE, yaw, pitch, roll, size, shift))
    assert parallax.misfit < 1e-3


@pytest.mark.parametrize("turn", [(15, 0), (-15, 0), (0, 14), (0, -14), (30, 5)])
def test_a_head_has_depth_when_it_turns(turn: tuple[float, float]) -> None:
    parallax = measure(seen(HEAD), seen(HEAD, *turn))
    assert parallax.misfit > LEAST_MISFIT
    assert parallax.depth > LEAST_DEPTH


def test_a_head_that_only_comes_near_or_tilts_moves_nothing() -> None:
    parallax = measure(seen(HEAD), seen(HEAD, 0, 0, 20, 1.3, 40))
    assert parallax.motion < 1e-6


def test_noise_of_the_points_stays_below_what_counts() -> None:
    random = np.random.default_rng(1)
    noisy = [seen(PLANE, yaw) + random.normal(0, 0.6, (468, 3)) for yaw in (0, 40)]  # px, eyes 60 px apart
    parallax = measure(*noisy)
    assert parallax.motion > 0.05
    assert parallax.misfit < LEAST_MISFIT


def test_points_that_one_frame_lacks_do_not_count() -> None:
    before, after = seen(HEAD), seen(HEAD, 20)
    after[310:360], after[0] = np.nan, np.inf
    some = measure(before, after)
    assert math.isfinite(some.misfit)
    assert some.misfit > LEAST_MISFIT


@pytest.mark.parametrize("broken", ["all gone", "one place", "one line", "too few"])
def test_points_that_are_no_face_have_no_depth(broken: str) -> None:
    mesh = seen(HEAD, 20)
    if broken == "all gone":
        mesh[:] = np.nan
    elif broken == "one place":
        mesh[:] = 5.0
    elif broken == "one line":
        mesh[:, 1] = 5.0
    else:
        mesh[10:] = np.nan
    assert measure(seen(HEAD), mesh) == NO_PARALLAX
    assert measure(mesh, seen(HEAD)).depth == 0.0
