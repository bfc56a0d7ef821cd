"""Geometry of faces: alignment to the embedder's reference points, head pose, and the detector's boxes.

Pure numpy. Coordinates are pixels, x right, y down; a transform is (2, 3) and maps (x, y, 1). Training crops
and the door use the same functions, so both see the same alignment, named ALIGNMENT_ID in every manifest.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from device.types import HeadPose, Points

Floats = npt.NDArray[np.float64]

ALIGNMENT_ID = "mesh5-112"
CROP_SIZE_PX = 112

# Right eye, left eye, nose tip, right and left mouth corner in a 112x112 crop: the reference of ArcFace
# (arXiv 1801.07698) and its relatives.
REFERENCE_POINTS: Points = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    dtype=np.float32,
)


MESH_POINTS = 468

# Mesh points (of 468) whose mean is each of the five points; the subject's right eye comes first.
FIVE_POINTS = (
    (33, 133, 159, 145, 158, 153, 160, 144),
    (362, 263, 386, 374, 385, 380, 387, 373),
    (1,),
    (61,),
    (291,),
)

# Of the right and of the left eye: corners, and three pairs of points across from each other on the two lids.
_EYES = (
    ((33, 133), ((160, 144), (159, 145), (158, 153))),
    ((362, 263), ((385, 380), (386, 374), (387, 373))),
)

# Pairs (subject's right, left) that keep their place when the face speaks or blinks: outer and inner eye
# corners, temples, ears, mouth corners.
_LATERAL_PAIRS = ((33, 263), (133, 362), (127, 356), (234, 454), (61, 291))
_EYE_CORNERS = (33, 133, 362, 263)
_MOUTH_CORNERS = (61, 291)

MESH_REGION_SCALE = 1.5  # sides of the detector's box; MediaPipe's own choice for its mesh
DETECTOR_INPUT_PX = 128
# BlazeFace, arXiv 1907.05047, Figure 1: (cells along a side, anchors in a cell) of its two feature maps.
_ANCHOR_GRIDS = ((16, 2), (8, 6))
_LOGIT_LIMIT = 100.0  # as MediaPipe clips, so that exp() stays finite


def similarity_transform(source: npt.ArrayLike, target: npt.ArrayLike) -> Floats:
    """Return the (2, 3) rotation, uniform scale and shift that bring `source` (N, 2) closest to `target`.

    Least squares without reflection: Umeyama 1991, "Least-squares estimation of transformation parameters
    between two point patterns", equations 40 to 42. Raises ValueError when the source points coincide.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centered = source - source_mean
    variance = (centered**2).sum() / len(source)
    if not variance > 0:
        raise ValueError("similarity_transform expects source points that differ, received one place")
    u, singular, vt = np.linalg.svd((target - target_mean).T @ centered / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = (u * sign) @ vt
    scaled = rotation * (singular @ sign) / variance
    return np.column_stack([scaled, target_mean - scaled @ source_mean])


def apply_transform(matrix: npt.ArrayLike, points: npt.ArrayLike) -> Floats:
    """Return `points` (N, 2) moved by a (2, 3) transform."""
    matrix, points = np.asarray(matrix, np.float64), np.asarray(points, np.float64)
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert_transform(matrix: npt.ArrayLike) -> Floats:
    """Return the (2, 3) transform that undoes `matrix`."""
    matrix = np.asarray(matrix, np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def reference_points(side_px: int) -> Points:
    """Return the five reference points in a square crop of `side_px`.

    Pixel centers are whole numbers, so a crop of 112 pixels reaches from -0.5 to 111.5: a place p goes to
    (p + 0.5) * side_px / 112 - 0.5, as in training, where 112 px faces are resized to what a network takes.
    """
    return ((REFERENCE_POINTS + 0.5) * (side_px / CROP_SIZE_PX) - 0.5).astype(np.float32)


def five_points(mesh: npt.NDArray[np.floating]) -> Points:
    """Return right eye, left eye, nose tip, right and left mouth corner, (5, 2), of a (468, 2 or 3) mesh."""
    return np.array([mesh[list(group), :2].mean(axis=0) for group in FIVE_POINTS], dtype=np.float32)


def eye_openness(mesh: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Return how open the subject's right and left eye are: distance of the lids as a share of the eye's width.

    The mean of three pairs of points, in the picture's plane; of 800 training faces the median is 0.30, and one in
    a hundred is below 0.18. The eye aspect ratio of Soukupova and Cech, "Real-Time Eye Blink Detection using Facial
    Landmarks", 2016, equation 1.
    """
    right, left = (_openness(np.asarray(mesh, np.float64)[:, :2], *eye) for eye in _EYES)
    return right, left


def _openness(mesh: Floats, corners: tuple[int, int], lids: tuple[tuple[int, int], ...]) -> float:
    width = np.linalg.norm(mesh[corners[1]] - mesh[corners[0]])
    upper, lower = np.array(lids).T
    heights = np.linalg.norm(mesh[upper] - mesh[lower], axis=1)
    return float(heights.mean() / width) if width > 0 else 0.0


def mesh_region(box: tuple[float, float, float, float], keypoints: Points, side_px: int) -> Floats:
    """Return the (2, 3) transform from the frame to the square of `side_px` that finds points in a face.

    The region is 1.5 sides of the detection's box (x, y, width, height), centered on it and turned so that
    the eyes, keypoints 0 and 1, are level.
    """
    left, top, width, height = box
    along_x, along_y = np.asarray(keypoints[1], np.float64) - np.asarray(keypoints[0], np.float64)
    angle = math.atan2(along_y, along_x)
    scale = side_px / (MESH_REGION_SCALE * max(width, height, 1.0))
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    center = np.array([left + width / 2, top + height / 2])
    return np.column_stack([turn, side_px / 2 - turn @ center])


def head_pose(mesh: npt.NDArray[np.floating]) -> HeadPose:
    """Return the head's rotation from a (468, 3) mesh, z in px, smaller nearer to the camera.

    The head's axes are the mean right-to-left direction of five pairs of points and the direction from eyes
    to mouth. The rotation is read as roll after yaw after pitch, so turning the picture in its plane changes
    the roll alone. Signs as in HeadPose; mirroring the picture negates yaw and roll.
    """
    return pose_of_axes(head_axes(np.asarray(mesh, np.float64)))


def pose_of_axes(axes: Floats) -> HeadPose:
    """Read a (3, 3) rotation, columns leftward, downward and backward, as roll after yaw after pitch."""
    yaw = math.atan2(axes[2, 0], math.hypot(axes[0, 0], axes[1, 0]))
    pitch = -math.atan2(axes[2, 1], axes[2, 2])
    roll = math.atan2(axes[1, 0], axes[0, 0])
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def head_axes(mesh: Floats) -> Floats:
    """Return a (3, 3) rotation whose columns are the head's leftward, downward and backward directions."""
    right, left = np.array(_LATERAL_PAIRS).T
    leftward = (mesh[left] - mesh[right]).sum(axis=0)
    leftward /= np.linalg.norm(leftward)
    downward = mesh[list(_MOUTH_CORNERS)].mean(axis=0) - mesh[list(_EYE_CORNERS)].mean(axis=0)
    downward -= leftward * (leftward @ downward)
    downward /= np.linalg.norm(downward)
    return np.column_stack([leftward, downward, np.cross(leftward, downward)])


def detector_anchors() -> Floats:
    """Return the (896, 2) anchor centers of the short-range detector, as shares of its input's side."""
    grids = []
    for cells, anchors in _ANCHOR_GRIDS:
        y, x = np.mgrid[:cells, :cells]
        centers = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        grids.append(np.repeat(centers, anchors, axis=0))
    return np.concatenate(grids)


def decode_candidates(
    regressors: npt.NDArray[np.floating], logits: npt.NDArray[np.floating], anchors: Floats, min_score: float
) -> tuple[Floats, Floats]:
    """Turn the detector's raw output into candidates of at least `min_score`.

    Args:
        regressors: (896, 16), center x, y, width, height and six keypoints, in input pixels from the anchor.
        logits: (896,).

    Returns:
        Coordinates (M, 16): left, top, right, bottom and six keypoints, in input pixels; and scores (M,).
    """
    clipped = np.clip(np.asarray(logits, np.float64), -_LOGIT_LIMIT, _LOGIT_LIMIT)
    scores = 1.0 / (1.0 + np.exp(-clipped))
    # A box turned inside out is noise of the regressor; MediaPipe drops it too.
    keep = np.flatnonzero((scores >= min_score) & (regressors[:, 2] >= 0) & (regressors[:, 3] >= 0))
    points = np.asarray(regressors[keep], np.float64).reshape(-1, 8, 2)
    shift = anchors[keep][:, None] * DETECTOR_INPUT_PX
    center, half_size = points[:, :1] + shift, points[:, 1:2] / 2
    corners = np.concatenate([center - half_size, center + half_size, points[:, 2:] + shift], axis=1)
    return corners.reshape(-1, 16), scores[keep]


def weighted_nms(coordinates: Floats, scores: Floats, min_overlap: float) -> list[tuple[Floats, float]]:
    """Merge candidates that overlap the best one by more than `min_overlap` (IoU), weighted by score.

    A merged candidate keeps the best score; best first. This blending, not suppression, is BlazeFace's (arXiv
    1907.05047, section 3.4): it is what keeps the box steady from frame to frame.
    """
    rest = np.argsort(-scores, kind="stable")
    merged = []
    while len(rest):
        overlap = box_overlap(coordinates[rest[0], :4], coordinates[rest, :4])
        near = overlap > min_overlap
        near[0] = True  # a box without area overlaps nothing, itself included
        group = rest[near]
        mean = np.average(coordinates[group], axis=0, weights=scores[group])
        merged.append((mean, float(scores[group[0]])))
        rest = rest[~near]
    return merged


def box_overlap(box: npt.ArrayLike, boxes: npt.ArrayLike) -> Floats:
    """Return the intersection over union of one box with (N, 4) boxes; each is left, top, right, bottom."""
    box, boxes = np.asarray(box, np.float64), np.asarray(boxes, np.float64)
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)
