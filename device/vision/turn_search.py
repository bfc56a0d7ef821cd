"""Find out whether the camera hangs on its side or upside down: are there faces only after the picture was turned?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from device.types import Image, News, Reason, Stop
from device.vision.camera.turned import ROTATIONS_DEG, turn
from device.vision.finder import Finder, Found

EVERY = 10  # pictures without an upright face, one of them turned: an empty hall must not cost much
ENOUGH = 3  # faces at one turn, and none upright: not somebody who bends down once
NOT_UPRIGHT = (Reason.NO_FACE, Reason.NOT_A_FACE, Reason.TURNED_AWAY)


class TurnSearch:
    """Look into turned pictures until a face is seen upright, or the answer is known; then never again.

    `advice` says what to do, "" while nothing is known.

    Args:
        rotation_deg, mirror: what is done to the pictures already.
    """

    def __init__(self, finder: Finder, *, rotation_deg: int, mirror: bool) -> None:
        self._finder, self._rotation_deg, self._mirror = finder, rotation_deg, mirror
        self._turns: tuple[int, ...] = ROTATIONS_DEG[1:]
        self._seen: Counter[int] = Counter()
        self._pictures = 0
        self._over = self._told = False
        self.advice = ""

    def see(self, image: Image, found: Found) -> None:
        """Take a picture and what was found in it as it is."""
        is_upright = not (isinstance(found.face, Stop) and found.face.reason in NOT_UPRIGHT)
        self._over = self._over or is_upright
        if self._over:
            return
        self._pictures += 1
        if self._pictures % EVERY != 1:
            return
        first, *rest = self._turns
        if isinstance(self._finder.find(turn(image, first)).face, Stop):
            self._turns = (*rest, first)
            return
        self._seen[first] += 1
        if self._seen[first] == ENOUGH:
            self._over, self.advice = True, self._advise(first)

    def news(self) -> Iterator[News]:
        """Yield the advice, once."""
        if self.advice and not self._told:
            self._told = True
            yield "warning", {"error": self.advice}

    def _advise(self, turn_deg: int) -> str:
        rotation_deg = upright_rotation(turn_deg, self._rotation_deg, self._mirror)
        return f"faces are seen only after turning the picture: set camera.rotation = {rotation_deg}"


def upright_rotation(turn_deg: int, rotation_deg: int, mirror: bool) -> int:
    """Return the `camera.rotation` that shows faces upright, which so far are only after another turn of `turn_deg`."""
    # a mirrored picture turns the other way round
    return (rotation_deg + (-turn_deg if mirror else turn_deg)) % 360


class NoSearch:
    """Take the picture for upright."""

    advice = ""

    def see(self, image: Image, found: Found) -> None:
        """Look no further."""

    def news(self) -> Iterator[News]:
        yield from ()
