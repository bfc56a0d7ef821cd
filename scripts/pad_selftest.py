"""Prove at this door that pictures are kept out: show it a print, a phone, a tablet and yourself.

    python scripts/pad_selftest.py                      at the configured camera, guided
    python scripts/pad_selftest.py --images FOLDER      photographs: FOLDER/print, phone, tablet and live

Each attack is shown at two distances: so near that it fills the view, and at arm's length. Each look is judged by the
door's own liveness network, at the camera as the door does it: by the mean logit of a few frames. Prints how often each
attack passed for alive (APCER) and you did not (BPCER), with exact 95 % intervals, and stores the verdict in the
gallery; a door without one, or with one of another network, is unproven (docs/how/security.md). Ends with 0 where the
door is proven, with 1 where it is not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from device import build
from device.access.selftest import ATTACKS, LARGEST_APCER, LIVE, SelfTest, SpeciesCount
from device.config import Config
from device.decide.fused_score import FusedScore
from device.errors import UsageError
from device.gallery.gallery import Gallery
from device.moment import in_utc
from device.numeric.geometry import CROP_SIZE_PX
from device.programs import Parser, ask_line, configured, keep_libraries_silent, run
from device.types import Image, Stop
from device.vision.embed import load_manifest
from device.vision.picture import read_picture

LOOKS = 36  # of each species; with fewer, not even a faultless run proves anything
FRAMES = 5  # of a look at the camera, as many as the door's decision has
SPACING_S = 1.0  # between two looks, so that what is shown can be moved
PATIENCE_S = 30.0  # without a usable face, a species is given up
DISTANCES = (
    "so near that it fills the view and no edge is seen",
    "at arm's length",
)  # whoever knows, comes near
GUIDE = {
    "print": "a photograph of an enrolled face, printed on paper",
    "phone": "the photograph on a phone's screen",
    "tablet": "the photograph on a tablet's or laptop's screen",
    LIVE: "your own face",
}


class Judge:
    """Look at an image as the door does, and say whether its face passes for live."""

    def __init__(self, config: Config) -> None:
        self.scorer = liveness_scorer(config)
        self.model_id = load_manifest(build.manifest_path(config.model)).model_id
        self._finder = build.build_finder(config, CROP_SIZE_PX)

    def score(self, image: Image) -> tuple[float | None, str]:
        """Return the score of the face, None and why where there is no usable one."""
        found = self._finder.find(image)
        if isinstance(found.face, Stop):
            return None, found.face.hint
        return self.scorer.score(image, found.box), ""

    def passes(self, scores: list[float]) -> bool:
        """Say whether a face of these scores passes without a challenge."""
        fused = FusedScore(len(scores))
        for score in scores:
            fused.add(score)
        return fused.reaches(self.scorer.unsure)

    def close(self) -> None:
        self._finder.close()


def liveness_scorer(config: Config) -> Any:
    """Load the door's liveness network."""
    builder = getattr(build, "build_liveness", None)
    scorer = builder(config) if builder else None
    if scorer is None:
        why = "liveness is off in the configuration" if builder else "this release has no liveness network"
        raise UsageError(f"there is nothing to test: {why}: turn it on, or update")
    return scorer


def from_images(folder: Path, judge: Judge) -> list[SpeciesCount]:
    """Judge every photograph of each species' folder."""
    if not any((folder / species).is_dir() for species in GUIDE):
        raise UsageError(f"--images {folder}: expected folders {', '.join(GUIDE)} in it, received none")
    counts = []
    for species in GUIDE:
        passed = []
        for path in sorted(each for each in (folder / species).glob("*") if each.is_file()):
            score, why = judge.score(read_picture(path))
            if score is None:
                say(f"{path}: not counted: {why}")
            else:
                passed.append(judge.passes([score]))
        counts.append(counted(species, passed))
    return counts


def at_camera(config: Config, judge: Judge, looks: int, ask: Callable[[str], str]) -> list[SpeciesCount]:
    """Guide the owner through all species."""
    counts = []
    for number, (species, what) in enumerate(GUIDE.items(), 1):
        places = ("as you would stand at the door",) if species == LIVE else DISTANCES
        passed: list[bool] = []
        for place, share in zip(places, shares(looks, len(places)), strict=True):
            ask(f"{number} of {len(GUIDE)}: show {what}, {place}, then press Enter ")
            with closing(build.build_camera(config)) as camera:
                passed += watch((frame.image for frame in camera.frames()), judge, share)
        counts.append(counted(species, passed))
    return counts


def shares(looks: int, places: int) -> list[int]:
    """Share looks out evenly, the first place getting what is left over."""
    return [looks - (places - 1) * (looks // places), *[looks // places] * (places - 1)]


def watch(images: Iterator[Image], judge: Judge, looks: int) -> Iterator[bool]:
    """Yield one verdict each SPACING_S, until there are `looks`, the images end or no face is seen for long."""
    seen, next_s, told = 0, time.monotonic(), ""
    scores: list[float] = []
    for image in images:
        now_s = time.monotonic()
        if now_s > next_s + PATIENCE_S:
            say(f"  no usable face for {PATIENCE_S:g} s: going on with {seen} of {looks} looks")
            return
        if now_s < next_s:
            continue
        score, why = judge.score(image)
        if score is None:
            if why != told:
                say(f"  {why}")
            told, scores = why, []
            continue
        scores.append(score)
        if len(scores) < FRAMES:
            continue
        seen, next_s, told = seen + 1, now_s + SPACING_S, ""
        say(f"  {seen} of {looks}: tilt it, turn it a little, change the light")
        yield judge.passes(scores)
        scores = []
        if seen == looks:
            return


def counted(species: str, passed: list[bool]) -> SpeciesCount:
    """Count the looks that were judged wrongly: attacks that passed, live faces that did not."""
    wrong = sum(each is not (species == LIVE) for each in passed)
    return SpeciesCount(species, len(passed), wrong)


def line(count: SpeciesCount) -> str:
    """Say what a count proves."""
    what = "not taken for alive" if count.species == LIVE else "taken for a living face"
    if not count.shown:
        return f"{count.species}: nothing seen, proves nothing"
    low, high = (100 * end for end in count.interval)
    share = 100 * count.wrong / count.shown
    proves = (
        f"{share:.1f} %, and after so many looks {low:.1f} to {high:.1f} % is possible"
        if count.wrong
        else f"after so many looks up to {high:.1f} % is possible"
    )
    return f"{count.species}: {count.wrong} of {count.shown} {what}: {proves}"


def verdict_line(verdict: SelfTest, config: Config) -> str:
    """Say what follows for the door."""
    if verdict.passed:
        return (
            f"proven with {verdict.liveness_id}: this door opens without a challenge to an enrolled face that looks "
            "clearly live, and asks everybody else for a move; restart the door to let it know"
        )
    weak = [
        each.species
        for each in verdict.counts
        if each.species in ATTACKS and each.interval[1] > LARGEST_APCER
    ]
    challenged = config.liveness.unproven == "challenge"
    follows = "this door asks everybody for a move" if challenged else "this door goes on as configured"
    return f"not proven ({', '.join(weak)}: above {100 * LARGEST_APCER:g} % is possible): {follows}"


def open_gallery(config: Config) -> Gallery:
    return build.open_any_gallery(config, read_only=False)


def ask_owner(prompt: str) -> str:
    """Wait for Enter."""
    return ask_line(prompt, instead="--images")


def say(text: str) -> None:
    print(text, flush=True)


def selftest(config: Config, images: Path | None, looks: int, ask: Callable[[str], str]) -> SelfTest:
    """Run the test, print what it proves and store the verdict."""
    if not config.gallery_path.exists():
        raise UsageError(f"gallery {config.gallery_path} does not exist: enroll somebody first")
    with closing(Judge(config)) as judge, open_gallery(config) as gallery:
        counts = from_images(images, judge) if images else at_camera(config, judge, looks, ask)
        now = datetime.now(timezone.utc)
        verdict = SelfTest(in_utc(now), judge.scorer.model_id, judge.model_id, tuple(counts))
        gallery.store_selftest(verdict)
    for count in counts:
        say(line(count))
    say(verdict_line(verdict, config))
    return verdict


def command_line() -> Parser:
    parser = Parser(prog="pad_selftest.py", description="Prove at this door that pictures are kept out.")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="photographs: print/, phone/ ...")
    parser.add_argument("--looks", type=int, metavar="N", help=f"of each species ({LOOKS})")
    parser.share("--camera", "--gallery", "--config")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_line()
    args = parser.parse_args(arguments)
    if args.images is not None:
        parser.refuse_others(args, "--images", {"images", "gallery", "config"})
    args.looks = LOOKS if args.looks is None else args.looks
    return args


def main(arguments: list[str] | None = None, *, ask: Callable[[str], str] = ask_owner) -> int:
    """Run the self-test and return the exit code; `ask` waits for the owner."""
    unchanged = "interrupted: nothing was stored"
    return run("pad_selftest", lambda: act(parse(arguments), ask), interrupted=unchanged)


def act(args: argparse.Namespace, ask: Callable[[str], str]) -> int:
    if not 1 <= args.looks <= 1000:
        raise UsageError(f"--looks: expected 1 to 1000, received {args.looks}")
    return 0 if selftest(configured(args), args.images, args.looks, ask).passed else 1


if __name__ == "__main__":
    keep_libraries_silent()
    sys.exit(main())
