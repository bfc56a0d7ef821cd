"""Check whether a person wants in: near enough, and facing the door. Pure; the decider checks how long they stay."""

from __future__ import annotations

from dataclasses import dataclass

from device.types import HeadPose, Reason, Stop


@dataclass(frozen=True, slots=True)
class IntentRule:
    """`near_share`: the face's width as a share of the frame's; `max_yaw_deg`: how far it may look aside."""

    near_share: float
    max_yaw_deg: float


def lacks_intent(face_width_px: float, frame_width_px: int, pose: HeadPose, rule: IntentRule) -> Stop | None:
    """Return why this person does not seem to want in, None if they do; NaN counts as not."""
    near_px = rule.near_share * frame_width_px
    if not face_width_px >= near_px:
        hint = f"come closer: face is {face_width_px:.0f} px wide, needs {near_px:.0f}"
        return Stop(Reason.TOO_FAR, hint, face_width_px, near_px)
    aside_deg = abs(pose.yaw_deg)
    if not aside_deg <= rule.max_yaw_deg:
        hint = f"look at the camera: {aside_deg:.0f} degrees off"
        return Stop(Reason.NOT_FACING, hint, aside_deg, rule.max_yaw_deg)
    return None
