"""What happens to one frame: the whole product in one function.

    stale? -> a picture? -> find the face (detect, pick, align, good enough?) -> track -> wants in? -> alive? -> embed
    -> still the same? -> match -> decide -> admit -> unlock

The loop around it (watch.py) has the camera, so tests hand in frames. Everyday outcomes are values with a `Reason`;
faults are exceptions of `device.errors`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from device.access.admission import Admission, AdmitAll
from device.access.clock import Clock, NoClock
from device.decide.decider import Decider, Sight
from device.desk.desk import Desk, NoDesk
from device.errors import LockRefused
from device.gallery.gallery import Gallery
from device.health import BoardWatch, NoBoard
from device.lock.front import Prompt
from device.numeric.surroundings import Surroundings
from device.protocols import Closable, Embedder, Front, LivenessScorer
from device.types import AlignedFace, Decision, FaceDetection, Frame, Match, News, Reason, Stop
from device.vision.finder import Finder
from device.vision.intent import IntentRule, lacks_intent
from device.vision.scene import SceneWatch, Unwatched
from device.vision.track import Tracker
from device.vision.turn_search import NoSearch, TurnSearch


@dataclass(kw_only=True, eq=False)
class Door:
    """The stages that a frame goes through; device.build puts them together.

    `prompt` tells a person what a challenge asks for; `admission` has the last word: policy, PIN, the record. `scene`
    watches a live camera, `search` finds out whether it hangs on its side, `board` and `clock` look after what the
    program runs on, `desk` talks with the link to a broker. `parts` are what it owns: keypads, the alarm's pin. What a
    door does without has an object that does nothing. `steady_s` is a clock that nobody sets, by which the stages' own
    time is measured.
    """

    finder: Finder
    tracker: Tracker
    intent: IntentRule
    liveness: LivenessScorer
    embedder: Embedder
    gallery: Gallery
    decider: Decider
    prompt: Prompt
    lock: Front
    admission: Admission | AdmitAll
    scene: SceneWatch | Unwatched = field(default_factory=Unwatched)
    search: TurnSearch | NoSearch = field(default_factory=NoSearch)
    board: BoardWatch | NoBoard = field(default_factory=NoBoard)
    clock: Clock | NoClock = field(default_factory=NoClock)
    desk: Desk | NoDesk = field(default_factory=NoDesk)
    parts: Sequence[Closable] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)
    steady_s: Callable[[], float] = time.monotonic

    def forget(self) -> None:
        """Drop what was seen so far: after a lost camera nobody knows who stands before the door."""
        self.tracker.reset()
        self.decider.reset()
        self.admission.reset()

    @property
    def rest_s(self) -> float:
        """How long to rest after a frame."""
        return self.board.rest_s

    def news(self, decision: Decision | None, now_s: float) -> Iterator[News]:
        """Yield what began or ended around the last decision; None for it while the camera is lost."""
        if decision is not None:
            yield from self.scene.news(has_face=decision.detection is not None)
        yield from self.search.news()
        yield from self.board.news(now_s)
        for each in self.clock.news():
            self.gallery.reload()  # with another time, other consents have expired
            yield each

    def close(self) -> None:
        """Lock first, then give everything back."""
        try:
            self.lock.close()
        finally:
            for part in (*self.parts, self.prompt, self.desk):
                part.close()
            self.gallery.close()
            self.finder.close()


def handle_frame(frame: Frame, door: Door, now_s: float) -> Decision:
    """Decide about one frame, and unlock when it is granted; `now_s` is when it is handed in."""
    decision = door.admission.admit(look(frame, door, now_s))
    if decision.granted:
        unlock(door, decision)
    door.decider.conclude(decision)
    return decision


def unlock(door: Door, decision: Decision) -> None:
    """Move the bolt; if the lock process refuses, record that the grant opened nothing."""
    try:
        door.lock.unlock(decision.captured_at_s)
    except LockRefused as refusal:
        door.admission.not_opened(decision, refusal.reason)
        raise
    door.admission.opened()
    door.desk.face_opened()


def look(frame: Frame, door: Door, now_s: float) -> Decision:
    """Send one frame through the stages and return the decision, before rules, PIN and record."""
    started_s = door.steady_s()
    detection: FaceDetection | None = None
    track_id: int | None = None
    face: AlignedFace | None = None
    score: float | None = None
    brightness: float | None = None
    change = math.nan

    def conclude(stop: Stop | None, match: Match | None = None) -> Decision:
        # The stages take time too: a frame that grew old in a slow stage must not open the door.
        decided_at_s = now_s + (door.steady_s() - started_s)
        reason = stop.reason if stop is not None else None
        matched = face if match is not None else None
        always = match is not None and match.challenge
        sight = Sight(
            frame.captured_at_s,
            track_id,
            match,
            reason,
            face=matched,
            score=score,
            always=always,
            change=change,
        )
        decision = door.decider.decide(sight, decided_at_s)
        why = decision.stop or stop
        hint = challenge_hint(decision) or (why.hint if why is not None else "") or decision.reason.advice
        return replace(decision, detection=detection, hint=hint, stop=why, brightness=brightness)

    if (age_s := now_s - frame.captured_at_s) > (most_s := door.decider.rule.max_frame_age_s):
        return conclude(Stop(Reason.STALE_FRAME, "", age_s, most_s))

    blind = door.scene.judge(frame)
    if blind is not None:
        return conclude(blind)

    found = door.finder.find(frame.image)
    detection, brightness = found.detection, found.brightness
    door.search.see(frame.image, found)
    track_id = door.tracker.update(detection, frame.captured_at_s)
    if detection is not None:
        change = door.surroundings.see(frame.image, detection.box)
    if isinstance(found.face, Stop):
        return conclude(found.face)

    stop = lacks_intent(found.width_px, frame.image.shape[1], found.face.pose, door.intent)
    if stop is not None and stop.reason is Reason.TOO_FAR:
        return conclude(stop)  # a face that looks aside goes on: it may be answering a challenge

    face = found.face
    score = door.liveness.score(frame.image, found.box)
    probe = door.embedder.embed(face.image)
    track_id = door.tracker.confirm(probe)
    match = door.gallery.match(probe)
    return conclude(stop, match)


CHALLENGE_HINTS = {
    "blink": "close your eyes for a moment",
    "turn_left": "turn your head to your left, and stay so",
    "turn_right": "turn your head to your right, and stay so",
    "turn_left_little": "turn your head a little to your left, and stay so",
    "turn_right_little": "turn your head a little to your right, and stay so",
    "turn_left_far": "turn your head far to your left, and stay so",
    "turn_right_far": "turn your head far to your right, and stay so",
    "nod": "raise or lower your head, and stay so",
    "back": "look into the camera again",
}


def challenge_hint(decision: Decision) -> str:
    """Say what a challenge wants, empty where none runs."""
    if decision.reason is not Reason.CHALLENGE:
        return ""
    return CHALLENGE_HINTS.get(decision.challenge or "", "look at the camera and hold still")
