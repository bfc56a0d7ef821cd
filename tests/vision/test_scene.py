"""Covered, frozen, dark, bright: what a live camera's frames are worth, looked at on the decision."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import pytest

from device.errors import CameraLost
from device.pipeline import Door, handle_frame
from device.types import Frame, Image, News, Reason, Stop
from device.vision.scene import BRIGHT, DARK, LOST_FRAMES, SceneRule, SceneWatch, measure
from tests.support.photos import photo

RULE = SceneRule(min_detail=15, frozen_s=5)
RANDOM = np.random.default_rng(3)
GRAIN = RANDOM.standard_normal((1000, 640, 3), np.float32)
Y, X = np.mgrid[0:480, 0:640].astype(np.float32)

PAPER = 170 - 60 * np.hypot(X - 320, Y - 240) / 400
GLOW = 20 + 100 * np.exp(-((X - 300) ** 2 + (Y - 200) ** 2) / 2 / 250**2)
FINGER = GLOW[..., None] * np.array([1, 0.5, 0.4], np.float32)


def filmed(view: np.ndarray, noise: float = 3.0) -> Image:
    """Return a (480, 640, 3) frame of a view as a sensor gives it: with noise, never twice the same."""
    view = np.ascontiguousarray(
        np.broadcast_to(view[..., None] if view.ndim == 2 else view, (480, 640, 3)), np.float32
    )
    start, noise = int(RANDOM.integers(0, 520)), noise * RANDOM.uniform(0.9, 1.1)
    return cv2.addWeighted(view, 1, GRAIN[start : start + 480], noise, 0, dtype=cv2.CV_8U)


@lru_cache
def view_of_room(light: float = 1.0) -> np.ndarray:
    return light * cv2.resize(photo("astronaut"), (640, 480)).astype(np.float32)


def room(light: float = 1.0) -> Image:
    return filmed(view_of_room(light))


COVERS: dict[str, tuple[Callable[[], Image], str]] = {
    "black tape": (lambda: filmed(np.full((480, 640), 3.0)), "dark"),
    "black without noise": (lambda: np.zeros((480, 640, 3), np.uint8), "dark"),
    "a black picture with much noise": (lambda: filmed(np.full((480, 640), 6.0), 20), "dark"),
    "a torch into the lens": (lambda: np.full((480, 640, 3), 255, np.uint8), "bright"),
    "paper": (lambda: filmed(PAPER), "even"),
    "a finger": (lambda: filmed(FINGER), "even"),
}


def run(watch: SceneWatch, frames: list[Image], *, from_s: float = 0.0, has_face: bool = False) -> list[News]:
    """Show frames, ten a second, and return what was told."""
    told: list[News] = []
    for index, image in enumerate(frames):
        watch.judge(Frame(image, from_s + index / 10))
        told += watch.news(has_face)
    return told


@pytest.mark.parametrize("cover", COVERS)
def test_a_covered_lens_decides_nothing_and_is_told_once(cover: str) -> None:
    shown, word = COVERS[cover]
    watch = SceneWatch(RULE)
    stop = watch.judge(Frame(shown(), 0.0))
    assert stop is not None
    assert stop.reason is Reason.CAMERA_COVERED
    assert stop.measured < stop.limit == RULE.min_detail
    assert run(watch, [shown() for _ in range(300)], from_s=0.1) == [("camera_covered", {"reason": word})]
    assert watch.judge(Frame(room(), 31.0)) is None
    assert run(watch, [room() for _ in range(30)], from_s=31.1) == [("camera_clear", {"reason": "covered"})]


@pytest.mark.parametrize("light", [1.0, 0.5, 0.15])
def test_a_room_in_any_usable_light_has_detail(light: float) -> None:
    """At 0.15 a face is far too dark to be compared: where a face may open, the frame is none without detail."""
    brightness, detail = measure(room(light))
    assert detail > 2 * RULE.min_detail
    assert (brightness < DARK) == (light < 0.5)


def test_a_hand_that_passes_is_not_told() -> None:
    watch, hand = SceneWatch(RULE), COVERS["a finger"][0]
    assert run(watch, [room() if i % 30 else hand() for i in range(120)]) == []


def test_a_frame_that_repeats_is_no_new_evidence_and_frozen_after_a_while() -> None:
    watch, still = SceneWatch(RULE), room()
    assert watch.judge(Frame(room(), 0.0)) is None
    assert watch.judge(Frame(still, 0.1)) is None
    assert watch.judge(Frame(still.copy(), 0.2)) == Stop(Reason.SAME_FRAME)
    assert run(watch, [still.copy() for _ in range(47)], from_s=0.3) == []
    assert run(watch, [still.copy() for _ in range(20)], from_s=5.0) == [("camera_frozen", {})]
    assert run(watch, [room()], from_s=8.0) == [("camera_clear", {"reason": "frozen"})]


def test_a_driver_that_hands_out_its_buffers_in_turn_is_frozen_too() -> None:
    buffers = [room() for _ in range(4)]
    assert run(SceneWatch(RULE), [buffers[i % 4] for i in range(80)]) == [("camera_frozen", {})]


def test_a_camera_that_gives_some_frames_twice_is_not_frozen() -> None:
    frames = [image for image in (room() for _ in range(50)) for _ in range(2)]
    assert run(SceneWatch(RULE), frames) == []


def test_a_camera_frozen_for_long_is_lost_and_stays_so_until_its_picture_moves() -> None:
    watch, still = SceneWatch(RULE), room()
    with pytest.raises(CameraLost, match=r"the same frames again and again for 15 s: check cable and power"):
        run(watch, [still] * 200)
    run(watch, [still] * (LOST_FRAMES - 1), from_s=30.0)  # opened anew: some old frames may still come
    with pytest.raises(CameraLost):
        run(watch, [still], from_s=31.0)
    assert run(watch, [still, room()], from_s=40.0) == [("camera_clear", {"reason": "frozen"})]


def test_old_frames_after_a_camera_that_was_away_do_not_end_it_again() -> None:
    watch, still = SceneWatch(RULE), room()
    run(watch, [still])
    assert watch.judge(Frame(still, 600.0)) == Stop(Reason.SAME_FRAME)
    assert watch.judge(Frame(room(), 600.1)) is None


@pytest.mark.parametrize(("light", "name"), [(0.12, "too_dark"), (30.0, "too_bright")])
def test_a_scene_without_a_face_in_bad_light_is_told_once_and_its_end(light: float, name: str) -> None:
    def scene(factor: float) -> Image:
        floor = 150.0 if factor > 1 else 0.0  # glare, with some detail left
        return filmed(np.clip(view_of_room(factor), floor, 255))

    watch = SceneWatch(RULE)
    assert run(watch, [scene(light) for _ in range(95)]) == []
    ((told, fields),) = run(watch, [scene(light) for _ in range(100)], from_s=9.5)
    assert told == name
    assert fields["limit"] == (DARK if light < 1 else BRIGHT)
    assert (fields["measured"] < DARK) if light < 1 else (fields["measured"] > BRIGHT)
    assert run(watch, [room() for _ in range(120)], from_s=19.5) == [("light_ok", {"reason": name})]
    assert run(SceneWatch(RULE), [scene(light) for _ in range(200)], has_face=True) == []


def test_light_about_the_limit_is_told_once() -> None:
    watch, told = SceneWatch(RULE), []
    for at_s in range(120):  # 12 s below the limit of 20, 12 s hardly above it, and so on
        scene = RANDOM.integers(0, 70 if at_s // 12 % 2 else 48, (480, 640, 3), np.uint8)
        scene[:240] //= 3
        told += run(watch, [scene], from_s=float(at_s))
    assert [name for name, _ in told] == ["too_dark"]


# At the decision


@pytest.fixture
def watched(device: Door) -> Door:
    device.scene = SceneWatch(RULE)
    return device


def decide(door: Door, images: list[Image]) -> list[Reason]:
    return [handle_frame(Frame(image, i / 10), door, i / 10).reason for i, image in enumerate(images)]


def test_a_frozen_picture_of_the_subject_never_opens(watched: Door) -> None:
    still = room()
    told = decide(watched, [still.copy() for _ in range(100)])
    assert told == [Reason.CONFIRMING, *[Reason.SAME_FRAME] * 99]
    watched.lock.unlock.assert_not_called()


def test_without_the_watch_the_same_frames_would_open(device: Door) -> None:
    assert Reason.GRANTED in decide(device, [room()] * 3)


def test_two_frames_and_their_repeats_are_two_votes(watched: Door) -> None:
    one, two = room(), room()
    told = decide(watched, [one, one, two, two, one])
    assert told == [
        Reason.CONFIRMING,
        Reason.SAME_FRAME,
        Reason.CONFIRMING,
        Reason.SAME_FRAME,
        Reason.SAME_FRAME,
    ]
    watched.lock.unlock.assert_not_called()


def test_a_camera_that_gives_each_frame_twice_still_opens(watched: Door) -> None:
    frames = [image for image in (room() for _ in range(3)) for _ in range(2)]
    assert decide(watched, frames)[4] is Reason.GRANTED
    watched.lock.unlock.assert_called_once()


@pytest.mark.parametrize("cover", COVERS)
def test_nobody_is_looked_for_in_a_covered_frame(watched: Door, cover: str) -> None:
    told = decide(watched, [COVERS[cover][0]() for _ in range(10)])
    assert told == [Reason.CAMERA_COVERED] * 10
    watched.finder.detector.detect.assert_not_called()
    watched.lock.unlock.assert_not_called()


def test_a_lens_that_is_covered_in_between_ends_the_count(watched: Door) -> None:
    dark = COVERS["black tape"][0]
    told = decide(watched, [room(), room(), *[dark() for _ in range(5)], room(), room(), room()])
    assert told[-3:] == [Reason.CONFIRMING, Reason.CONFIRMING, Reason.GRANTED]
    watched.lock.unlock.assert_called_once_with(0.9)
