"""Depth from motion: the points of a flat picture move as one homography, those of a head do not.

Pure numpy. Two views of one plane differ by a homography, whatever the turn, tilt, size and place (Hartley and
Zisserman, "Multiple View Geometry", 2004, section 13.1). What the best homography does not explain is depth, or an
error of the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device.numeric.geometry import Floats, apply_transform, five_points, similarity_transform

FEWEST_POINTS = 20  # 4 give a homography; the share that a noisy fit swallows falls with their number


@dataclass(frozen=True, slots=True)
class Parallax:
    """How the points of a face moved between two frames; both are root mean squares in distances between the eyes.

    `misfit` is what the best homography leaves, in the second frame; `motion` what the best similarity transform
    leaves: turn in the picture's plane, size and place are no motion.
    """

    misfit: float
    motion: float

    @property
    def depth(self) -> float:
        """Return the misfit as a share of the motion: near 0 for a flat picture; 0 where nothing was measured."""
        return self.misfit / self.motion if self.motion > 0 and math.isfinite(self.misfit) else 0.0


NO_PARALLAX = Parallax(0.0, math.inf)  # points that say nothing neither have depth nor hold still


def measure(before: npt.NDArray[np.floating], after: npt.NDArray[np.floating]) -> Parallax:
    """Compare two (468, 3) meshes of one track; points that one of them lacks (NaN) do not count."""
    first, second = (np.asarray(each, np.float64)[:, :2] for each in (before, after))
    known = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    eyes = five_points(np.asarray(after))[:2].astype(np.float64)
    eyes_px = float(np.linalg.norm(eyes[1] - eyes[0]))
    first, second = first[known], second[known]
    if len(first) < FEWEST_POINTS or not eyes_px > 0 or not (_spread(first) and _spread(second)):
        return NO_PARALLAX
    moved = apply_transform(similarity_transform(first, second), first)
    mapped = map_points(homography(first, second), first)
    return Parallax(_rms(mapped - second) / eyes_px, _rms(moved - second) / eyes_px)


def homography(source: Floats, target: Floats) -> Floats:
    """Return the (3, 3) homography that brings `source` (N, 2) closest to `target`, N at least 4.

    The normalized direct linear transform, Hartley and Zisserman, algorithm 4.2.
    """
    to_source, to_target = _normalizer(source), _normalizer(target)
    x, y = apply_transform(to_source[:2], source).T
    u, v = apply_transform(to_target[:2], target).T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = [
        np.column_stack([none, none, none, -x, -y, -one, v * x, v * y, v]),
        np.column_stack([x, y, one, none, none, none, -u * x, -u * y, -u]),
    ]
    # The smallest singular vector of (2N, 9), by the eigenvectors of (9, 9): the same, and a tenth of the time.
    system = np.concatenate(rows)
    _, vectors = np.linalg.eigh(system.T @ system)
    return np.linalg.inv(to_target) @ vectors[:, 0].reshape(3, 3) @ to_source


def map_points(matrix: Floats, points: Floats) -> Floats:
    """Return `points` (N, 2) moved by a (3, 3) homography; those that it sends to infinity are not finite."""
    moved = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(moved[:, :2] / moved[:, 2:])


def _normalizer(points: Floats) -> Floats:
    """Return the (3, 3) shift and scale to mean 0 and mean distance sqrt(2)."""
    mean = points.mean(axis=0)
    scale = math.sqrt(2) / np.linalg.norm(points - mean, axis=1).mean()
    return np.array([[scale, 0, -scale * mean[0]], [0, scale, -scale * mean[1]], [0, 0, 1]])


def _spread(points: Floats) -> bool:
    return bool(np.ptp(points, axis=0).all())


def _rms(difference: Floats) -> float:
    return float(np.sqrt((difference**2).sum(axis=1).mean()))
