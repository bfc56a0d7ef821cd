"""Frames in, decisions out, without a camera, a clock or a pin: the door's own `handle_frame` on frames and their
times.

    python scripts/replay.py --attacks 1000     held pictures, against a network that is never sure
    python scripts/replay.py --live 20          heads that obey, that answer late, that make another move
    python scripts/replay.py --figures          what mesh and parallax say of a head and of a picture that turn
    python scripts/replay.py clip.mp4           a recorded clip

Head and picture are drawn by stage/head.py from one photograph, which is enrolled too. Detector, mesh, embedder,
gallery, tracker and decision are the real ones; the passive network is replaced by one that is always unsure, its
worst case. Each replay has its own seed, so that it can be run again: `--seed N --attacks 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpiozero.pins.mock import MockFactory
from tqdm import tqdm

from device import programs
from device.access.admission import AdmitAll
from device.build import (
    SAME_PERSON_FMR,
    build_aligner,
    build_detector,
    build_embedder,
    build_front,
    build_gallery,
    decision_rule,
    quality_limits,
)
from device.config import Config, DetectorConfig, LivenessConfig
from device.decide.backoff import Count
from device.decide.decider import Decider, LivenessRule
from device.decide.moves import ChallengeRule
from device.decide.parallax import measure
from device.decide.refusals import Refusals
from device.errors import UsageError
from device.gallery.gallery import Gallery
from device.lock.front import Prompt
from device.pipeline import Door, handle_frame
from device.programs import Parser
from device.protocols import Aligner, Detector, LivenessScorer, Lock
from device.types import AlignedFace, Decision, Embedding, FaceDetection, Frame, Image
from device.vision.camera.source import open_camera
from device.vision.embed import LiteRTEmbedder
from device.vision.finder import Finder
from device.vision.intent import IntentRule
from device.vision.track import Tracker
from scripts.stage.actors import HeldPicture, Performer, people
from scripts.stage.head import Actor, Look, load_actor

FPS = 8.0  # of a small board
SUBJECT = "subject"
PHOTOGRAPH = ROOT / "tests/data/astronaut.jpg"
MODES = ("challenge", "always")


class NeverSure:
    """The passive network at its worst: every face lies between attack and live."""

    unsure, attack = 0.9, 0.1

    def score(self, image: Image, box: tuple[float, float, float, float]) -> float:
        """Say nothing."""
        return 0.5


class Once:
    """A detector, aligner and embedder that look at each frame once, however many doors are shown it."""

    def __init__(self, detector: Detector, aligner: Aligner, embedder: LiteRTEmbedder) -> None:
        self._detector, self._aligner, self._embedder = detector, aligner, embedder
        self.manifest, self.model_id = embedder.manifest, embedder.model_id
        self._known: dict[str, tuple[Any, Any]] = {}

    def detect(self, image: Image) -> list[FaceDetection]:
        return self._once("detect", image, lambda: self._detector.detect(image))

    def align(self, image: Image, detection: FaceDetection) -> AlignedFace:
        return self._once("align", detection, lambda: self._aligner.align(image, detection))

    def is_upright(self, image: Image, detection: FaceDetection, face: AlignedFace) -> bool:
        return self._aligner.is_upright(image, detection, face)

    def embed(self, face: Image) -> Embedding:
        return self._once("embed", face, lambda: self._embedder.embed(face))

    def close(self) -> None:
        self._detector.close()

    def _once(self, stage: str, shown: Any, look: Callable[[], Any]) -> Any:
        last, found = self._known.get(stage, (None, None))
        if last is not shown:
            found = look()
            self._known[stage] = (shown, found)
        return found


@dataclass(kw_only=True, eq=False)
class Stages:
    """What all replays share: networks, gallery and the mock lock."""

    config: Config
    networks: Once
    gallery: Gallery
    lock: Lock

    def door(
        self, mode: str, seed: int, scorer: LivenessScorer | None = None, refusals: Refusals | None = None
    ) -> Door:
        """Return a door that has seen nothing yet; its moves and moments come from the seed."""
        config, scorer = self.config, scorer or NeverSure()
        decision, liveness = config.decision, config.liveness
        decider = Decider(
            decision_rule(config, self.networks),
            liveness=LivenessRule(mode=mode, unsure=scorer.unsure, attack=scorer.attack),
            challenge=ChallengeRule(moves=liveness.moves, answer_s=liveness.answer_s, blink=liveness.blink),
            chance=random.Random(seed),
            refusals=refusals or Refusals(Count(), lambda _: None),
        )
        return Door(
            finder=Finder(
                detector=self.networks,
                aligner=self.networks,
                limits=quality_limits(config.quality),
                second_face_ratio=decision.second_face_ratio,
            ),
            tracker=Tracker(
                max_gap_s=decision.track_gap_s,
                min_overlap=decision.track_overlap,
                same_face=self.networks.manifest.threshold(SAME_PERSON_FMR),
            ),
            intent=IntentRule(near_share=config.intent.near_share, max_yaw_deg=config.intent.max_yaw_deg),
            liveness=scorer,
            embedder=self.networks,
            gallery=self.gallery,
            decider=decider,
            prompt=Prompt(),
            admission=AdmitAll(),
            lock=self.lock,
        )


@contextlib.contextmanager
def stages(actor: Actor, config: Config) -> Iterator[Stages]:
    """Load the networks and enroll the actor in a gallery of its own."""
    with tempfile.TemporaryDirectory(prefix="face-unlock-replay-") as folder, contextlib.ExitStack() as undo:
        config = replace(config, gallery=str(Path(folder) / "gallery.db"))
        embedder = build_embedder(config)
        aligner = build_aligner(config, embedder.manifest.side_px)
        networks = Once(build_detector(config), aligner, embedder)
        undo.callback(networks.close)
        gallery = build_gallery(config, embedder.manifest, read_only=False)
        undo.callback(gallery.close)
        lock = build_front(config, pin_factory=MockFactory())
        undo.callback(lock.close)
        frame = actor.head(Look())
        face = networks.align(frame, networks.detect(frame)[0])
        gallery.enroll(SUBJECT, networks.embed(face.image)[None], replace=False)
        yield Stages(config=config, networks=networks, gallery=gallery, lock=lock)


def replay(frames: Iterable[Frame], device: Door) -> list[Decision]:
    """Return the decision about each recorded frame, handed in at its own time."""
    return [handle_frame(frame, device, frame.captured_at_s) for frame in frames]


def perform(
    performer: Performer, doors: Sequence[Door], seconds: float, fps: float = FPS
) -> list[list[Decision]]:
    """Let somebody act before the doors, who sees what the first one asks for; return each door's decisions.

    It ends when the first door grants.
    """
    decisions: list[list[Decision]] = [[] for _ in doors]
    for index in range(round(seconds * fps)):
        at_s = index / fps
        asked = decisions[0][-1].challenge if index else None
        frame = Frame(performer(at_s, asked), at_s, index)
        for seen, door in zip(decisions, doors, strict=True):
            seen.append(handle_frame(frame, door, at_s))
        if decisions[0][-1].granted:
            break
    return decisions


def exact_interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a share, by halving: no library of the board knows the beta function."""

    def tail(share: float, most: int) -> float:  # probability of at most so many hits
        logs = (
            math.lgamma(count + 1)
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(share)
            + (count - k) * math.log1p(-share)
            for k in range(most + 1)
        )
        return math.fsum(math.exp(each) for each in logs)

    def solve(most: int, wanted: float) -> float:
        low, high = 1e-12, 1 - 1e-12
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if tail(middle, most) > wanted else (low, middle)
        return (low + high) / 2

    edge = (1 - confidence) / 2
    return (
        0.0 if hits == 0 else solve(hits - 1, 1 - edge),
        1.0 if hits == count else solve(hits, edge),
    )


def run_attacks(made: Stages, actor: Actor, count: int, seed: int, seconds: float) -> int:
    """Hold `count` pictures up before a door of each mode; say how many opened one, and how far they got."""
    opened: dict[str, list[str]] = {mode: [] for mode in MODES}
    asked = 0
    for number in tqdm(range(seed, seed + count), disable=not sys.stderr.isatty()):
        picture = HeldPicture(actor, random.Random(number))
        doors = [made.door(mode, number) for mode in MODES]
        seen = dict(zip(MODES, perform(picture, doors, seconds), strict=True))
        asked += any(each.challenge for each in seen["always"])
        for mode, decisions in seen.items():
            if any(each.granted for each in decisions):
                opened[mode].append(f"seed {number} ({picture.style})")
    for mode, found in opened.items():
        low, high = exact_interval(len(found), count)
        print(
            f"mode {mode}: {len(found)} of {count} held pictures opened the door, 95 % interval "
            f"[{100 * low:.2f}, {100 * high:.2f}] %{': ' if found else ''}{', '.join(found)}",
            flush=True,
        )
    print(f"{asked} of {count} came as far as a move that was asked for")
    return sum(map(len, opened.values()))


def run_live(made: Stages, actor: Actor, count: int, seed: int) -> int:
    """Replay heads, and say how many of each kind were granted; return how many should not have been."""
    granted = dict.fromkeys(people(actor, 0), 0)
    for number in range(seed, seed + count):
        for name, person in people(actor, number).items():
            granted[name] += perform(person, [made.door("always", number)], 16.0)[0][-1].granted
    for name, hits in granted.items():
        low, high = exact_interval(hits, count)
        print(
            f"a head that {name}: {hits} of {count} granted, 95 % interval [{100 * low:.1f}, {100 * high:.1f}] %"
        )
    return sum(hits for name, hits in granted.items() if name != "obeys")


def run_figures(made: Stages, actor: Actor) -> None:
    """Print what a turn looks like to mesh and parallax, of a head and of a picture."""

    def see(frame: Image) -> AlignedFace | None:
        found = made.networks.detect(frame)
        return made.networks.align(frame, found[0]) if found else None

    turns = [{"yaw_deg": each} for each in (8, 15, 20, 25, -20, -25)]
    turns += [{"pitch_deg": each} for each in (12, 18, -12, -18)]
    far = [{"yaw_deg": each} for each in (35, 45, -45)] + [{"pitch_deg": each} for each in (30, 45, -30, -45)]
    bent = [{"yaw_deg": 25, "bend_deg": 60}, {"yaw_deg": 20, "bend_deg": 160}]
    for draw, looks in ((actor.head, turns), (actor.picture, [*turns, *far, *bent])):
        start = see(draw(Look()))
        for values in looks:
            face = see(draw(Look(**values)))
            if face is None or start is None:
                continue
            parallax = measure(start.mesh, face.mesh)
            yaw, pitch = face.pose.yaw_deg - start.pose.yaw_deg, face.pose.pitch_deg - start.pose.pitch_deg
            print(
                f"{draw.__name__:8}{values!s:34} measured yaw {yaw:6.1f} pitch {pitch:6.1f}  misfit "
                f"{parallax.misfit:.3f}  motion {parallax.motion:.3f}  depth {parallax.depth:.2f}"
            )


def run_clip(made: Stages, path: str) -> None:
    """Print each change of a clip's decisions; the clip is read as fast as it can be."""
    camera = open_camera(path, width=640, height=480, stall_timeout_s=5.0, controls={}, paced=False)
    last = None
    try:
        for number, decision in enumerate(replay(camera.frames(), made.door("challenge", 0))):
            if decision.reason is not last:
                print(
                    f"frame {number}: {decision.reason}{f' {decision.challenge}' if decision.challenge else ''}"
                )
            last = decision.reason
    finally:
        camera.close()


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, and return 1 when somebody got in who may not."""
    parser = Parser(prog="replay.py", description="Replay frames through the decision.")
    parser.add_argument("clip", nargs="?", help="a recorded clip, against a gallery of the photograph alone")
    parser.add_argument("--photograph", type=Path, default=PHOTOGRAPH, help="one face, enrolled and held up")
    parser.add_argument(
        "--attacks", type=int, default=0, metavar="N", help="replays of held pictures, in each mode"
    )
    parser.add_argument("--live", type=int, default=0, metavar="N", help="replays of heads of each kind")
    parser.add_argument("--figures", action="store_true", help="print what pose and parallax say")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one attack (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the first replay; the next ones count up")
    parser.add_argument("--alignment", choices=("mesh", "landmarks"), default="mesh")
    return programs.run("replay", lambda: act(parser.parse_args(arguments)))


def act(args: argparse.Namespace) -> int:
    """Replay, and return 1 when somebody got in who may not."""
    config = Config(
        alignment=args.alignment, detector=DetectorConfig(kind="litert"), liveness=LivenessConfig()
    )
    if min(args.attacks, args.live, args.seed) < 0 or not 1 <= args.seconds <= 600:
        raise UsageError("--attacks, --live, --seed: expected 0 or more, --seconds: 1 to 600: change them")
    actor, wrong = load_actor(args.photograph), 0
    with stages(actor, config) as made:
        if args.figures:
            run_figures(made, actor)
        if args.live:
            wrong += run_live(made, actor, args.live, args.seed)
        if args.attacks:
            wrong += run_attacks(made, actor, args.attacks, args.seed, args.seconds)
        if args.clip:
            run_clip(made, args.clip)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
