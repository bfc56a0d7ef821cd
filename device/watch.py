"""The loop around `handle_frame`: frames, lost cameras, what is told, and the beat that says that the door lives.

Camera and time are handed in, so tests script the one and let the other pass at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from device.errors import CameraLost, LockError, LockRefused
from device.journal.approaches import Approaches
from device.journal.events import EVENTS, Sink
from device.journal.status import StatusLog
from device.journal.systemd import Notifier
from device.pipeline import Door, handle_frame
from device.protocols import Camera
from device.types import Decision, Frame, News, Reason
from device.vision.camera.meter import FaceMeter, NoMeter

RECONNECT_S = (0.5, 10.0)  # first and longest wait before a lost camera is tried again
PULSE_GRACE_S = 2.0  # a pulse that lasts longer than it may by this much has nobody who ends it
STEP_S, PULSE_STEP_S = (
    0.5,
    0.02,
)  # while nothing is filmed, and while a pulse runs: so often the lock is looked at


class Time(Protocol):
    """A clock that nobody sets, and waiting by it."""

    def now_s(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class SteadyTime:
    """The time of the machine."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Faulty(Protocol):
    """A file that may be lost."""

    @property
    def fault(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRule:
    """`pulse_s`: how long the door stays unlocked; `heartbeat_s`: between two heartbeats; `once`: end with a grant.

    `least_fps`: with fewer frames a second no face can be followed.
    """

    pulse_s: float
    heartbeat_s: float
    once: bool = False
    least_fps: float = 0.0


class Watch:
    """Hand each frame of a camera to the door, and tell what became of it.

    Args:
        check_stop: called often; raises what ends the watch.
        counts: files whose fault is told.
        meter: asks the camera for the exposure that a face needs.
        on_once: called when the grant has come that `once` waits for.
        handle: what decides about a frame.
    """

    def __init__(
        self,
        rule: WatchRule,
        *,
        camera: Camera,
        door: Door,
        status: StatusLog,
        notifier: Notifier,
        check_stop: Callable[[], None] = lambda: None,
        counts: Sequence[Faulty] = (),
        on_once: Callable[[], object] = lambda: None,
        meter: FaceMeter | NoMeter | None = None,
        time: Time | None = None,
        handle: Callable[[Frame, Door, float], Decision] = handle_frame,
    ) -> None:
        self._rule, self._camera, self._door = rule, camera, door
        self._status, self._notifier = status, notifier
        self._check_stop, self._counts, self._on_once, self._handle_frame = (
            check_stop,
            counts,
            on_once,
            handle,
        )
        self._time, self._meter = time or SteadyTime(), meter or NoMeter()
        self._fault: str | None = None
        self._approaches = Approaches(rule.least_fps)
        self._started_s = self._beat_s = self._time.now_s()
        self._frames = self._frames_at_beat = 0
        self._lost = False
        self._wait_s = RECONNECT_S[0]

    def announce(self, warning: str = "") -> None:
        """Say that the door is watched, and tell each change of the bolt from now on."""
        door, status = self._door, self._status

        def tell(locked: bool) -> None:
            status.event("locked") if locked else status.event("unlocked", pulse_s=self._rule.pulse_s)

        door.lock.on_change = tell
        door.lock.on_news = lambda name, details: status.event(name, **details)
        people = len(door.gallery.subjects())
        status.event(
            "ready",
            model=door.embedder.model_id,
            subjects=people,
            templates=door.gallery.count(),
            is_locked=door.lock.is_locked,
        )
        if warning:
            status.event("warning", error=warning)
        self._notifier.ready(f"watching, {people} subjects enrolled")

    def run(self) -> bool:
        """Watch until the clip ends (False) or, with `once`, until a grant (True); then let its pulse end."""
        try:
            granted = self._watch()
        finally:
            self._tell(self._approaches.end())
        self._finish_pulse()
        return granted

    def _watch(self) -> bool:
        while True:
            try:
                return any(self._handle(frame).granted and self._rule.once for frame in self._camera.frames())
            except CameraLost as error:
                self._lose(error)

    def _handle(self, frame: Frame) -> Decision:
        self._check_stop()
        # A clip has its own time: what was filmed last year is not stale.
        now_s = self._time.now_s() if self._camera.live else frame.captured_at_s
        try:
            decision = self._handle_frame(frame, self._door, now_s)
        except LockRefused as refusal:
            # Nothing opened; the decider counts its cooldown, then there is another chance.
            self._status.event("command_refused", reason=refusal.reason)
            decision = Decision(False, Reason.COOLDOWN, frame.captured_at_s)
        is_picture = decision.reason is not Reason.SAME_FRAME
        if self._lost and is_picture:
            self._status.event("camera_back", camera=self._camera.name)
        self._frames += 1
        if decision.granted:
            self._tell_grant(decision)
        self._tell(self._approaches.see(decision, now_s))
        self._door.lock.check()
        self._tell_fault()
        self._tell_news(decision)
        self._tell(self._door.desk.step())
        self._meter.see(decision, now_s)
        self._beat(is_picture)
        self._time.sleep(self._door.rest_s)
        return decision

    def _tell_grant(self, decision: Decision) -> None:
        if self._rule.once:
            self._on_once()
        self._status.event("granted", subject_id=decision.subject_id, method=decision.method)
        self._notifier.status(f"granted {decision.subject_id}")

    def _tell_news(self, decision: Decision | None) -> None:
        """Tell what became of picture, board and clock; a picture that stands still is as good as none."""
        for name, details in self._door.news(decision, self._time.now_s()):
            self._tell([(name, details)])
            if name == "camera_frozen":
                self._lock_and_forget()

    def _lock_and_forget(self) -> None:
        self._door.lock.lock()
        self._door.forget()
        self._tell(self._approaches.end())

    def _tell(self, news: Iterable[News]) -> None:
        """Send events where the table of events says."""
        for name, details in news:
            if EVENTS[name].sinks & Sink.PROMPT:
                self._door.prompt.show(details.get("action"))
            if EVENTS[name].sinks & ~Sink.PROMPT:
                self._status.event(name, **details)

    def _tell_fault(self) -> None:
        """Say once that a count, of refusals or of wrong PINs, is not kept."""
        before, self._fault = self._fault, next((each.fault for each in self._counts if each.fault), None)
        if self._fault is not None and self._fault != before:
            self._status.event("warning", error=self._fault)

    def _beat(self, is_picture: bool) -> None:
        """Tell that a frame was handled: to systemd, and now and then in a status line."""
        now_s = self._time.now_s()
        if self._lost and is_picture:
            self._notifier.camera_back(now_s)
            self._lost, self._wait_s = False, RECONNECT_S[0]
        self._notifier.watchdog(now_s)
        self._heartbeat(now_s)

    def _heartbeat(self, now_s: float) -> None:
        passed_s = now_s - self._beat_s
        if passed_s < self._rule.heartbeat_s:
            return
        self._status.event(
            "heartbeat",
            frames=self._frames,
            fps=(self._frames - self._frames_at_beat) / passed_s,
            uptime_s=now_s - self._started_s,
            is_locked=self._door.lock.is_locked,
            camera_lost=self._lost,
            link=self._door.desk.link,
        )
        self._beat_s, self._frames_at_beat = now_s, self._frames

    def _lose(self, error: CameraLost) -> None:
        """Lock, say it once, and wait longer each time before the next try."""
        self._lock_and_forget()
        if not self._lost:
            self._lost = True
            self._notifier.camera_lost()
            self._notifier.status(f"camera lost: {error}")
            self._status.event(
                "camera_lost", camera=self._camera.name, error=str(error), retry_s=self._wait_s
            )
        self._notifier.watchdog(self._time.now_s())  # locked and trying is all there is to do now
        self._pause(self._wait_s)
        self._wait_s = min(2 * self._wait_s, RECONNECT_S[1])

    def _pause(self, wait_s: float) -> None:
        until_s = self._time.now_s() + wait_s
        while (now_s := self._time.now_s()) < until_s:
            self._check_stop()
            self._door.lock.check()
            self._tell_news(None)
            self._tell(self._door.desk.step())
            self._heartbeat(now_s)
            self._time.sleep(min(STEP_S, until_s - now_s))

    def _finish_pulse(self) -> None:
        """Let a running pulse end before the pin is given back: who was granted still has to open the door."""
        until_s = self._time.now_s() + self._rule.pulse_s + PULSE_GRACE_S
        while self._door.lock.is_locked is False:
            self._check_stop()
            self._door.lock.check()
            if self._time.now_s() > until_s:
                raise LockError(
                    f"{self._door.lock}: still unlocked after its pulse of {self._rule.pulse_s:g} s: check the wiring"
                )
            self._time.sleep(PULSE_STEP_S)
