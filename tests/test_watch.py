"""The loop around handle_frame: lost cameras, what is told, the beat. Camera and time are scripts: nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from device.console import describe
from device.decide.backoff_file import BackoffFile
from device.errors import CameraLost, LockError, LockRefused
from device.types import Decision, Frame, Reason
from device.watch import RECONNECT_S, Watch, WatchRule

FRAME = Frame(np.zeros((4, 4, 3), np.uint8), 0.0)
NOBODY = Decision(granted=False, reason=Reason.NO_FACE, captured_at_s=0.0)
GRANTED = Decision(granted=True, reason=Reason.GRANTED, captured_at_s=0.0, subject_id="Eileen")


class Camera:
    """Yields the scripted frames; an exception in the script is raised in its place."""

    name, live = "fake", True

    def __init__(self, *tries: list[Frame | CameraLost]) -> None:
        self.tries = iter(tries)

    def frames(self) -> Iterator[Frame]:
        for step in next(self.tries):
            if isinstance(step, CameraLost):
                raise step
            yield step

    def close(self) -> None: ...


class FakeTime:
    """A clock that goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.at_s, self.slept_s = 100.0, []

    def now_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.at_s += seconds


class Scene:
    """A watch before a camera, and what it did, in order."""

    def __init__(
        self,
        camera: Camera,
        *,
        once: bool = False,
        heartbeat_s: float = 60.0,
        counts: tuple[BackoffFile, ...] = (),
        handle: Callable[..., Decision] = lambda *_: NOBODY,
    ) -> None:
        self.calls: list[str] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.time, self.door = FakeTime(), MagicMock()
        self.door.rest_s = 0.0
        self.door.lock.is_locked = True
        self.door.lock.lock.side_effect = lambda: self.calls.append("lock")
        self.door.forget.side_effect = lambda: self.calls.append("forget")
        status, notifier = MagicMock(), MagicMock()
        status.event.side_effect = self._tell
        notifier.camera_lost.side_effect = lambda: self.calls.append("stretch")
        notifier.camera_back.side_effect = lambda _: self.calls.append("restore")
        notifier.watchdog.side_effect = lambda _: self.calls.append("beat")
        self.watch = Watch(
            WatchRule(pulse_s=5.0, heartbeat_s=heartbeat_s, once=once),
            camera=camera,
            door=self.door,
            status=status,
            notifier=notifier,
            counts=counts,
            on_once=lambda: self.calls.append("timer off"),
            time=self.time,
            handle=lambda *arguments: (self.calls.append("frame"), handle(*arguments))[1],
        )

    def _tell(self, name: str, **details: Any) -> None:
        self.calls.append(name)
        self.told.append((name, details))


def test_a_lost_camera_locks_and_comes_back() -> None:
    """Frames, a loss, a failing retry, frames again; each finished try is a sign of life."""
    scene = Scene(Camera([FRAME, CameraLost("unplugged")], [CameraLost("still unplugged")], [FRAME]))
    assert scene.watch.run() is False
    lost = ["lock", "forget", "stretch", "camera_lost", "beat"]
    again = ["lock", "forget", "beat"]
    assert scene.calls == ["frame", "beat", *lost, *again, "frame", "camera_back", "restore", "beat"]


def test_a_lost_camera_is_tried_again_after_longer_and_longer_and_at_once_when_it_was_back() -> None:
    gone = CameraLost("unplugged")
    scene = Scene(Camera(*[[gone]] * 7, [FRAME, gone], []))
    tries: list[float] = []
    frames = scene.watch._camera.frames
    scene.watch._camera.frames = lambda: (tries.append(scene.time.at_s), frames())[1]  # type: ignore[method-assign]
    scene.watch.run()
    waits = [round(after - before, 3) for before, after in pairwise(tries)]
    first_s, longest_s = RECONNECT_S
    assert waits == [first_s, 1, 2, 4, 8, longest_s, longest_s, first_s]


def test_a_hot_board_gets_fewer_frames() -> None:
    scene = Scene(Camera([FRAME] * 3))
    scene.door.rest_s = 0.1
    scene.watch.run()
    assert scene.time.slept_s == [0.1] * 3


def test_what_is_new_is_told_with_the_camera_and_without() -> None:
    """A picture that stands still locks and forgets like a lost one; a covered lens does not end a PIN's wait."""
    scene = Scene(Camera([FRAME, FRAME, CameraLost("unplugged")], []))
    told = iter([[("camera_covered", {"reason": "dark"})], [("camera_frozen", {})], [("board_hot", {})]])
    scene.door.news.side_effect = lambda decision, now_s: next(told, [])
    scene.watch.run()
    assert scene.calls[:3] == ["frame", "camera_covered", "beat"]
    assert scene.calls[3:8] == ["frame", "camera_frozen", "lock", "forget", "beat"]
    assert scene.calls[8:11] == ["lock", "forget", "stretch"]  # lost
    assert "board_hot" in scene.calls[11:]


def test_a_move_is_told_once_and_the_prompt_falls_silent() -> None:
    asked = iter([None, "nod", "nod", None, "blink"])
    challenged = replace(NOBODY, reason=Reason.CHALLENGE)
    scene = Scene(
        Camera([FRAME] * 5 + [CameraLost("unplugged")], []),
        handle=lambda *_: replace(challenged, challenge=next(asked)),
    )
    told: list[Any] = []
    scene.door.prompt.show.side_effect = told.append
    scene.watch._status.event.side_effect = lambda name, **details: told.append((name, details.get("action")))
    scene.watch.run()
    hold = ["hold_still", ("challenge", "hold_still")]  # which is no pattern of the prompt: it falls silent
    moves = [*hold, "nod", ("challenge", "nod"), *hold, "blink", ("challenge", "blink")]
    assert told[:9] == [*moves, None]


def test_a_count_that_cannot_be_kept_is_told_once_and_once_more_when_it_is_another() -> None:
    refusals, pins = BackoffFile(None), BackoffFile(None)
    refusals.fault = "gallery.db.refusals: no space left on device"

    def handle(*_: Any) -> Decision:
        if scene.calls.count("frame") == 4:
            refusals.fault, pins.fault = None, "gallery.db.wrong_pins: no space left on device"
        return NOBODY

    scene = Scene(Camera([FRAME] * 6), counts=(refusals, pins), handle=handle)
    scene.watch.run()
    warnings = [details["error"].partition(":")[0] for name, details in scene.told if name == "warning"]
    assert warnings == ["gallery.db.refusals", "gallery.db.wrong_pins"]


def test_the_heartbeat_says_that_the_camera_is_lost() -> None:
    scene = Scene(Camera([CameraLost("unplugged")], [FRAME, FRAME]), heartbeat_s=0.4)
    scene.door.rest_s = 0.5
    scene.watch.run()
    beats = [details["camera_lost"] for name, details in scene.told if name == "heartbeat"]
    assert beats[-1] is False
    scene = Scene(Camera(*[[CameraLost("unplugged")]] * 3, []), heartbeat_s=0.4)
    scene.watch.run()
    beats = [details["camera_lost"] for name, details in scene.told if name == "heartbeat"]
    assert beats
    assert all(beats)


def test_a_refusing_lock_process_is_told_and_does_not_end_the_watch() -> None:
    answers: Iterator[Any] = iter([LockRefused("stale"), GRANTED])

    def handle(*_: Any) -> Decision:
        answer = next(answers)
        if isinstance(answer, LockRefused):
            raise answer
        return answer

    scene = Scene(Camera([FRAME, FRAME]), once=True, handle=handle)
    assert scene.watch.run() is True
    told = [call for call in scene.calls if call not in ("frame", "beat")]
    assert told[:3] == ["command_refused", "timer off", "granted"]


@pytest.mark.parametrize("once", [False, True])
def test_only_who_waits_for_one_grant_ends_with_it_and_stops_the_timer(once: bool) -> None:
    scene = Scene(Camera([FRAME] * 3), once=once, handle=lambda *_: GRANTED)
    assert scene.watch.run() is once
    assert scene.calls.count("frame") == (1 if once else 3)
    assert scene.calls.count("timer off") == once


def test_a_clip_has_its_own_time_and_a_camera_the_time_of_the_machine() -> None:
    times: list[float] = []

    def handle(frame: Frame, door: Any, now_s: float) -> Decision:
        times.append(now_s)
        return NOBODY

    camera = Camera([replace(FRAME, captured_at_s=7.0)])
    Scene(camera, handle=handle).watch.run()
    clip = Camera([replace(FRAME, captured_at_s=7.0)])
    clip.live = False  # type: ignore[misc]
    Scene(clip, handle=handle).watch.run()
    assert times == [100.0, 7.0]


def test_a_running_pulse_ends_before_the_watch_does_and_one_that_nobody_ends_is_a_fault() -> None:
    scene = Scene(Camera([]))
    scene.door.lock.check.side_effect = lambda: setattr(scene.door.lock, "is_locked", scene.time.at_s > 104)
    scene.door.lock.is_locked = False
    assert scene.watch.run() is False
    assert 4 <= scene.time.at_s - 100 < 4.1
    stuck = Scene(Camera([]))
    stuck.door.lock.is_locked = False
    with pytest.raises(LockError, match="still unlocked after its pulse of 5 s"):
        stuck.watch.run()


@pytest.mark.parametrize("error", ["camera 0: no frame for 5 s: check cable and power", "unplugged"])
def test_a_lost_camera_in_words_is_named_once_and_tried_again(error: str) -> None:
    line = {"event": "camera_lost", "at": "now", "error": error, "camera": "camera 0", "retry_s": 0.5}
    named = error if error.startswith("camera 0") else f"camera 0: {error}"
    assert describe(line) == f"camera lost: {named}: trying again, at most every 10 s"
