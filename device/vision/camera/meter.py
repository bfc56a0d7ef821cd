"""Expose for the face, not for the scene: a face before a bright door, or dark skin in a bright hall, gets more light.

A camera meters on all of its picture. Where its driver takes a wish, it is asked for half a stop more or less each
second, until the face lies between the two limits; without a face the camera is left alone again.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from device.types import Decision

DARK, BRIGHT = 60.0, 200.0  # mean of the face, 0 to 255
STEP, MOST = 0.5, 2.0  # stops
EVERY_S = 1.0  # a camera needs some frames to follow
ALONE_S = 5.0  # without a face


@runtime_checkable
class Metered(Protocol):
    """A camera whose exposure can be asked for."""

    def expose(self, stops: float) -> None:
        """Ask for so many stops more (less: below 0) than the camera would take by itself; 0 leaves it alone."""
        ...


class FaceMeter:
    """Ask a camera for the exposure that the face needs."""

    def __init__(self, camera: Metered) -> None:
        self._camera = camera
        self._stops = 0.0
        self._next_s = self._face_at_s = -float("inf")

    def see(self, decision: Decision, now_s: float) -> None:
        """Take the decision about a frame; `now_s` is when it was filmed or later."""
        if decision.brightness is None:
            if now_s - self._face_at_s > ALONE_S:
                self._ask(0.0)
            return
        self._face_at_s = now_s
        if now_s >= self._next_s:
            self._next_s = now_s + EVERY_S
            change = STEP * ((decision.brightness < DARK) - (decision.brightness > BRIGHT))
            self._ask(min(MOST, max(-MOST, self._stops + change)))

    def _ask(self, stops: float) -> None:
        if stops != self._stops:
            self._stops = stops
            self._camera.expose(stops)


class NoMeter:
    """Leave the exposure to the camera."""

    def see(self, decision: Decision, now_s: float) -> None:
        """Ask for nothing."""
