"""Say whether a person wants in: near enough, and facing the door. Pure; how long they stay is the decision's."""

from __future__ import annotations

from dataclasses import dataclass

from device.types import FaceDetection, HeadPose, Reason


@dataclass(frozen=True, slots=True)
class IntentRule:
    """`near_share`: the face's width as a share of the frame's; `max_yaw_deg`: how far it may look aside."""

    near_share: float
    max_yaw_deg: float


def lacks_intent(
    detection: FaceDetection, frame_width_px: int, pose: HeadPose, rule: IntentRule
) -> tuple[Reason | None, str]:
    """Return what speaks against it, None for nothing, and a line for the person; NaN speaks against it."""
    near_px = rule.near_share * frame_width_px
    if not detection.box[2] >= near_px:
        return Reason.TOO_FAR, f"come closer: face is {detection.box[2]:.0f} px wide, needs {near_px:.0f}"
    if not abs(pose.yaw_deg) <= rule.max_yaw_deg:
        return Reason.NOT_FACING, f"look at the camera: {abs(pose.yaw_deg):.0f} degrees off"
    return None, ""
