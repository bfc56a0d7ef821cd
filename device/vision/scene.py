"""Check each frame of a live camera before anybody looks for a face in it.

    without detail    the lens is covered, blinded, or in the dark: such a frame decides nothing
    the same again    a sensor has noise, so no two of its frames are alike byte for byte: no new evidence
    too dark, bright  nobody could be recognized; told where no face is found at all

The verdict on a frame comes at once; an event follows when the trouble has lasted some seconds. Recordings are not
checked, because they may repeat frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from device.decide.lasting import Lasting
from device.errors import CameraLost
from device.types import Frame, Image, News, Reason, Stop
from device.vision.quality import LUMA, laplacian_variance

SMALL_PX = (16, 12)  # width, height of what detail is measured on: noise is averaged away, edges are not
DETAIL_ROWS, SAME_ROWS = 2, 8  # every second row is measured, every eighth compared: enough, and cheap
REMEMBERED = 32  # frames: a driver that hangs may hand out its few buffers in turn
COVERED_S, LIGHT_S = 2.0, 10.0  # what is told has lasted so long, and so has its end
DARK, BRIGHT = 20.0, 225.0  # mean of a frame, 0 to 255: beyond it the detector begins to miss faces
LIGHT_MARGIN = 10.0  # brighter than the limit by this much is no longer dark
LOST_AFTER = 3  # times `frozen_s`: then the camera counts as lost, and is opened anew
LOST_FRAMES = 10  # and so many repeats since it was opened: the first frame may be an old one


@dataclass(frozen=True, slots=True)
class SceneRule:
    """`min_detail`: least variance of the Laplacian of the small picture."""

    min_detail: float
    frozen_s: float


class SceneWatch:
    """Judge each frame of a live camera before anything looks for a face in it."""

    def __init__(self, rule: SceneRule) -> None:
        self._rule = rule
        self._seen: deque[int] = deque(maxlen=REMEMBERED)
        self._at_s = self._fresh_at_s = 0.0  # of the last frame, and of the last one that repeats none
        self._light = 0.0
        self._repeats = 0
        self._verdict: Reason | None = None
        self._covered, self._frozen = Lasting(COVERED_S, COVERED_S), Lasting(rule.frozen_s, 0.0)
        self._dark, self._bright = Lasting(LIGHT_S, LIGHT_S), Lasting(LIGHT_S, LIGHT_S)

    def judge(self, frame: Frame) -> Stop | None:
        """Say why a frame may decide nothing, None where it may; CameraLost when only a new start can help."""
        self._at_s = frame.captured_at_s
        self._light, detail = measure(frame.image)
        is_same = self._is_same(frame.image)
        if detail < (least := self._rule.min_detail):  # black and white without noise repeat themselves too
            stop: Stop | None = Stop(Reason.CAMERA_COVERED, "", detail, least)
        else:
            stop = Stop(Reason.SAME_FRAME) if is_same else None
        self._verdict = stop.reason if stop is not None else None
        self._give_up_when_frozen()
        return stop

    def news(self, has_face: bool) -> Iterator[News]:
        """Yield what began or ended with the frame that was judged last."""
        yield from self._tell_covered()
        if self._frozen.see(self._verdict is Reason.SAME_FRAME, self._at_s):
            yield ("camera_frozen", {}) if self._frozen.on else ("camera_clear", {"reason": "frozen"})
        if self._verdict is None:
            yield from self._tell_light(has_face)

    def _give_up_when_frozen(self) -> None:
        if self._verdict is not Reason.SAME_FRAME:
            self._fresh_at_s, self._repeats = self._at_s, 0
            return
        self._repeats += 1
        frozen_s = self._at_s - self._fresh_at_s
        if frozen_s >= LOST_AFTER * self._rule.frozen_s and self._repeats >= LOST_FRAMES:
            self._repeats = 0
            raise CameraLost(f"the same frames again and again for {frozen_s:.0f} s: check cable and power")

    def _tell_covered(self) -> Iterator[News]:
        if not self._covered.see(self._verdict is Reason.CAMERA_COVERED, self._at_s):
            return
        if self._covered.on:
            yield "camera_covered", {"reason": self._light_in_words()}
        else:
            yield "camera_clear", {"reason": "covered"}

    def _tell_light(self, has_face: bool) -> Iterator[News]:
        """Tell of a scene in which no face could be found; a face has a reason of its own (quality.py)."""
        for name, state, beyond, limit in (
            ("too_dark", self._dark, DARK - self._light, DARK),
            ("too_bright", self._bright, self._light - BRIGHT, BRIGHT),
        ):
            holds = beyond > -LIGHT_MARGIN if state.on else beyond > 0 and not has_face
            if state.see(holds, self._at_s):
                measured = {"measured": self._light, "limit": limit}
                yield (name, measured) if state.on else ("light_ok", {"reason": name})

    def _light_in_words(self) -> str:
        if self._light < DARK:
            return "dark"
        return "bright" if self._light > BRIGHT else "even"

    def _is_same(self, image: Image) -> bool:
        digest = hash(image[::SAME_ROWS].tobytes())
        if digest in self._seen:
            return True
        self._seen.append(digest)
        return False


class Unwatched:
    """The frames of a recording, which may repeat themselves: every one of them is looked at."""

    def judge(self, frame: Frame) -> Stop | None:
        return None

    def news(self, has_face: bool) -> Iterator[News]:
        yield from ()


def measure(image: Image) -> tuple[float, float]:
    """Return the mean luminance of a frame, 0 to 255, and its detail: that of an even surface is next to none."""
    small = cv2.resize(image[::DETAIL_ROWS], SMALL_PX, interpolation=cv2.INTER_AREA).astype(np.float32) @ LUMA
    return float(small.mean()), laplacian_variance(small)
