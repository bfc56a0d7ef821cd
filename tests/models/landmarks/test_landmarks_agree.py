"""What the board reads from the landmark network, the network finds."""

from __future__ import annotations

from device.numeric import face_shape
from models.landmarks import points


def test_the_network_finds_all_points_that_the_board_reads():
    assert set(points.LANDMARKS) >= face_shape.NEEDED_POINTS
