"""The 127 points of the landmark network: which points of MediaPipe's face mesh they are, and how far off a guess is.

The mesh: "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019, arXiv 1907.06724; 468 points.
Kept are both eyes' contours, brows, nose, lips and jaw; 57 pairs and 13 points of the midline. The mesh has no irises:
an iris' place is the center of its eye's contour. Left out is what a door has no use for: cheeks and forehead.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from device.numeric.geometry import FIVE_POINTS

# (subject's right, left) points of the mesh, which a mirrored picture exchanges
PAIRS: dict[str, tuple[tuple[int, int], ...]] = {
    "eyes": (
        *((33, 263), (7, 249), (163, 390), (144, 373), (145, 374), (153, 380), (154, 381), (155, 382)),
        *((133, 362), (246, 466), (161, 388), (160, 387), (159, 386), (158, 385), (157, 384), (173, 398)),
    ),
    "brows": (
        *((46, 276), (53, 283), (52, 282), (65, 295), (55, 285)),
        *((70, 300), (63, 293), (105, 334), (66, 296), (107, 336)),
    ),
    "nose": ((129, 358), (98, 327)),
    "lips": (
        *((61, 291), (146, 375), (91, 321), (181, 405), (84, 314)),
        *((185, 409), (40, 270), (39, 269), (37, 267)),
        *((78, 308), (95, 324), (88, 318), (178, 402), (87, 317)),
        *((191, 415), (80, 310), (81, 311), (82, 312)),
    ),
    "jaw": (
        *((127, 356), (234, 454), (93, 323), (132, 361), (58, 288), (172, 397)),
        *((136, 365), (150, 379), (149, 378), (176, 400), (148, 377)),
    ),
}
MIDLINE: dict[str, tuple[int, ...]] = {
    "nose": (168, 6, 197, 195, 5, 4, 1, 2),
    "lips": (0, 17, 13, 14),
    "jaw": (152,),
}


def _listed() -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """Return the points, the place of each one's mirror image among them, and the part of the face of each."""
    points: list[int] = []
    mirror: dict[int, int] = {}
    parts: list[str] = []
    for part, pairs in PAIRS.items():
        middle = MIDLINE.get(part, ())
        points += [right for right, _ in pairs] + [left for _, left in pairs] + list(middle)
        parts += [part] * (2 * len(pairs) + len(middle))
        mirror |= dict(pairs) | {left: right for right, left in pairs} | {point: point for point in middle}
    return tuple(points), tuple(points.index(mirror[point]) for point in points), tuple(parts)


LANDMARKS, MIRROR, PARTS = _listed()
OUTPUTS = 2 * len(LANDMARKS)  # x, y of each point, in [0, 1] of the input's side
# Whose means are the five points of the alignment: right eye, left eye, nose tip, mouth corners
FIVE = tuple(tuple(LANDMARKS.index(point) for point in group) for group in FIVE_POINTS)


def five(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return (..., 5, 2) eyes, nose tip and mouth corners of (..., 127, 2) points."""
    return np.stack([points[..., list(group), :].mean(axis=-2, dtype=np.float64) for group in FIVE], -2)


def inter_ocular(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the distance (...) between the centers of the two eyes of (..., 127, 2) points."""
    found = five(points)
    return np.linalg.norm(found[..., 1, :] - found[..., 0, :], axis=-1)


def mean_error(guess: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the error of every point, (..., 127), as a share of the true inter-ocular distance."""
    distance = np.linalg.norm(guess.astype(np.float64) - truth, axis=-1)
    return distance / inter_ocular(truth)[..., None]


def five_error(guess: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the error of each of the five points, (..., 5), as a share of the true inter-ocular distance."""
    return np.linalg.norm(five(guess) - five(truth), axis=-1) / inter_ocular(truth)[..., None]


def mirrored(points: npt.NDArray[np.floating], side: float) -> npt.NDArray[np.floating]:
    """Return (..., 127, 2) points of the picture, `side` wide, seen in a mirror; pixel centers are whole numbers."""
    turned = points[..., list(MIRROR), :].copy()
    turned[..., 0] = side - 1 - turned[..., 0]
    return turned
