"""What a camera sees, for whoever mounts it: how large, lit and sharp a face is, and what the door would say of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from device.config import Config
from device.doctor.stages import quality_rows
from device.page.markup import view
from device.page.window import Window
from device.types import Frame, Stop
from device.vision.finder import Finder, Found
from device.vision.intent import IntentRule, lacks_intent
from device.vision.turn_search import TurnSearch

VALUES = {
    "size": "Face",
    "smallest": "Smallest that passed",
    "light": "Light",
    "turned": "Turned",
    "sharp": "Sharpness",
    "points": "Points of the face",
    "picture": "Picture",
    "rate": "Looked at",
}
NOTE = (
    "Stand where people will stand, near and far, tall and short, by day and by night. Raise your right hand: it must "
    "be on the right here, as in a mirror; if it is on the left, set camera.mirror = true."
)
GOOD = "Good: the door would compare this face"
RATE_S = 3.0  # over which the rate is counted
AWAY_S = 60.0  # nobody looks for so long: it ends


def mounting_page() -> str:
    """Return the page with the picture and what is measured."""
    return view("The camera of this door", poses=[], values=VALUES, stop="End", note=NOTE)


class Mounting:
    """Look at frames and show on a visitor's page what they are worth; nothing is compared with anybody.

    Args:
        now: a clock that nobody sets, s.
    """

    def __init__(
        self,
        window: Window,
        *,
        finder: Finder,
        search: TurnSearch,
        config: Config,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window, self._finder, self._search, self._config = window, finder, search, config
        self._intent = IntentRule(near_share=config.intent.near_share, max_yaw_deg=config.intent.max_yaw_deg)
        self._now = now
        self._times: deque[float] = deque()
        self._smallest_px = 0.0

    @property
    def is_over(self) -> bool:
        """Say whether the visitor ended it, or went away."""
        return self._window.is_ended or self._window.unasked_s > AWAY_S

    def see(self, frame: Frame) -> None:
        """Look at a frame, and show it where it is time for another."""
        found = self._finder.find(frame.image)
        self._search.see(frame.image, found)
        self._count()
        stop = self._objection(found, frame.image.shape[1])
        if stop is None and (not self._smallest_px or found.width_px < self._smallest_px):
            self._smallest_px = found.width_px
        if self._window.is_due():
            hint = self._search.advice or (stop.hint if stop is not None else GOOD)
            self._window.show(
                frame.image,
                found.box,
                hint=hint[:1].upper() + hint[1:],
                kind="good" if stop is None else "",
                values=self._values(found, frame),
            )

    def _objection(self, found: Found, width_px: int) -> Stop | None:
        if isinstance(found.face, Stop):
            return found.face
        return lacks_intent(found.width_px, width_px, found.face.pose, self._intent)

    def _values(self, found: Found, frame: Frame) -> dict[str, str]:
        height_px, width_px = frame.image.shape[:2]
        camera, limits = self._config.camera, self._config.quality
        least_px = max(limits.min_face_px, self._intent.near_share * width_px)
        rows = quality_rows(found.quality, limits, self._intent.max_yaw_deg)
        measured = {row.name: row.text or "–" for row in rows}
        share = 100 * found.width_px / width_px
        size = f"{found.width_px:.0f} px wide, {share:.0f} % of the picture, needs {least_px:.0f} px"
        return {
            **measured,
            "size": size if found.detection is not None else "none",
            "smallest": f"{self._smallest_px:.0f} px" if self._smallest_px else "–",
            "picture": f"{width_px} x {height_px}, rotation {camera.rotation}, mirror {str(camera.mirror).lower()}",
            "rate": f"{self._rate():.1f} pictures a second",
        }

    def _count(self) -> None:
        self._times.append(self._now())
        while self._times[-1] - self._times[0] > RATE_S:
            self._times.popleft()

    def _rate(self) -> float:
        passed_s = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / passed_s if passed_s > 0 else 0.0
