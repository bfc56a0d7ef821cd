"""A door that counts refused approaches, fed with outcomes in place of frames."""

from __future__ import annotations

from device.decide.backoff_file import BackoffFile
from device.decide.refusals import Refusals
from device.types import Reason


class Door:
    """Refusals fed ten frames a second."""

    def __init__(self, file: BackoffFile | None = None, now_s: float = 1000.0) -> None:
        self.file = file or BackoffFile(None)
        self.refusals = Refusals.kept_in(self.file)
        self.now_s = now_s

    def see(self, reason: Reason, frames: int = 1) -> int:
        for _ in range(frames):
            self.now_s += 0.1
            if reason is Reason.GRANTED:
                self.refusals.opened()
            else:
                self.refusals.see(reason, self.now_s)
        return self.refusals.count.wrong

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.now_s += self.refusals.left_s(self.now_s) + 0.1
            self.see(Reason.CHALLENGE_FAILED)

    @property
    def left_s(self) -> float:
        return self.refusals.left_s(self.now_s)
