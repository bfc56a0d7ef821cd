"""Show the whole product at work, without a camera and without pins: python scripts/demo.py  (make demo)

    python scripts/demo.py --model mobilenetv2      another network; --config FILE takes any other key from a file

One person is enrolled from a photograph and turned views of it, as a guided enrollment takes them. Then nobody, a
stranger, a print and a screen with the enrolled person's portrait, that person and nobody again stand before the
camera, and do what the door asks for. The people are photographs as heads in space (stage/head.py), the pictures the
same photographs, flat. Detector, networks, gallery file and lock are the real ones; only the pins are gpiozero's own
mock. Each of them is challenged (`liveness.mode = "always"`), so that it is seen. Then the passive look alone judges
that person, and prints and screens that fill the view (stage/passive.py). Writes demo.png; exits with 1 if anybody but
the enrolled person is let in, or they are not, or if the passive look takes one for another.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np
from gpiozero.pins.mock import MockFactory

import enroll
from device import programs
from device.build import build_detector, build_door, build_liveness, manifest_path
from device.config import Config, LockConfig, check_model, load_config
from device.errors import FaceUnlockError, UsageError
from device.pipeline import Door, handle_frame
from device.programs import Parser
from device.types import Decision, Frame, Image, Reason
from device.vision.embed import load_manifest
from device.vision.picture import read_picture
from scripts import make_clip
from scripts.stage import demo_picture
from scripts.stage.actors import Performer, Person, there_and_back
from scripts.stage.demo_picture import Act, PassiveLook, Play, Step
from scripts.stage.head import Actor, Look
from scripts.stage.passive import fills_the_view, judged

MARK = "[demo: no pin is driven]"
SUBJECT, STRANGER = "Eileen Collins", "Grace Hopper"
PRINT, SCREEN = "a print of her", "a screen with her"
PULSE_S = 2.0  # shorter than at a door, so that its end is seen
FPS = 10.0
AWAY_S = 2.5  # longer than the door takes a face at the same place for one that never left (stillness.GAP_S)
GUIDED = (Look(yaw_deg=18), Look(yaw_deg=-18), Look(pitch_deg=12), Look(pitch_deg=-12))
QUIET = (Reason.CONFIRMING, Reason.DWELLING, Reason.COOLDOWN)
FILLING = {
    "a print, filling the view": ("print", 1),
    "a phone, filling it": ("phone", 5),
    "a tablet, filling it": ("tablet", 4),
}
REFUSED_AS_ATTACK = (Reason.SPOOF_SUSPECTED, Reason.CHALLENGE, Reason.CHALLENGE_FAILED)


@dataclass(frozen=True, eq=False)
class Part:
    """Somebody before the camera: what they show at a time, when asked for a move; and for how long at most."""

    who: str
    performer: Performer
    seconds: float


def photographs() -> dict[str, Path]:
    """Return the two portraits, both in the public domain."""
    found = find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        raise UsageError("the demo's second portrait comes with matplotlib: run it with `make demo`")
    sample = "mpl-data/sample_data/grace_hopper.jpg"
    return {
        SUBJECT: ROOT / "tests/data/astronaut.jpg",
        STRANGER: Path(found.submodule_search_locations[0]) / sample,
    }


def printed(photo: Image) -> Image:
    """Return a photograph as a print: paler, on paper with a white rim."""
    pale = cv2.convertScaleAbs(photo, alpha=0.8, beta=30)
    return cv2.copyMakeBorder(pale, *[24] * 4, cv2.BORDER_CONSTANT, value=(240, 238, 230))  # type: ignore[return-value]


def on_screen(photo: Image) -> Image:
    """Return a photograph on a screen: bluer, with its stripes, in a black frame."""
    lit = photo.astype(np.float32) * (0.95, 1.0, 1.1)
    for color in range(3):
        lit[:, (np.arange(photo.shape[1]) + color) % 3 == 0, color] *= 0.75
    shown = np.clip(lit + 8, 0, 255).astype(np.uint8)
    return cv2.copyMakeBorder(shown, *[20] * 4, cv2.BORDER_CONSTANT, value=(12, 12, 14))  # type: ignore[return-value]


def cast(photos: dict[str, Path], seconds: float) -> list[Part]:
    """Return who stands before the door, one after the other, and for how long."""
    wall = make_clip.empty_wall(np.random.default_rng(make_clip.SEED))
    portrait = read_picture(photos[SUBJECT])
    chance = random.Random(make_clip.SEED)
    held = [(PRINT, Actor(printed(portrait))), (SCREEN, Actor(on_screen(portrait)))]
    attacks = [
        Part(name, comes_in(ObeyingPicture(actor, wall), wall), AWAY_S + 4 + seconds) for name, actor in held
    ]
    stranger = Person(Actor(read_picture(photos[STRANGER])), chance)
    subject = comes_in(Person(Actor(portrait), chance), wall)
    return [
        Part("nobody", lambda *_: wall, 0.4 * seconds),
        Part(STRANGER, stranger, seconds),
        *attacks,
        Part(SUBJECT, subject, AWAY_S + 24 + seconds),
        Part("nobody", lambda *_: wall, 0.4 * seconds + PULSE_S / 2),
    ]


def comes_in(performer: Performer, wall: Image) -> Performer:
    """Show the wall until one has gone and the next one comes, which ends the track."""
    return lambda at_s, asked: wall if at_s < AWAY_S else performer(at_s, asked)


def guided_views(folder: Path, photograph: Path) -> list[Path]:
    """Write the views that a guided enrollment at the door asks for: turned to both sides, nodding."""
    actor = Actor(read_picture(photograph))
    paths = []
    for number, look in enumerate(GUIDED):
        paths.append(folder / f"view{number}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(actor.head(look), cv2.COLOR_RGB2BGR))
    return paths


class ObeyingPicture:
    """A portrait in somebody's hand who turns it as the door asks."""

    def __init__(self, actor: Actor, wall: Image) -> None:
        self._actor, self._wall = actor, wall
        self._asked: str | None = None
        self._asked_s = 0.0

    def __call__(self, at_s: float, asked: str | None) -> Image:
        """Return the next frame."""
        if asked != self._asked:
            self._asked, self._asked_s = asked, at_s
        share = there_and_back(at_s - self._asked_s - 0.4) if asked else 0.0
        yaw = {"turn_left": 40.0, "turn_right": -40.0}.get(asked or "", 3 * math.sin(at_s))
        pitch = -40.0 if asked == "nod" else 0.0
        look = Look(yaw_deg=yaw * (share if asked else 1), pitch_deg=pitch * share, size=0.85, y_px=20)
        return self._actor.picture(look, self._wall)


def play(config: Config, parts: list[Part]) -> Play:
    """Let everybody act before the real pipeline, and record what happens."""
    factory = MockFactory()
    device = build_door(config, pin_factory=factory)
    pin = factory.pin(config.lock.pin)
    try:
        pin.clear_states()
        clock = Clock(time.monotonic())
        acts, steps = act_out(parts, device, clock)
        while device.lock.is_locked is False:
            time.sleep(0.02)
        threshold = max(step.decision.threshold or -1.0 for step in steps)
    finally:
        device.close()
    return Play(acts, steps, waveform(pin, clock, until_s=acts[-1].ends_s), threshold)


def look_passively(config: Config, photos: dict[str, Path]) -> list[PassiveLook]:
    """Let the passive look alone judge the enrolled person, and pictures of them that fill the view."""
    scorer, detector = build_liveness(config), build_detector(config)
    if scorer is None:
        return []
    portrait = read_picture(photos[SUBJECT])
    box = detector.detect(portrait)[0].box
    person = Person(Actor(portrait), random.Random(make_clip.SEED))
    shows: dict[str, Iterator[Image]] = {SUBJECT: (person(n / FPS, None) for n in itertools.count())}
    for name, (species, seed) in FILLING.items():
        shows[name] = fills_the_view(portrait, box, species, seed)
    looks = [judged(who, frames, scorer, detector) for who, frames in shows.items()]
    detector.close()
    for look in looks:
        said = f"{'live' if look.live else 'refused'} (score {look.score:.2f}, live from {scorer.unsure:.2f})"
        print(f"{MARK} passive look alone: {look.who}: {said}")
    return looks


class Clock:
    """The play's own time, one frame after the other: real time, except on a machine too slow for it."""

    def __init__(self, began_s: float) -> None:
        self.at_s = 0.0
        self._began_s = began_s
        self._real_s, self._play_s = [0.0], [0.0]

    def tick(self) -> None:
        """Wait for the next frame's time, if it is not over yet."""
        self.at_s += 1 / FPS
        time.sleep(max(0.0, self._began_s + self.at_s - time.monotonic()))
        self._real_s.append(time.monotonic() - self._began_s)
        self._play_s.append(self.at_s)

    def play_time(self, real_s: float) -> float:
        """Return when in the play something happened so many real seconds after its begin."""
        return float(np.interp(real_s, self._real_s, self._play_s))


def act_out(parts: list[Part], device: Door, clock: Clock) -> tuple[list[Act], list[Step]]:
    """Show the door one part after the other, and print one line per event."""
    acts: list[Act] = []
    steps: list[Step] = []

    def tell(locked: bool) -> None:
        say(clock.at_s, "locked" if locked else f"unlocked for {PULSE_S:g} s")

    device.lock.on_change = tell  # type: ignore[attr-defined]
    for part in parts:
        starts_s = clock.at_s
        say(starts_s, f"-- {part.who} --")
        if part.who == SUBJECT:  # an owner came in between: no refusal makes this challenge harder
            device.decider.conclude(Decision(True, Reason.GRANTED, starts_s))
        steps += walk(part, device, clock)
        acts.append(Act(part.who, starts_s, clock.at_s))
    return acts, steps


def walk(part: Part, device: Door, clock: Clock) -> Iterator[Step]:
    """Yield each frame of a part with its decision; a part that is refused or granted goes on for a moment only."""
    starts_s, ends_s = clock.at_s, clock.at_s + part.seconds
    asked, told = None, None
    while clock.at_s < ends_s:
        at_s = clock.at_s
        frame = Frame(part.performer(at_s - starts_s, asked), at_s)
        decision = handle_frame(frame, device, at_s)
        asked = decision.challenge
        if decision.reason not in QUIET and headline(decision) != told:
            told = headline(decision)
            say(at_s, told)
        yield Step(at_s, frame.image, decision)
        refused = decision.reason is Reason.CHALLENGE_FAILED and part.who in (PRINT, SCREEN)
        if decision.granted or (refused and at_s - starts_s > AWAY_S):
            ends_s = min(ends_s, at_s + (1.5 if decision.granted else 0.3))
        clock.tick()


def headline(decision: Decision) -> str:
    """Say a decision in words."""
    if decision.granted:
        return f"granted: {decision.subject_id}"
    if decision.reason is Reason.NO_FACE:
        return "nobody there"
    if decision.reason is Reason.CHALLENGE:
        return f"challenge: {decision.hint}"
    return (
        f"refused: {str(decision.reason).replace('_', ' ')}{f' ({decision.hint})' if decision.hint else ''}"
    )


def say(at_s: float, text: str) -> None:
    print(f"{MARK} {at_s:5.1f} s  {text}", flush=True)


def waveform(pin: Any, clock: Clock, until_s: float) -> list[tuple[float, bool]]:
    """Turn the mock pin's record, each state with the time since the one before, into (seconds, high)."""
    real_s, changes = 0.0, []
    for passed_s, high in pin.states:
        real_s += passed_s
        changes.append((clock.play_time(real_s), bool(high)))
    return [*changes, (max(until_s, changes[-1][0]), changes[-1][1])]


def faults(result: Play) -> list[str]:
    """List what went wrong: somebody let in who may not, or kept out who may."""
    found = []
    for act in result.acts:
        steps = [step for step in result.steps if act.starts_s <= step.at_s < act.ends_s]
        granted = {step.decision.subject_id for step in steps if step.decision.granted}
        wanted = {SUBJECT} if act.who == SUBJECT else set()
        if granted != wanted:
            found.append(
                f"{act.who}: expected {', '.join(wanted) or 'no'} grant, received {granted or 'none'}"
            )
        if any(step.decision.detection for step in steps) != (act.who != "nobody"):
            found.append(f"{act.who}: the detector {'saw somebody' if act.who == 'nobody' else 'saw nobody'}")
        if act.who in (PRINT, SCREEN) and not any(s.decision.reason in REFUSED_AS_ATTACK for s in steps):
            found.append(f"{act.who}: was not refused as an attack")
    granted_s = [step.at_s for step in result.steps if step.decision.granted]
    unlocked_s = [at_s for at_s, high in result.pin if high]
    if granted_s and unlocked_s and unlocked_s[0] < granted_s[0]:
        found.append(f"the pin unlocked {granted_s[0] - unlocked_s[0]:.3f} s before the grant")
    for look in result.looks:
        if look.live != (look.who == SUBJECT):
            found.append(
                f"{look.who}: the passive look alone takes it for {'live' if look.live else 'an attack'}"
            )
    if [high for _, high in result.pin] != [False, True, False, False]:
        found.append(f"the pin went {result.pin}, expected one pulse that ends locked")
    return found


def command_line() -> Parser:
    parser = Parser(prog="demo.py", description="Show the whole product at work, without pins.")
    parser.add_argument("--picture", type=Path, default=ROOT / "demo.png", help="file to write (demo.png)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="how long the stranger stays; all else follows (3)"
    )
    parser.add_argument("--model", metavar="NAME", help="network of the embeddings: a name or a manifest")
    # /dev/null is an empty config: the demo shows the defaults, whatever this machine is set to.
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/dev/null"),
        metavar="PATH",
        help="TOML file (docs/owner/tune.md)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    return programs.run(f"{MARK} demo", lambda: act(command_line().parse_args(arguments)))


def act(args: argparse.Namespace) -> int:
    check(args.picture, args.seconds)
    with tempfile.TemporaryDirectory(prefix="face-unlock-demo-") as folder:
        result = run(Path(folder), args.seconds, args.config, args.model)
    draw(result, args.picture)
    print(f"{MARK} wrote {args.picture.name}")
    found = faults(result)
    for line in found:
        print(f"{MARK} FAILED: {line}", file=sys.stderr)
    if not found:
        print(
            f"{MARK} passed: {SUBJECT} was let in, {STRANGER}, print and screen were not; the door is locked"
        )
    return 1 if found else 0


def check(picture: Path, seconds: float) -> None:
    """Refuse before the play what would fail after it."""
    if picture.suffix != ".png" or not os.access(picture.absolute().parent, os.W_OK):
        raise UsageError(
            f"--picture: expected a .png in a folder that can be written, received {str(picture)[:120]}"
        )
    if not 1 <= seconds <= 60:
        raise UsageError(f"--seconds: expected 1 to 60, received {seconds:g}")


def draw(result: Play, picture: Path) -> None:
    """Write the picture; a disk that is full, say, is one line."""
    try:
        demo_picture.draw(result, picture)
    except OSError as error:
        raise UsageError(f"--picture: {str(picture)[:120]}: {error.strerror}: name another file") from error


def run(folder: Path, seconds: float, settings: Path, model: str | None) -> Play:
    """Enroll, and let everybody act."""
    photos = photographs()
    config = configured(folder, settings, model)
    options = ["--gallery", config.gallery, "--config", str(settings), "--model", config.model, "--no-sheet"]
    model_id = load_manifest(manifest_path(config.model)).model_id
    print(f"{MARK} enrolling {SUBJECT} from {photos[SUBJECT].name} with {model_id}", flush=True)
    views = guided_views(folder, photos[SUBJECT])
    code = enroll.main(["--name", SUBJECT, "--images", str(photos[SUBJECT]), *map(str, views), *options])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise FaceUnlockError(f"the enrollment ended with exit code {code}: its line stands above")
    return replace(play(config, cast(photos, seconds)), looks=look_passively(config, photos))


def configured(folder: Path, settings: Path, model: str | None) -> Config:
    """Return the configuration of the demo: a gallery of its own in `folder`, a pin that ends soon."""
    config = load_config(settings)
    model = config.model if model is None else model
    check_model(model, "model")
    return replace(
        config,
        model=model,
        gallery=str(folder / "gallery.db"),
        lock=LockConfig(pulse_s=PULSE_S),
        liveness=replace(config.liveness, mode="always"),
    )


if __name__ == "__main__":
    sys.exit(main())
