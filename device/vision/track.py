"""Follow one face over frames: one track as long as it moves little, is not gone for long, and stays the same face."""

from __future__ import annotations

import math

from device.types import Embedding, FaceDetection

Box = tuple[float, float, float, float]  # x, y, width, height in px


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, in [0, 1]; 0 for a box without area or with NaN."""
    if not all(map(math.isfinite, a + b)):
        return 0.0  # min() and max() pick or drop a NaN by its position
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if not (width > 0 and height > 0):
        return 0.0
    union = a[2] * a[3] + b[2] * b[3] - width * height
    return width * height / union if union > 0 else 0.0


class Tracker:
    """Give the face of each frame a track id; a new id means that nothing known before applies to this face.

    Args:
        max_gap_s: longest time between two detections of one track.
        min_overlap: least intersection over union of two consecutive boxes of one track, in [0, 1].
        same_face: least similarity of two consecutive embeddings of one track.
    """

    def __init__(self, *, max_gap_s: float, min_overlap: float, same_face: float) -> None:
        self._max_gap_s = max_gap_s
        self._min_overlap = min_overlap
        self._same_face = same_face
        self._last_id = 0
        self._box: Box | None = None
        self._seen_at_s = 0.0
        self._embedding: Embedding | None = None

    def update(self, detection: FaceDetection | None, captured_at_s: float) -> int | None:
        """Return the track id of this frame's face, None where there is none."""
        if detection is None:
            return None
        if not self._continues(detection.box, captured_at_s):
            self._begin()
        self._box, self._seen_at_s = detection.box, captured_at_s
        return self._last_id

    def confirm(self, probe: Embedding) -> int:
        """Return the track id of this frame's face once its embedding is known.

        A face unlike the last one of the track begins a new track, even in the same place. Call this after `update`,
        for each frame that has an embedding.
        """
        if self._embedding is not None and not float(self._embedding @ probe) >= self._same_face:
            self._begin()
        self._embedding = probe
        return self._last_id

    def reset(self) -> None:
        """Break the track: the next face gets a new id, wherever it stands."""
        self._box = None

    def _begin(self) -> None:
        self._last_id += 1
        self._embedding = None

    def _continues(self, box: Box, captured_at_s: float) -> bool:
        if self._box is None:
            return False
        # Time that runs backwards, or is NaN, breaks the track: what was seen "before" proves nothing.
        in_time = 0.0 <= captured_at_s - self._seen_at_s <= self._max_gap_s
        return in_time and overlap(self._box, box) >= self._min_overlap > 0.0
