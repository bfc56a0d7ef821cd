"""Measure what an owner feels: from the moment a face is to be seen to the bolt, on boards of different speed.

    python scripts/measure/felt_latency.py --approaches 40 --frame-ms 12 50 100 200 400

A head made of one photograph stands before the door and sways; detector, mesh, embedder, gallery, tracker and decision
are the real ones, and what a frame costs is said in place of measured: each frame takes `--frame-ms` on a clock of its
own, and meanwhile the camera's frames pass by. So a fast machine shows what a slow one does. The passive network is
replaced by one that is sure ("proven": no challenge) or by one that never is ("challenge": the head obeys after half a
second). Each approach has its own seed, and comes at any moment of the frame before it.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.config import Config, DetectorConfig, LivenessConfig
from device.errors import UsageError
from device.pipeline import handle_frame
from device.programs import Parser, run
from device.types import Frame, Image
from scripts.replay import PHOTOGRAPH, NeverSure, Stages, stages
from scripts.stage.actors import Person
from scripts.stage.head import Actor, load_actor

CAMERA_FPS = 30.0
GIVES_UP_S = 30.0
DOORS = ("proven", "challenge")


class Sure(NeverSure):
    """The passive network of a proven door, before somebody alive."""

    def score(self, image: Image, box: tuple[float, float, float, float]) -> float:
        return 0.99


class Slow:
    """A clock by which everything between two looks at it takes the time of one frame."""

    def __init__(self, frame_s: float) -> None:
        self._now_s, self._frame_s = 0.0, frame_s

    def __call__(self) -> float:
        self._now_s += self._frame_s
        return self._now_s


def felt_s(made: Stages, actor: Actor, seed: int, frame_s: float, *, proven: bool) -> float:
    """Return how long one approach takes from the first moment of a face to the bolt, s; infinity for never."""
    chance = random.Random(seed)
    person = Person(actor, chance)
    door = made.door("challenge", seed, Sure() if proven else NeverSure())
    door.steady_s = Slow(frame_s)
    free_s = chance.uniform(0, frame_s)  # until then the door is busy with a frame of nobody
    frames, asked = 0, None
    while free_s < GIVES_UP_S:
        newest_s = math.floor(free_s * CAMERA_FPS) / CAMERA_FPS
        free_s = max(free_s, newest_s)
        decision = handle_frame(Frame(person(newest_s, asked), newest_s, frames), door, free_s)
        frames, asked = frames + 1, decision.challenge
        free_s += frame_s
        if decision.granted:
            return free_s
        free_s = max(free_s, newest_s + 1 / CAMERA_FPS)
    return math.inf


def main(arguments: list[str] | None = None) -> int:
    """Print median and 95th percentile for each time of a frame, and of each kind of door."""
    parser = Parser(prog="felt_latency.py", description=main.__doc__)
    parser.add_argument("--approaches", type=int, default=40, metavar="N", help="of each row (40)")
    parser.add_argument(
        "--frame-ms",
        type=float,
        nargs="+",
        default=[12, 50, 100, 200, 400],
        metavar="MS",
        help="of one frame",
    )
    parser.add_argument("--door", choices=DOORS, action="append", help="which one; default: both")
    parser.add_argument("--photograph", type=Path, default=PHOTOGRAPH, help="one face, enrolled and let in")
    return run("felt_latency", lambda: act(parser.parse_args(arguments)))


def act(args: argparse.Namespace) -> int:
    if args.approaches < 1 or not all(1 <= each <= 5000 for each in args.frame_ms):
        raise UsageError("expected --approaches of 1 or more and --frame-ms of 1 to 5000: change them")
    actor = load_actor(args.photograph)
    config = Config(detector=DetectorConfig(kind="litert"), liveness=LivenessConfig())
    print("| one frame | door | let in | median | 95 % within |\n|---|---|---|---|---|")
    with stages(actor, config) as made:
        for frame_ms in args.frame_ms:
            for door in args.door or DOORS:
                took = sorted(
                    felt_s(made, actor, seed, frame_ms / 1000, proven=door == "proven")
                    for seed in range(args.approaches)
                )
                within = [took[math.ceil(share * len(took)) - 1] for share in (0.5, 0.95)]
                opened = sum(map(math.isfinite, took))
                print(
                    f"| {frame_ms:g} ms | {door} | {opened} of {len(took)} | {told(within[0])} | {told(within[1])} |",
                    flush=True,
                )
    return 0


def told(seconds: float) -> str:
    return f"{seconds:.2f} s" if math.isfinite(seconds) else f"not in {GIVES_UP_S:g} s"


if __name__ == "__main__":
    sys.exit(main())
