"""Who wants in: near enough and facing; what cannot be measured does not."""

from __future__ import annotations

import math

import pytest

from device.types import HeadPose, Reason
from device.vision.intent import IntentRule, lacks_intent

RULE = IntentRule(near_share=0.12, max_yaw_deg=20)


@pytest.mark.parametrize(
    ("width_px", "yaw_deg", "reason"),
    [
        (80, 0, None),
        (76.8, 20, None),
        (76.7, 0, Reason.TOO_FAR),
        (80, 20.1, Reason.NOT_FACING),
        (80, -20.1, Reason.NOT_FACING),
        (math.nan, 0, Reason.TOO_FAR),
        (80, math.nan, Reason.NOT_FACING),
    ],
)
def test_near_enough_and_facing(width_px: float, yaw_deg: float, reason: Reason | None) -> None:
    stop = lacks_intent(width_px, 640, HeadPose(yaw_deg, 0, 0), RULE)
    assert (stop.reason if stop else None) is reason
    assert stop is None or stop.hint


def test_near_is_a_share_of_the_frame() -> None:
    stop = lacks_intent(80, 1280, HeadPose(0, 0, 0), RULE)
    assert stop is not None
    assert (stop.reason, stop.measured, stop.limit) == (Reason.TOO_FAR, 80, pytest.approx(153.6))
