"""Measure where light and a wrong way up cost recognition: what the limits of device/vision/quality.py are chosen by.

    python scripts/measure/evaluate_gates.py --lfw FOLDER [--people 40]

FOLDER holds `lfw.zip` and `lfw_pairs.txt`. Only people of the half to choose on are shown. Of each the first photograph
is the template; the second is taken again by a sensor with shot and read noise: in less and less light, as it is and
brightened again; in more and more light; with the skin relit to tones of the Monk scale; and upside down. Prints how
much similarity is lost, and which share is no longer matched at FMR 1e-5.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import numpy.typing as npt

from device.build import build_embedder, build_finder
from device.config import Config
from device.enroll.collector import template
from device.errors import FaceUnlockError, UsageError
from device.numeric.intervals import clopper_pearson
from device.programs import Parser
from device.types import AlignedFace, Embedding, Image, Quality
from device.vision.quality import assess
from scripts.evaluate import nearest_center

FMR = 1e-5
DIMMER = tuple(0.5**step for step in range(8))
BRIGHTER = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
SENSORS = {"good": (8000, 3), "cheap": (1500, 6)}  # electrons of white, read noise in electrons
MOST_GAIN = 16
TONES = {"Monk 1": "f6ede4", "Monk 5": "d7bd96", "Monk 7": "825c43", "Monk 9": "3a312a", "Monk 10": "292420"}
SIGNALS = (0, 1, 1.5, 2, 2.5, 3, 4, 6, 8, 40)
WHITES = (0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)

Light = npt.NDArray[np.float64]  # (H, W, 3), linear, 1 is white


@dataclass(frozen=True)
class Shown:
    """One photograph taken again: how, what the door measures of it, and the similarities before and after."""

    how: str
    quality: Quality
    similarity: float
    as_it_was: float


def to_light(image: npt.ArrayLike) -> Light:
    return np.asarray((np.asarray(image) / 255.0) ** 2.2, np.float64)


def take(light: Light, sensor: str, gain: float, rng: np.random.Generator) -> Image:
    """Return the picture that a sensor takes, JPEG quality 80."""
    electrons, read_noise = SENSORS[sensor]
    arrived = rng.poisson(np.clip(light, 0, 1) * electrons) + rng.normal(0, read_noise, light.shape)
    pixels = (255 * np.clip(arrived / electrons * gain, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def lights(image: Image, face: AlignedFace) -> Iterator[tuple[str, Light, str, float]]:
    """Yield every way in which a photograph is shown: name, light, sensor and gain."""
    light = to_light(image)
    for sensor in SENSORS:
        for exposure in DIMMER:
            for gain in sorted({1.0, min(1 / exposure, MOST_GAIN)}):
                yield "dim", light * exposure, sensor, gain
    for exposure in BRIGHTER:
        yield "bright", light * exposure, "good", 1.0
    skin = to_light(face.measured[36:104, 26:86]).mean(axis=(0, 1))
    for name, color in TONES.items():
        relit = light * to_light(np.frombuffer(bytes.fromhex(color), np.uint8)) / skin
        for sensor in SENSORS:
            yield f"{name}, {sensor} sensor", relit, sensor, 1.0


class Measurement:
    """Show the photographs of people to the door's finder and embedder."""

    def __init__(self, archive: Path) -> None:
        config = Config()
        self.embedder = build_embedder(config)
        self.finder = build_finder(config, self.embedder.manifest.side_px)
        self.archive = zipfile.ZipFile(archive)
        self.threshold = self.embedder.manifest.threshold(FMR)

    def photograph(self, name: str, number: int) -> Image:
        data = np.frombuffer(self.archive.read(f"{name}/{name}_{number:04d}.webp"), np.uint8)
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def face(self, image: Image) -> tuple[AlignedFace, Quality, bool] | None:
        """Return the face nearest the middle, what is measured of it, and whether it is upright."""
        detections = self.finder.detector.detect(image)
        if not detections:
            return None
        detection = nearest_center(detections, image)
        face = self.finder.aligner.align(image, detection)
        upright = self.finder.aligner.is_upright(image, detection, face)
        return face, assess(face, detection, self.finder.limits), upright

    def show(self, pair: tuple[str, int, int], rng: np.random.Generator) -> Iterator[Shown]:
        """Yield what becomes of a person's second photograph in every light."""
        name, first, second = pair
        image = self.photograph(name, second)
        enrolled, seen = self.face(self.photograph(name, first)), self.face(image)
        if enrolled is None or seen is None:
            return
        known = template(self.embedder, enrolled[0].image)
        as_it_was = self.similarity(known, seen[0])
        if as_it_was < self.threshold:
            return
        for how, light, sensor, gain in lights(image, seen[0]):
            again = self.face(take(light, sensor, gain, rng))
            if again is not None:
                yield Shown(how, again[1], self.similarity(known, again[0]), as_it_was)

    def similarity(self, known: Embedding, face: AlignedFace) -> float:
        return float(known @ self.embedder.embed(face.image))

    def turned(self, pair: tuple[str, int, int]) -> dict[str, bool]:
        """Return whether a face that passes all other checks passes for upright, as it is and upside down."""
        image = self.photograph(pair[0], pair[1])
        shown = {"upright": image, "upside down": np.ascontiguousarray(image[::-1, ::-1])}
        faces = {way: self.face(picture) for way, picture in shown.items()}
        return {way: seen[2] for way, seen in faces.items() if seen is not None and seen[1].stop is None}


def pairs(file: Path, people: int) -> list[tuple[str, int, int]]:
    """Return a pair of photographs of each of so many people of the half to choose on."""
    chosen: dict[str, tuple[str, int, int]] = {}
    for line in file.read_text().splitlines()[1:]:
        words = line.split("\t")
        if len(words) == 3 and zlib.crc32(words[0].encode()) % 2 == 0:
            chosen.setdefault(words[0], (words[0], int(words[1]), int(words[2])))
    return list(chosen.values())[:people]


def line(title: str, shown: list[Shown], threshold: float) -> str:
    """Say in a row of a table what was lost."""
    lost = sum(each.similarity < threshold for each in shown)
    low, high = (100 * end for end in clopper_pearson(lost, len(shown)))
    loss = np.median([each.as_it_was - each.similarity for each in shown])
    light = np.median([each.quality.brightness for each in shown])
    refused = sum(each.quality.stop is not None for each in shown)
    return (
        f"| {title} | {len(shown)} | {light:.0f} | {loss:.2f} | {100 * lost / len(shown):.0f} ({low:.0f} to {high:.0f})"
        f" | {refused} |"
    )


def tables(shown: list[Shown], threshold: float) -> Iterator[str]:
    """Yield the tables by signal, by white, and by tone."""
    header = (
        "| {} | pictures | brightness | similarity lost | no longer matched, % (95 %) | refused |\n"
        + 6 * "|---"
        + "|"
    )
    for how, title, edges in (("dim", "signal", SIGNALS), ("bright", "white", WHITES)):
        yield header.format(title)
        for low, high in pairwise(edges):
            value = "signal" if how == "dim" else "white"
            within = [s for s in shown if s.how == how and low <= getattr(s.quality, value) < high]
            if within:
                yield line(f"{low:g} to {high:g}", within, threshold)
    yield header.format("skin")
    for name in dict.fromkeys(each.how for each in shown if each.how.startswith("Monk")):
        yield line(name, [each for each in shown if each.how == name], threshold)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--lfw", type=Path, required=True, metavar="FOLDER", help="lfw.zip and lfw_pairs.txt")
    parser.add_argument("--people", type=int, default=40, metavar="N", help="so many are shown (40)")
    options = parser.parse_args(arguments)
    try:
        if not (options.lfw / "lfw_pairs.txt").is_file():
            raise UsageError(f"--lfw {options.lfw}: expected lfw.zip and lfw_pairs.txt in it")
        measurement, rng = Measurement(options.lfw / "lfw.zip"), np.random.default_rng(0)
        chosen = pairs(options.lfw / "lfw_pairs.txt", options.people)
        print(
            "\n".join(
                tables([s for pair in chosen for s in measurement.show(pair, rng)], measurement.threshold)
            )
        )
        ways = [measurement.turned(pair) for pair in chosen]
    except FaceUnlockError as fault:
        print(f"evaluate_gates.py: {fault}", file=sys.stderr)
        return fault.exit_code
    for way in ("upright", "upside down"):
        verdicts = [each[way] for each in ways if way in each]
        print(f"{way}: {sum(verdicts)} of {len(verdicts)} that pass every other check are taken for upright")
    return 0


if __name__ == "__main__":
    sys.exit(main())
