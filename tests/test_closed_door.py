"""Who stands before a closed door reads why: each cause, replayed on the real stages, leaves a line that names it.

A head drawn from one photograph, which is enrolled, stands before the camera; time is that of the frames. What is
measured stands in the line with its limit, but no similarity and no liveness score.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory

from device import build
from device.access.pin import hash_pin
from device.access.policy import Policy
from device.access.profile import Profile
from device.config import Config, LivenessConfig, LockConfig, PolicyConfig
from device.console import describe
from device.errors import CameraLost, LockRefused
from device.gallery.gallery import Gallery
from device.journal.events import EVENTS, Sink
from device.journal.status import make_line
from device.lock.client import GONE
from device.pipeline import Door, handle_frame
from device.types import Decision, Frame, Image
from device.vision.camera.turned import turn
from device.watch import Watch, WatchRule
from scripts.stage.actors import Person
from scripts.stage.head import Actor, Look, load_actor
from tests.support.photos import photo_path

pytestmark = pytest.mark.usefixtures("real_model")
FPS, BEGAN_S = 8.0, 100.0
Shown = Callable[[float, "str | None"], Image]  # time, and the move that is asked for -> the next picture


@dataclass
class Live:
    """A liveness network with one answer."""

    answer: float
    model_id: str = "pad-1"
    unsure: float = 0.6
    attack: float = 0.3

    def score(self, image: Image, box: object) -> float:
        return self.answer


class NoNotifier:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@dataclass
class Visit:
    """One visit: a camera that films what is shown, with a clock of its own, and the lines that it leaves."""

    door: Door
    shown: Shown
    seconds: float
    fps: float
    at_s: float = BEGAN_S
    index: int = 0
    name: str = "camera"
    live: bool = True
    asked: str | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def now_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        time.sleep(min(seconds, 0.005))  # a pulse ends by the time of this machine

    def frames(self) -> Iterator[Frame]:
        while self.at_s - BEGAN_S < self.seconds:  # opened anew, it goes on
            image = self.shown(self.at_s - BEGAN_S, self.asked).copy()
            image[0, :8] = np.random.default_rng(self.index).integers(
                0, 256, (8, 3)
            )  # a sensor repeats nothing
            yield Frame(image, self.at_s, self.index)
            self.at_s += 1 / self.fps
            self.index += 1

    def event(self, name: str, **fields: Any) -> None:
        if EVENTS[name].sinks & Sink.CONSOLE:
            self.lines.append(make_line(name, fields, at=datetime.now(timezone.utc), demo=False))

    def handle(self, frame: Frame, door: Door, now_s: float) -> Decision:
        decision = handle_frame(frame, door, now_s)
        self.asked = decision.challenge
        return decision

    def run(self) -> list[str]:
        """Let it happen and return the lines as a person reads them."""
        rule = WatchRule(pulse_s=0.1, heartbeat_s=1e6, least_fps=1 / Config().decision.track_gap_s)
        parts: dict[str, Any] = {"camera": self, "door": self.door, "status": self, "time": self}
        watch = Watch(rule, notifier=NoNotifier(), handle=self.handle, **parts)
        watch.announce()
        watch.run()
        return [describe(line) for line in self.lines]


@pytest.fixture(scope="module")
def actor() -> Actor:
    actor = load_actor(photo_path("astronaut"))
    actor.head = lru_cache(maxsize=40)(actor.head)  # most visits begin alike
    return actor


@pytest.fixture(scope="module")
def enrolled(actor: Actor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery in which the actor is alice."""
    path = tmp_path_factory.mktemp("closed") / "gallery.db"
    config = Config(gallery=str(path))
    embedder = build.build_embedder(config)
    finder = build.build_finder(config, embedder.manifest.side_px)
    face = finder.find(actor.head(Look(y_px=20))).face
    with build.build_gallery(config, embedder.manifest, read_only=False) as gallery:
        gallery.enroll("alice", embedder.embed(face.image)[None], replace=False)
    finder.close()
    return path


def as_usual(door: Door) -> None:
    """Leave the door as it is."""


@pytest.fixture
def visit(
    enrolled: Path, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[str]]]:
    """Return what plays a visit; with everything as it should be, alice is let in."""
    doors: list[Door] = []
    monkeypatch.setattr(random, "SystemRandom", lambda: random.Random(7))

    def played(
        shown: Shown | None = None,
        *,
        profile: Profile | None = None,
        mode: str = "passive",
        live: float = 0.95,
        seconds: float = 4.0,
        fps: float = FPS,
        change: Callable[[Door], object] = as_usual,
    ) -> list[str]:
        monkeypatch.setattr(build, "build_liveness", lambda config: Live(live))
        liveness = LivenessConfig(mode=mode, unproven="allow", blink=False)
        policy = PolicyConfig(require_time_sync=False)
        config = Config(gallery=str(enrolled), liveness=liveness, policy=policy, lock=LockConfig(pulse_s=0.1))
        with Gallery(enrolled, model_id=None, dimension=1, read_only=False) as gallery:
            alias = gallery.profile("alice").alias
            gallery.set_profile("alice", replace(profile or Profile(), alias=alias))
        door = build.build_door(config, pin_factory=MockFactory(), live=True)
        doors.append(door)
        door.steady_s = lambda: 0.0  # a busy machine makes no frame stale
        change(door)
        return Visit(door, shown or Person(actor, random.Random(3)), seconds, fps).run()

    yield played
    for door in doors:
        door.close()


def told(lines: list[str], event: str) -> str:
    """Return the one line of an event."""
    found = [line for line in lines if line.startswith(f"{event}: ")]
    assert len(found) == 1, lines
    return found[0]


def test_with_everything_as_it_should_be_the_door_opens(visit):
    assert any(line.startswith("approach: alice, granted, stage opened") for line in visit())


def rules(**policy: Any) -> Profile:
    return Profile(policy=Policy(**policy))


def closed_now() -> str:
    """Return hours that are over, or not begun: of the day after tomorrow."""
    day = datetime.now().date() + timedelta(days=2)
    return f"{day:%a} 10:00-11:00"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (
            rules(access="disabled"),
            "alice, disabled, stage judged, advice face-unlock change NAME --access face",
        ),
        (
            rules(hours=closed_now()),
            "alice, outside hours, stage judged, advice face-unlock change NAME --hours",
        ),
        (
            rules(valid_until=date(2026, 11, 2)),
            "alice, not valid, stage judged, advice face-unlock change NAME --until DAY",
        ),
        (
            replace(rules(access="face+pin"), pin_hash=hash_pin("2580")),
            "alice, pin needed, stage judged, advice enter the PIN",
        ),
    ],
    ids=["disabled", "outside the hours", "an expired guest", "a PIN is needed"],
)
def test_the_rules_of_a_person_are_named(visit, profile, said):
    assert told(visit(profile=profile), "approach").startswith(f"approach: {said}")


def test_a_wrong_pin_is_named_beside_the_face(visit, actor):
    person, doors, typed = Person(actor, random.Random(3)), [], []

    def shown(at_s: float, asked: str | None) -> Image:
        if at_s > 2.5 and not typed:
            typed.append(at_s)
            for key in "1111#":
                doors[0].lock.on_key(key)
        return person(at_s, asked)

    profile = replace(rules(access="face+pin"), pin_hash=hash_pin("2580"))
    line = told(visit(shown, profile=profile, change=doors.append), "approach")
    assert line.startswith("approach: alice, wrong pin, stage judged, advice enter the right PIN")
    assert "1111" not in line


def test_who_is_not_enrolled_is_said_to_be_far_from_everybody(visit):
    line = told(visit(Person(load_actor(photo_path("hopper")), random.Random(3))), "approach")
    assert line.startswith("approach: below threshold, stage compared, closeness far_below")


def noisy_dark(image: Image, _: float) -> Image:
    noise = np.random.default_rng(int(image.sum())).standard_normal(image.shape, np.float32)
    return cv2.addWeighted(image.astype(np.float32), 0.08, noise, 6.0, 0, dtype=cv2.CV_8U)


def needs_150_px(door: Door) -> None:
    """A door with stricter limits: the drawn head is not found where it is as small as the usual ones ask for."""
    door.finder.limits = replace(door.finder.limits, min_face_px=150)


def as_it_is(image: Image, _: float) -> Image:
    return image


@pytest.mark.parametrize(
    ("look", "change", "said"),
    [
        (
            Look(),
            as_it_is,
            r"approach: too small, stage seen, advice come closer: face is .*measured \d+.*, limit 150",
        ),
        (
            Look(yaw_deg=40),
            as_it_is,
            r"approach: (alice, )?(turned away|not facing), stage seen.*measured \d+.*, limit \d+",
        ),
        (Look(blur_px=6, size=1.2), as_it_is, r"approach: too blurred, stage seen.*measured \d+.*, limit 20"),
        (Look(), noisy_dark, r"(approach: too dark, stage seen.*|too dark: )measured \d+.*, limit \d+"),
    ],
    ids=["too far away", "head turned", "blurred", "too dark"],
)
def test_a_gate_is_named_with_what_it_measured_and_its_limit(visit, actor, look, change, said):
    def shown(at_s: float, _: object) -> Image:
        return change(actor.head(replace(look, y_px=20, x_px=4 * np.sin(at_s))), at_s)

    strict = needs_150_px if "too small" in said else as_usual
    lines = visit(shown, seconds=14.0 if change is noisy_dark else 4.0, change=strict)
    assert any(re.match(said, line) for line in lines), lines


def test_a_print_is_said_to_look_like_a_picture_without_a_score(visit):
    line = told(visit(live=0.05), "approach")
    assert line.startswith("approach: alice, spoof suspected, stage compared")
    assert "measured" not in line


def test_a_move_that_comes_too_late_is_said_with_its_time(visit, actor):
    late = Person(actor, random.Random(3), reaction_s=4.0)
    lines = visit(late, mode="always", seconds=9.0)
    line = next(line for line in lines if line.startswith("approach: alice, challenge failed"))
    assert "advice too late: make the move as soon as it is asked for" in line
    assert "limit 2.5" in line


def test_a_mirrored_camera_is_named_while_it_lasts(visit, actor):
    person = Person(actor, random.Random(3))

    def shown(at_s: float, asked: str | None) -> Image:
        return person(at_s, asked)[:, ::-1].copy()

    lines = visit(shown, mode="always", seconds=24.0)
    assert any(
        "turned to the other side than asked for; if you did not, set camera.mirror" in line for line in lines
    )
    assert any(line.startswith("kept out: alice") for line in lines)


@pytest.mark.parametrize("turned", [90, 180])
def test_a_camera_that_hangs_on_its_side_is_named_with_the_cure(visit, actor, turned):
    person = Person(actor, random.Random(3))
    lines = visit(lambda at_s, asked: turn(person(at_s, asked), turned), seconds=14.0)
    assert any(f"set camera.rotation = {360 - turned}" in line for line in lines), lines


def test_too_few_frames_are_named_with_their_rate(visit):
    lines = visit(seconds=30.0, fps=1.0)
    kept = [line for line in lines if line.startswith("kept out: alice, too few frames, stage matched")]
    assert kept
    assert "measured 1.0, limit 2.0" in kept[0]


def test_whoever_is_kept_out_for_ten_seconds_reads_why_while_it_lasts_and_ever_more_rarely(visit, actor):
    def shown(at_s: float, _: object) -> Image:
        return actor.head(Look(y_px=20, x_px=4 * np.sin(at_s)))

    lines = visit(shown, seconds=35.0, fps=4.0, change=needs_150_px)
    kept = [line for line in lines if line.startswith("kept out: ")]
    assert len(kept) == 2  # after 10 s and 20 s more
    assert all("measured" in line and "limit" in line for line in kept)
    assert lines.index(kept[-1]) < next(i for i, line in enumerate(lines) if line.startswith("approach: "))


def test_a_second_face_is_named(visit, actor):
    def shown(at_s: float, _: object) -> Image:
        image = actor.head(Look(size=0.8, x_px=3 * np.sin(at_s)))
        return np.concatenate([image[:, 160:480], image[:, 160:480]], axis=1)

    assert any("several faces, stage seen" in line for line in visit(shown))


def test_a_camera_that_is_lost_says_so(visit, actor):
    person, tries = Person(actor, random.Random(3)), []

    def shown(at_s: float, asked: str | None) -> Image:
        tries.append(at_s)
        if len(tries) == 3:
            raise CameraLost("camera 0: no frame for 5 s: check cable and power")
        return person(at_s, asked)

    line = next(line for line in visit(shown) if line.startswith("camera lost"))
    assert "no frame for 5 s: check cable and power: trying again" in line


def test_a_lock_process_that_is_gone_is_named_beside_the_face(visit):
    def gone(door: Door) -> None:
        def unlock(frame_at_s: float | None = None) -> None:
            raise LockRefused(GONE)

        door.lock.unlock = unlock  # type: ignore[method-assign]

    lines = visit(change=gone)
    assert "command refused: gone" in lines
    assert not any("stage opened" in line for line in lines)


def test_a_covered_lens_and_a_dark_room_are_told_without_a_face(visit):
    rng = np.random.default_rng(0)
    dark = visit(lambda *_: rng.integers(0, 9, (480, 640, 3), np.uint8).repeat(1, 0), seconds=14.0)
    assert any(line.startswith(("camera covered: dark", "too dark: measured")) for line in dark), dark
