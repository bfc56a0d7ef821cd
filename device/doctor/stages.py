"""One approach, stage by stage, as it happens: what each measured and what it needs. The door it plays has no pins.

No similarity and no liveness score is shown, only on which side of its limit it lies: a number would teach an attacker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from gpiozero.pins.mock import MockFactory

from device.build import build_camera, build_door
from device.config import Config, DoorConfig, KeypadConfig, LockConfig, QualityConfig
from device.console import describe
from device.decide.decider import LivenessRule
from device.doctor.display import is_screen, painted
from device.doctor.finding import Light
from device.doctor.host import Host
from device.errors import CameraError
from device.journal.approaches import Approaches, closeness
from device.journal.status import make_line
from device.pipeline import Door, handle_frame
from device.protocols import Camera
from device.types import Decision, Image, News, Quality, Reason
from device.vision.finder import Finder, Found

EVERY_S = 0.2  # between two pictures of the stages on a terminal
BLOCK_S = 1.0  # and where each one is printed below the last


@dataclass(frozen=True, slots=True)
class Row:
    """One stage: what it measured and what it needs; without a light it was not reached."""

    name: str
    text: str = ""
    light: Light | None = None


def judged(name: str, holds: bool, text: str) -> Row:
    return Row(name, text, Light.GREEN if holds else Light.YELLOW)


class NotedFinder(Finder):
    """A finder that keeps what it found last."""

    def __init__(self, finder: Finder) -> None:
        super().__init__(
            detector=finder.detector,
            aligner=finder.aligner,
            limits=finder.limits,
            second_face_ratio=finder.second_face_ratio,
        )
        self.found: Found | None = None
        self.width_px = 0

    def find(self, image: Image) -> Found:
        self.found, self.width_px = super().find(image), image.shape[1]
        return self.found


def watch(
    config: Config,
    host: Host,
    *,
    open_camera: Callable[[Config], Camera] = build_camera,
) -> int:
    """Show the stages until one approach is over; 0 where the door would have opened, else 1."""
    camera = open_camera(config)
    doors = host.doors(str(config.camera.source))
    if camera.live and doors:
        raise CameraError(
            f"camera {camera.name}: in use by the door (process {doors[0].number}): a camera serves one program at a "
            "time: sudo systemctl stop face-unlock, and start it again afterwards"
        )
    print("step before the camera; nothing is opened, Ctrl-C ends it", flush=True)
    with closing(camera):
        door = build_door(without_pins(config), pin_factory=MockFactory(), live=camera.live)
        try:
            return follow(camera, door, config, Screen())
        finally:
            door.close()


def without_pins(config: Config) -> Config:
    """Return the configuration of the same door without anything that hangs on a pin or a port."""
    return replace(
        config,
        lock=LockConfig(pulse_s=0.1),
        door=DoorConfig(),
        keypad=KeypadConfig(),
        liveness=replace(config.liveness, buzzer_pin=-1, led_pin=-1, display=""),
        policy=replace(config.policy, alarm_pin=-1),
    )


class Screen:
    """Show rows: on a terminal in place of the last ones, else below them."""

    def __init__(self) -> None:
        self._is_terminal = is_screen()
        self._shown_s = -float("inf")
        self._told = ""
        self._rows = 0

    def show(self, rows: list[Row], now_s: float) -> None:
        """Show them, unless the last ones were shown a moment ago."""
        every_s = EVERY_S if self._is_terminal else BLOCK_S
        changed = rows[-1].text.split(":")[0] != self._told
        if now_s - self._shown_s < every_s and (self._is_terminal or not changed):
            return
        self._shown_s, self._told = now_s, rows[-1].text.split(":")[0]
        back = f"\033[{self._rows}A" if self._is_terminal and self._rows else ""
        clear = "\033[K" if self._is_terminal else ""
        lines = [f"{painted(row.light)}  {row.name:<9}  {row.text}{clear}" for row in rows]
        print(back + "\n".join(lines), flush=True)
        self._rows = len(rows)
        if not self._is_terminal:
            print(flush=True)


def follow(camera: Camera, door: Door, config: Config, screen: Screen) -> int:
    """Show the stages of each frame until an approach is over."""
    door.finder = finder = NotedFinder(door.finder)
    approaches = Approaches(1 / config.decision.track_gap_s)

    def ended(news: Iterator[News]) -> int | None:
        for name, details in news:
            if name == "approach":
                line = make_line(name, details, at=datetime.now(timezone.utc), demo=False)
                print(f"\n{describe(line)}")
                return int(details["stage"] != "opened")
        return None

    for frame in camera.frames():
        now_s = time.monotonic() if camera.live else frame.captured_at_s
        finder.found = None
        decision = handle_frame(frame, door, now_s)
        rows = list(stages(decision, finder, door.decider.liveness, config))
        screen.show(rows, now_s)
        if (code := ended(approaches.see(decision, now_s))) is not None:
            return code
    code = ended(approaches.end())
    if code is None:
        print("nobody came")
    return 1 if code is None else code


def stages(decision: Decision, finder: NotedFinder, liveness: LivenessRule, config: Config) -> Iterator[Row]:
    """Yield a row for each stage: what was measured and what it needs."""
    found = finder.found
    quality = found.quality if found is not None else None
    yield face_row(decision, found, finder.width_px, config)
    yield from quality_rows(quality, config.quality, config.intent.max_yaw_deg)
    yield person_row(decision)
    yield alive_row(decision, liveness)
    asked = decision.reason is Reason.CHALLENGE
    yield Row("asked", decision.hint, Light.YELLOW) if asked else Row("asked")
    why = decision.hint if not asked else "waits for that"
    words = str(decision.reason).replace("_", " ")
    text = f"{words}: {why}" if why else words
    yield judged("verdict", decision.granted, text)


def face_row(decision: Decision, found: Found | None, frame_px: int, config: Config) -> Row:
    """Return the row of the detector."""
    if found is None:
        return judged("face", False, f"not looked for: {decision.hint or decision.reason}")
    if found.detection is None:
        return judged("face", False, "none found")
    least_px = max(config.quality.min_face_px, config.intent.near_share * frame_px)
    text = f"{found.width_px:.0f} px wide, needs {least_px:.0f}"
    return judged("face", found.width_px >= least_px and decision.reason is not Reason.SEVERAL_FACES, text)


def quality_rows(quality: Quality | None, limits: QualityConfig, facing_deg: float) -> Iterator[Row]:
    """Yield the rows of the mesh and of the gates."""
    if quality is None:
        yield from map(Row, ("points", "light", "turned", "sharp"))
        return
    pose = quality.pose
    points = f"{quality.presence:.1f}, needs {limits.min_presence:g}"
    yield judged("points", quality.presence >= limits.min_presence, points)
    is_lit = quality.signal >= limits.min_signal and quality.white <= limits.max_white
    white = f"white {100 * quality.white:.0f} %, at most {100 * limits.max_white:g} %"
    yield judged("light", is_lit, f"signal {quality.signal:.1f}, needs {limits.min_signal:g}; {white}")
    side, tip = ("left" if pose.yaw_deg > 0 else "right"), ("up" if pose.pitch_deg > 0 else "down")
    turned = (
        f"{abs(pose.yaw_deg):.0f} degrees to your {side}, at most {facing_deg:g}; {abs(pose.pitch_deg):.0f} {tip}, at "
        f"most {limits.max_pitch_deg:g}; tilted {abs(pose.roll_deg):.0f}, at most {limits.max_roll_deg:g}"
    )
    is_straight = (
        abs(pose.yaw_deg) <= min(facing_deg, limits.max_yaw_deg)
        and abs(pose.pitch_deg) <= limits.max_pitch_deg
        and abs(pose.roll_deg) <= limits.max_roll_deg
    )
    yield judged("turned", is_straight, turned)
    sharp = f"{quality.sharpness:.0f}, needs {limits.min_sharpness:g}"
    yield judged("sharp", quality.sharpness >= limits.min_sharpness, sharp)


def person_row(decision: Decision) -> Row:
    """Return the row of the comparison, without its number."""
    if decision.subject_id is not None:
        return judged("person", True, f"like {decision.subject_id}")
    near = closeness(decision)
    if near is None:
        return Row("person")
    return judged("person", False, f"like nobody enrolled: {near.replace('_', ' ')} what it needs")


def alive_row(decision: Decision, rule: LivenessRule) -> Row:
    """Return the row of the liveness check, without its number."""
    if decision.liveness is None or decision.detection is None:
        return Row("alive")
    if decision.liveness < rule.attack:
        return judged("alive", False, "looks like a picture")
    is_live = decision.liveness >= rule.unsure
    return judged("alive", is_live, "yes" if is_live else "unsure")
