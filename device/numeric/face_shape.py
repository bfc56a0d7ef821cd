"""Judge face points without depth: how well they fit a face, and how the head is turned.

Pure numpy. Points are numbered as in MediaPipe's face mesh, (468, 3) with NaN where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from device.numeric.geometry import (
    FIVE_POINTS,
    MESH_POINTS,
    Floats,
    apply_transform,
    five_points,
    pose_of_axes,
    similarity_transform,
)
from device.types import HeadPose

# A face that looks straight ahead, by mesh point: leftward, downward and backward from between the eyes, in distances
# between the eyes' centers. The mean of MediaPipe's mesh over 800 training faces, each brought to its head's own axes
# and made symmetrical. Chosen are points near the eyes, the nose and the mouth's corners: adding temples and ears
# doubled the error of the pitch, for the mesh guesses their depth.
_STRAIGHT_PAIRS = {
    (33, 263): (0.707, -0.015, 0.043),
    (133, 362): (0.271, 0.015, -0.043),
    (61, 291): (0.426, 0.994, 0.000),
    (129, 358): (0.329, 0.554, -0.177),
    (98, 327): (0.272, 0.660, -0.231),
}
_STRAIGHT_MIDDLE = {
    168: (0.0, -0.069, -0.303),
    197: (0.0, 0.168, -0.442),
    1: (0.0, 0.610, -0.604),
    2: (0.0, 0.703, -0.355),
}


def _straight_head() -> tuple[tuple[int, ...], Floats]:
    """Return the mesh points of the straight head and their (N, 3) places."""
    places = dict(_STRAIGHT_MIDDLE)
    for (right, left), (x, y, z) in _STRAIGHT_PAIRS.items():
        places[right], places[left] = (-x, y, z), (x, y, z)
    return tuple(places), np.array(list(places.values()))


STRAIGHT_POINTS, STRAIGHT = _straight_head()
# what alignment, eyes and pose are read from
NEEDED_POINTS = frozenset(STRAIGHT_POINTS).union(*FIVE_POINTS)


def as_mesh(points: npt.ArrayLike, numbers: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return a (468, 3) mesh of (N, 2) points by their numbers in it; depth and all other points are NaN."""
    mesh = np.full((MESH_POINTS, 3), np.nan, np.float32)
    mesh[list(numbers), :2] = points
    return mesh


def misfit(points: npt.ArrayLike, shape: npt.ArrayLike, numbers: Sequence[int]) -> float:
    """Return how far (N, 2) points are from a face's `shape` (N, 2), as a share of its eyes' distance.

    The root mean square of what the best similarity transform leaves: turn, size and place do not count. Points
    that are all in one place, or are no numbers, are infinitely far.
    """
    points, shape = np.asarray(points, np.float64), np.asarray(shape, np.float64)
    if not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
        return float("inf")
    left = apply_transform(similarity_transform(points, shape), points) - shape
    eyes = five_points(as_mesh(shape, numbers))[:2].astype(np.float64)
    return float(np.sqrt((left**2).sum(axis=1).mean()) / np.linalg.norm(eyes[1] - eyes[0]))


def flat_head_pose(mesh: npt.NDArray[np.floating]) -> HeadPose:
    """Return the head's rotation from the x and y of a (468, 2 or 3) mesh; signs and zero as in `head_pose`.

    Weak perspective: the straight head, turned, scaled and seen from afar, is fitted to the points by least squares.
    The nearest pair of rows of a rotation to the fitted (2, 3) is that of its singular vectors; the third row is
    their cross product. On 800 training faces it is within 1.8, 2.7 and 0.5 degrees (mean of yaw, pitch, roll) of
    the pose that the mesh's depth gives.
    """
    points = np.asarray(mesh, np.float64)[list(STRAIGHT_POINTS), :2]
    straight = STRAIGHT - STRAIGHT.mean(axis=0)
    projection = np.linalg.lstsq(straight, points - points.mean(axis=0), rcond=None)[0].T
    u, _, vt = np.linalg.svd(projection, full_matrices=False)
    rows = u @ vt
    rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
    return pose_of_axes(rotation)
