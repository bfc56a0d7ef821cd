"""Who watches an enrollment from outside the terminal: a page, or nobody."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from device.enroll.collector import Sample, Verdict
from device.types import Image


class Audience(Protocol):
    """What an enrollment tells, each call from the camera's loop, which none of them may hold up."""

    writes_sheet: bool
    """False where the contact sheet is shown instead of written."""

    def welcome(self, name: str, samples: int, until: datetime | None) -> None:
        """Wait, before the camera opens, until the person agrees; raise EnrollmentError where that does not happen.

        `until` is when the consent ends, None for no day.
        """
        ...

    def see(self, image: Image, verdict: Verdict, kept: int) -> None:
        """Take an image and what it came to; raise EnrollmentError where the person has gone."""
        ...

    def settle(self) -> None:
        """Let it be stored; raise EnrollmentError where the person has gone or said no since the last look."""
        ...

    def thank(self, text: str, samples: list[Sample]) -> None:
        """Take the result and the samples that became templates."""
        ...


class NoAudience:
    """Nobody watches but the terminal."""

    writes_sheet = True

    def welcome(self, name: str, samples: int, until: datetime | None) -> None:
        """Nobody is asked."""

    def see(self, image: Image, verdict: Verdict, kept: int) -> None:
        """Nobody looks."""

    def settle(self) -> None:
        """Nobody is asked."""

    def thank(self, text: str, samples: list[Sample]) -> None:
        """Nobody is told."""
