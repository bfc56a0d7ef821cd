"""A face of 468 points in space, seen by a pinhole camera: what a mesh network would say, without one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from device.numeric.face_shape import STRAIGHT, STRAIGHT_POINTS
from device.numeric.geometry import head_pose
from device.types import HeadPose

EYES_PX, DISTANCE = 60.0, 10.0  # of the camera, in distances between the eyes
LIDS = {159: -0.1, 145: 0.1, 160: -0.08, 144: 0.08, 158: -0.08, 153: 0.08}
LIDS |= {386: -0.1, 374: 0.1, 385: -0.08, 380: 0.08, 387: -0.08, 373: 0.08}


def face_points(depth: float) -> npt.NDArray[np.float64]:
    """Return (468, 3) points in distances between the eyes: an egg with a nose; `depth` 0 makes it a picture."""
    random = np.random.default_rng(3)
    points = np.zeros((468, 3))
    points[:, 0], points[:, 1] = random.uniform(-1.1, 1.1, 468), random.uniform(-0.8, 1.5, 468)
    points[:, 2] = 0.45 * (points[:, 0] ** 2 + 0.5 * (points[:, 1] - 0.4) ** 2) - 0.2
    points[list(STRAIGHT_POINTS)] = STRAIGHT
    for number, y in LIDS.items():
        points[number] = (-0.49 if number < 200 else 0.49, y, 0.0)
    for number, x in {127: -1.05, 356: 1.05, 234: -1.1, 454: 1.1}.items():
        points[number] = (x, 0.1 if number in (127, 356) else 0.4, 0.5)
    return points * [1, 1, depth]


def turned(
    points: npt.NDArray[np.float64], yaw: float, pitch: float, roll: float = 0.0
) -> npt.NDArray[np.float64]:
    """Turn points as `HeadPose` reads it, degrees."""
    y, p, r = map(math.radians, (yaw, pitch, roll))
    about_y = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    about_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return points @ (about_z @ about_y @ about_x).T


def seen(
    points: npt.NDArray[np.float64],
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    size: float = 1.0,
    shift_px: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Return the (468, 3) mesh in px, z in the same unit."""
    moved = turned(points, yaw, pitch, roll)
    nearer = DISTANCE / (DISTANCE + moved[:, 2:])
    flat = moved[:, :2] * nearer * size * EYES_PX + [320 + shift_px, 240 - shift_px]
    return np.column_stack([flat, moved[:, 2] * size * EYES_PX])


def pose_of(points: npt.NDArray[np.float64], yaw: float, pitch: float) -> HeadPose:
    """Return the pose that the mesh of turned points says."""
    return head_pose(turned(points, yaw, pitch))
