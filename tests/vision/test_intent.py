"""Who wants in: near enough and facing; what cannot be measured does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from device.types import FaceDetection, HeadPose, Reason
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
    detection = FaceDetection((0, 0, width_px, width_px), 0.9, np.zeros((6, 2), np.float32))
    found, hint = lacks_intent(detection, 640, HeadPose(yaw_deg, 0, 0), RULE)
    assert found is reason
    assert bool(hint) == (reason is not None)


def test_near_is_a_share_of_the_frame() -> None:
    detection = FaceDetection((0, 0, 80, 80), 0.9, np.zeros((6, 2), np.float32))
    assert lacks_intent(detection, 1280, HeadPose(0, 0, 0), RULE)[0] is Reason.TOO_FAR
