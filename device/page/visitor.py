"""The person who enrolls and looks at the page meanwhile: an enrollment's audience.

It lives as long as the enrollment. A page that nobody looks at any more ends it, and nothing is stored.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from types import TracebackType

from device.enroll.collector import POSES, Sample, Verdict, contact_sheet
from device.errors import EnrollmentError
from device.page.drawing import as_data_address
from device.page.invitation import invitation
from device.page.markup import question, view
from device.page.place import Place
from device.page.window import Started, Window, start
from device.types import Image

START_WAIT_S = 300.0  # for somebody to come and agree
AWAY_S = 8.0  # nobody asks for a picture for so long: the tab is closed
LAST_WAIT_S = 5.0  # for the browser to fetch the last view
NOT_STORED = "nothing was stored"
ENDED = "The enrollment has ended, and the terminal says why"
CONSENT = (
    "If you agree, this page shows you what the door's camera sees, and asks for a few poses.",
    "{samples} looks at your face are then turned into numbers, by which the door will know you. They are sealed and "
    "stay on this door, and on other doors of the same house that you are given. No picture is stored: what you see "
    "here is gone when this page ends.",
    "The numbers are biometric data. Whoever looks after this door deletes them at any time when you ask{until}.",
    "If you close this page before the end, or choose no, nothing is stored.",
)


class PageAudience:
    """Show an enrollment on a page, from `welcome` until it is closed; a context manager.

    Args:
        place: where the page is; it is closed with the audience.
        tell: prints a line at the terminal.
        start_page: starts the page's process.
    """

    writes_sheet = False

    def __init__(
        self,
        place: Place,
        *,
        tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        start_page: Callable[[], Started] = start,
        start_wait_s: float = START_WAIT_S,
        away_s: float = AWAY_S,
    ) -> None:
        self.place, self._tell, self._start_page = place, tell, start_page
        self._start_wait_s, self._away_s = start_wait_s, away_s
        self._samples, self._is_settled = 0, False
        self._opened: Window | None = None

    def __enter__(self) -> PageAudience:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if fault is not None:  # what it says may name another person
                self._end(ENDED if self._is_settled else f"{ENDED}: {NOT_STORED}", kind="stop")
        finally:  # also of a second Ctrl-C
            self.close()

    def welcome(self, name: str, samples: int, until: datetime | None) -> None:
        """Print the address, and wait until the person has agreed there."""
        self._samples = samples
        page, asked = pages_of(name, samples, until)
        self._opened = window = Window(self.place, view=page, question=asked, start=self._start_page)
        self._tell(invitation(self.place, window.token, window.fingerprint))
        window.wait_for_start(self._start_wait_s)
        check(window)
        if not window.has_agreed:
            raise EnrollmentError(
                f"nobody agreed on the page within {self._start_wait_s:g} s: {NOT_STORED}: try again"
            )

    def see(self, image: Image, verdict: Verdict, kept: int) -> None:
        """Show an image, what to do, and which poses are done."""
        window = self._window
        self._check_there()
        if window.is_due() or verdict.accepted:
            window.show(
                image,
                verdict.box,
                hint=hint_of(verdict, kept),
                kind="good" if verdict.accepted else "",
                poses=states_of(kept, self._samples),
            )

    def settle(self) -> None:
        """Hear whether the person still agrees; from now on a no comes too late."""
        self._check_there()
        if not self._window.settle():
            check(self._window)
            raise EnrollmentError(f"the page does not answer: {NOT_STORED}: try again")
        self._is_settled = True

    def thank(self, text: str, samples: list[Sample]) -> None:
        """Show the result and the faces that became templates."""
        sheet = as_data_address(contact_sheet(samples), "png")
        said = (
            f"{text} These are the looks that became numbers; the pictures are gone when you close this page."
        )
        alt = "The faces that became templates"
        self._end(said, kind="good", picture=sheet, alt=alt, poses=states_of(self._samples, self._samples))

    def close(self) -> None:
        """Leave no address that answers."""
        if self._opened is not None:
            self._opened.close()
        self.place.socket.close()

    def _check_there(self) -> None:
        """Raise EnrollmentError where the visit is over, or nobody looks any more."""
        check(self._window)
        if (away_s := self._window.unasked_s) > self._away_s:
            raise EnrollmentError(f"the page was closed {away_s:.0f} s ago: {NOT_STORED}: try again")

    @property
    def _window(self) -> Window:
        assert self._opened is not None, "nobody was welcomed yet"
        return self._opened

    def _end(self, hint: str, **told: object) -> None:
        window = self._opened
        if window is None:
            return
        window.end(hint=hint, **told)
        is_there = window.has_agreed and window.unasked_s < self._away_s
        if is_there and not window.has_declined:
            window.wait_until_taken(LAST_WAIT_S)


def check(window: Window) -> None:
    """Raise EnrollmentError where the visit is over."""
    if window.is_guessed_at:
        raise EnrollmentError(f"five wrong codes were tried on the page: {NOT_STORED}: try again")
    if window.has_declined:
        raise EnrollmentError(f"the person said no on the page: {NOT_STORED}")
    if window.is_lost:
        raise EnrollmentError(f"{window.loss}: {NOT_STORED}: try again")


def pages_of(name: str, samples: int, until: datetime | None) -> tuple[str, str]:
    """Return the page with the picture, and the question before it."""
    title = f"Enrollment of {name}"
    poses = [(pose.key, pose.instruction.capitalize()) for pose in POSES[:samples]]
    end = f", and on {until:%Y-%m-%d} by itself" if until else ""
    return view(title, poses=poses, values={}, stop="Stop, store nothing"), question(
        title,
        [text.format(samples=samples, until=end) for text in CONSENT],
        yes=f"I am {name}, and I agree",
        no="No, store nothing",
    )


def hint_of(verdict: Verdict, kept: int) -> str:
    """Say what to do, with the measured value and its limit."""
    wanted = POSES[kept % len(POSES)]
    if verdict.pose is not None and verdict.hint == wanted.instruction and not verdict.accepted:
        return f"{wanted.instruction}: {wanted.measured(verdict.pose)}".capitalize()
    said = verdict.hint[:1].upper() + verdict.hint[1:]
    return f"Good. {said}".strip() if verdict.accepted else said


def states_of(kept: int, samples: int) -> dict[str, str]:
    """Return for each pose "done", "now" or ""; a pose that comes again is done with its last turn."""
    states = {}
    for number, pose in enumerate(POSES[:samples]):
        turns = range(number, samples, len(POSES))
        states[pose.key] = "done" if turns[-1] < kept else "now" if kept in turns else ""
    return states
