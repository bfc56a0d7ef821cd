"""Measure speed and size on this machine; ratios come from interleaved rounds of one run on one core.

    python scripts/benchmark.py [--json] [--quick] [--models FOLDER] [--photo FILE] [--manifest FILE]
        [--rounds N]
    python scripts/benchmark.py --make-models FOLDER     # once, where torch and litert-torch are installed

`--models` holds the same network in other forms, to compare: `mobilefacenet_fp32.tflite`, and
`mobilefacenet_prelu.tflite` (int8 with PReLU as one operator). `--make-models` writes both with random weights, which
cost the same time. What cannot be measured is listed with its reason, not left out. `--quick` shows that everything
runs: its numbers mean nothing, so no target is judged.

`--json` prints one object:

    machine   platform, processor, cores, python, litert
    settings  rounds, templates_small, templates_large, model_id
    times_ms  of each row: median, low, high (95 % interval of the median), rounds
    ratios    of each pair: median, low, high, target, met
    process   cold_start_s (start of Python to first decision), rss_mib, cpu_share_10fps (empty scene,
              share of one core)
    absent    row: why it was not measured, and what to do
"""

from __future__ import annotations

import os

for _library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM"):  # read once, when numpy is loaded
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import FaceUnlockError, UsageError
from device.gallery.gallery import Gallery
from device.numeric.similarity import l2_normalize
from device.programs import Parser, check_told, run
from device.types import Decision, Frame, Reason
from device.vision.embed import LiteRTEmbedder
from device.vision.picture import read_picture
from device.vision.runtime import load_interpreter

MANIFEST = ROOT / "models" / "weights" / "mobilefacenet.json"
FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 640, 480
BURST = 3  # calls timed together, after one that warms the caches up
TEMPLATES_PER_SUBJECT = 1000
# Ratio: (numerator, denominator, target); "<=" and ">=" say on which side of the target is good.
RATIOS = {
    "prelu_int8_to_int8": ("network_prelu_int8", "network_int8", ">=", 15.0),
    "fp32_to_int8": ("network_fp32", "network_int8", ">=", 1.8),
    "decision_to_embed": ("frame_to_decision", "embed", "<=", 5.0),
    "match_to_read": ("match_large", "read_large", "<=", 2.0),
    "dlib_to_decision": ("dlib_frame", "frame_to_decision", ">=", None),
}
PURPOSE = {
    "network_int8": "the network alone, int8",
    "network_fp32": "the same network in fp32",
    "network_prelu_int8": "the same network with PReLU as one operator in int8",
    "embed": "aligned face to embedding",
    "frame_to_decision": "640x480 frame to decision, small gallery",
    "match_small": "match against the small gallery",
    "match_large": "match against the large gallery",
    "read_large": "read as many bytes as the large gallery has",
    "dlib_frame": "face_recognition (dlib): detect and encode the same frame",
}
WHOLE_WAY = (
    Reason.BELOW_THRESHOLD,
    Reason.CONFIRMING,
    Reason.GRANTED,
    Reason.COOLDOWN,
)  # no stage was left out

Call = Callable[[], object]
Seconds = npt.NDArray[np.float64]


class AbsentError(Exception):
    """A row cannot be measured here; the text says why and what to do."""


def interleave(calls: dict[str, Call], rounds: int) -> dict[str, Seconds]:
    """Time each call in every round, in turn: what else the machine does falls on all of them alike."""
    seconds = {name: np.empty(rounds) for name in calls}
    for index in range(rounds):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            for _ in range(BURST):
                call()
            seconds[name][index] = (time.perf_counter() - start) / BURST
    return seconds


def median_interval(values: Seconds) -> dict[str, float]:
    """Return the median and its 95 % interval, from order statistics (binomial, normal approximation)."""
    ordered, count = np.sort(values), len(values)
    half = 0.98 * np.sqrt(count)
    low, high = int(max(0, np.floor(count / 2 - half))), int(min(count - 1, np.ceil(count / 2 + half)))
    return {"median": float(np.median(ordered)), "low": float(ordered[low]), "high": float(ordered[high])}


def network_call(model: Path) -> Call:
    """Return a call that runs a .tflite network once on noise, one thread."""
    if not model.exists():
        raise AbsentError(
            f"no {model.name} in {model.parent}: make it with --make-models, name its folder with --models"
        )
    interpreter = load_interpreter(model, 1)
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    noise = np.random.default_rng(0).integers(-128, 128, source["shape"]).astype(source["dtype"])
    pixels = noise if source["dtype"] == np.int8 else noise / np.float32(128)

    def run() -> object:
        interpreter.set_tensor(source["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return run


def embed_call(embedder: LiteRTEmbedder) -> Call:
    face = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return lambda: embedder.embed(face)


def read_call(count: int, dimension: int) -> Call:
    """Return the fastest way found to read `count` templates once: a dot product with themselves."""
    values = np.ones(count * dimension, np.float32)
    return lambda: np.dot(values, values)


def photograph(photo: Path | None) -> npt.NDArray[np.uint8]:
    """Return a (480, 640, 3) uint8 RGB frame of one face: the photograph, or matplotlib's Grace Hopper."""
    if photo is None:
        package = find_spec("matplotlib")  # not imported: it would count as the door's memory and start
        if package is None or package.origin is None:
            raise AbsentError("no photograph of a face: pip install matplotlib, or name one with --photo")
        photo = Path(package.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    try:
        picture = read_picture(photo)
    except UsageError as fault:
        raise AbsentError(f"{fault}, with --photo") from None
    scale = min(FRAME_WIDTH_PX / picture.shape[1], FRAME_HEIGHT_PX / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3), 127, np.uint8)
    left = (FRAME_WIDTH_PX - small.shape[1]) // 2
    frame[: small.shape[0], left : left + small.shape[1]] = small
    return frame


def fill_gallery(path: Path, embedder: LiteRTEmbedder, count: int) -> Gallery:
    """Make a gallery of `count` random templates."""
    dimension = embedder.manifest.embedding_dim
    gallery = Gallery(path, model_id=embedder.model_id, dimension=dimension, read_only=False)
    random = np.random.default_rng(count)
    for first in range(0, count, TEMPLATES_PER_SUBJECT):
        rows = random.normal(size=(min(TEMPLATES_PER_SUBJECT, count - first), dimension))
        gallery.enroll(f"subject {first}", l2_normalize(rows), replace=False)
    return gallery


def match_call(gallery: Gallery, dimension: int) -> Call:
    probe = l2_normalize(np.random.default_rng(7).normal(size=dimension))
    return lambda: gallery.match(probe)


def dlib_call(frame: npt.NDArray[np.uint8]) -> Call:
    try:
        import face_recognition
    except (ImportError, SystemExit) as fault:  # it calls quit() where its model package is missing
        raise AbsentError(
            "face_recognition is not installed: pip install face_recognition (builds dlib)"
        ) from fault
    return lambda: face_recognition.face_encodings(frame, face_recognition.face_locations(frame))


def child(*arguments: str) -> dict[str, Any]:
    """Run this script in a fresh process and return what it reports."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    lines = done.stdout.strip().splitlines()
    report: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    if done.returncode != 0 or "absent" in report:
        raise AbsentError(
            report.get("absent") or f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
        )
    return report


def rss_mib() -> float:
    """Return the memory this process holds now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


@contextmanager
def open_door(manifest: Path, gallery: Path) -> Iterator[Callable[[npt.NDArray[np.uint8]], Decision]]:
    """Build the device as unlock.py does, on gpiozero's mock pins; yield a call from frame to decision."""
    from gpiozero.pins.mock import MockFactory

    from device.build import build_door
    from device.config import Config
    from device.pipeline import handle_frame

    device = build_door(
        Config(model=str(manifest.resolve()), gallery=str(gallery.resolve())), pin_factory=MockFactory()
    )

    def decide(image: npt.NDArray[np.uint8]) -> Decision:
        now_s = time.monotonic()
        return handle_frame(Frame(image, captured_at_s=now_s), device, now_s)

    try:
        yield decide
    finally:
        device.close()


def report_one_decision(manifest: Path, gallery: Path, photo: Path | None) -> dict[str, Any]:
    with open_door(manifest, gallery) as decide:
        reason = decide(photograph(photo)).reason
        return {"reason": str(reason), "rss_mib": rss_mib()}


def report_empty_scene(manifest: Path, gallery: Path, seconds: float) -> dict[str, Any]:
    """Handle 10 frames/s of a scene without a face; return the processor time as a share of one core."""
    scene = np.random.default_rng(0).integers(90, 110, (FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3), dtype=np.uint8)
    with open_door(manifest, gallery) as decide:
        decide(scene)
        started_s, used_s = time.perf_counter(), time.process_time()
        for index in range(max(1, round(seconds * 10))):
            time.sleep(max(0.0, started_s + index / 10 - time.perf_counter()))
            decide(scene)
        time.sleep(max(0.0, started_s + seconds - time.perf_counter()))
        return {"cpu_share_10fps": (time.process_time() - used_s) / (time.perf_counter() - started_s)}


class Benchmark:
    """Collect rows, ratios and what is absent."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.calls: dict[str, Call] = {}
        self.absent: dict[str, str] = {}
        self.process: dict[str, float] = {}
        self.embedder = LiteRTEmbedder(manifest=options.manifest, threads=1)

    def add(self, name: str, make: Callable[[], Call]) -> None:
        try:
            self.calls[name] = make()
        except (AbsentError, FaceUnlockError) as why:
            self.absent[name] = str(why)

    def run(self) -> dict[str, Any]:
        options, dimension = self.options, self.embedder.manifest.embedding_dim
        models = options.models or options.manifest.parent
        small, large = options.templates
        with (
            fill_gallery(self.folder / "small.db", self.embedder, small) as few,
            fill_gallery(self.folder / "large.db", self.embedder, large) as many,
        ):
            self.measure_processes()
            with pinned():
                self.add("network_int8", lambda: network_call(self.embedder.manifest.file))
                self.add("network_fp32", lambda: network_call(models / "mobilefacenet_fp32.tflite"))
                self.add("network_prelu_int8", lambda: network_call(models / "mobilefacenet_prelu.tflite"))
                self.add("embed", lambda: embed_call(self.embedder))
                seconds = interleave(self.calls, options.rounds)
                self.calls = {}
                self.add("match_small", lambda: match_call(few, dimension))
                self.add("match_large", lambda: match_call(many, dimension))
                self.add("read_large", lambda: read_call(large, dimension))
                seconds |= interleave(self.calls, options.rounds)
                seconds |= self.door_rows()
        return self.report(seconds)

    def door_rows(self) -> dict[str, Seconds]:
        """Time whole frames beside the embedding of the same rounds, and dlib in a tenth of the rounds."""
        self.calls = {}
        try:
            frame = photograph(self.options.photo)
            with open_door(self.options.manifest, self.folder / "small.db") as decide:
                reason = decide(frame).reason
                if reason not in WHOLE_WAY:
                    raise AbsentError(
                        f"the photograph ends at {reason}, not at the decision: name another with --photo"
                    )
                self.calls["frame_to_decision"] = lambda: decide(frame)
                self.add("embed", lambda: embed_call(self.embedder))
                seconds = interleave(self.calls, self.options.rounds)
        except (AbsentError, FaceUnlockError) as why:
            self.absent["frame_to_decision"] = str(why)
            seconds = {}
        self.calls = {}
        self.add("dlib_frame", lambda: dlib_call(photograph(self.options.photo)))
        return seconds | interleave(self.calls, max(1, self.options.rounds // 10))

    def measure_processes(self) -> None:
        """Start fresh processes for the cold start, and one for the empty scene."""
        options = self.options
        common = ("--manifest", str(options.manifest), "--gallery", str(self.folder / "small.db"))
        photo = ("--photo", str(options.photo)) if options.photo else ()
        try:
            started, memory = [], 0.0
            for _ in range(options.starts):
                start = time.perf_counter()
                memory = child("--report", "decision", *common, *photo)["rss_mib"]
                started.append(time.perf_counter() - start)
            self.process |= {"cold_start_s": float(np.median(started)), "rss_mib": memory}
            scene = child("--report", "empty-scene", "--seconds", str(options.seconds), *common)
            self.process |= scene
        except AbsentError as why:
            for name in {"cold_start_s", "rss_mib", "cpu_share_10fps"} - set(self.process):
                self.absent[name] = str(why)

    def report(self, seconds: dict[str, Seconds]) -> dict[str, Any]:
        small, large = self.options.templates
        return {
            "machine": machine(),
            "settings": {
                "rounds": self.options.rounds,
                "templates_small": small,
                "templates_large": large,
                "model_id": self.embedder.model_id,
            },
            "times_ms": {
                name: median_interval(values * 1000) | {"rounds": len(values)}
                for name, values in seconds.items()
            },
            "ratios": ratios(seconds, judged=not self.options.quick),
            "process": self.process,
            "absent": self.absent,
        }


def ratios(seconds: dict[str, Seconds], *, judged: bool) -> dict[str, Any]:
    """Divide row by row, round by round; rows of different rounds are compared by their medians."""
    found = {}
    for name, (above, below, side, target) in RATIOS.items():
        if above not in seconds or below not in seconds:
            continue
        over, under = seconds[above], seconds[below]
        values = over / under if len(over) == len(under) else over / np.median(under)
        ratio: dict[str, Any] = median_interval(values)
        ratio["target"] = None if target is None else f"{side} {target:g}"
        is_high = target is not None and ratio["median"] >= target
        ratio["met"] = is_high == (side == ">=") if judged and target is not None else None
        found[name] = ratio
    return found


@contextmanager
def pinned() -> Iterator[None]:
    """Keep this process and its threads on one core, so that a second thread cannot hide work."""
    if not hasattr(os, "sched_setaffinity"):  # not Linux
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def machine() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        litert = version("ai-edge-litert")
    except PackageNotFoundError:
        litert = "tflite-runtime"
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "litert": litert,
    }


def processor() -> str:
    """Return the processor's name; boards say theirs in the device tree."""
    for path, sign in (("/proc/device-tree/model", ""), ("/proc/cpuinfo", "model name")):
        if Path(path).exists():
            for line in Path(path).read_text(errors="replace").splitlines():
                if line.startswith(sign) and line.strip("\0"):
                    return line.partition(":")[2].strip() if sign else line.strip("\0")
    return platform.processor() or platform.machine()


def table(report: dict[str, Any]) -> str:
    """Return the report as lines for a person."""
    settings = report["settings"]
    lines = [
        " ".join(f"{key}={value}" for key, value in report["machine"].items()),
        f"{settings['model_id']}; {settings['rounds']} rounds on one core; galleries of "
        f"{settings['templates_small']:,} and {settings['templates_large']:,} templates",
        "",
        f"{'median':>10} ms  {'95 % interval':>20}",
    ]
    for name, row in report["times_ms"].items():
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        lines.append(f"{row['median']:10.3f}     {interval:>20}  {name}: {PURPOSE[name]}")
    lines += ["", f"{'ratio':>10}     {'95 % interval':>20}"]
    for name, row in report["ratios"].items():
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        verdict = "" if row["met"] is None else f"{row['target']}: {'met' if row['met'] else 'MISSED'}"
        lines.append(f"{row['median']:10.2f}     {interval:>20}  {name}  {verdict}")
    lines += ["", *(f"{value:10.3f}  {name}" for name, value in report["process"].items())]
    lines += [f"{'-':>10}  {name}: {why}" for name, why in report["absent"].items()]
    return "\n".join(lines)


def make_models(folder: Path) -> None:
    """Write the networks to compare with, random weights: speed does not depend on them."""
    try:
        import torch

        from models.int8 import export
        from models.networks.mobilefacenet import MobileFaceNet
    except ImportError as fault:
        raise SystemExit(
            f"--make-models needs torch and litert-torch, received {fault}: see make test-train"
        ) from fault
    folder.mkdir(parents=True, exist_ok=True)
    faces = np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), dtype=np.uint8)
    torch.manual_seed(0)
    export.to_litert(MobileFaceNet(act="prelu").eval(), folder / "mobilefacenet_fp32.tflite")
    export.to_int8(folder / "mobilefacenet_fp32.tflite", faces, folder / "mobilefacenet_prelu.tflite")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds, small galleries: a check, no measurement"
    )
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="the model's manifest")
    parser.add_argument(
        "--models", type=Path, help="folder with the networks to compare (default: the manifest's)"
    )
    parser.add_argument(
        "--photo", type=Path, help="photograph of one face (default: matplotlib's Grace Hopper)"
    )
    parser.add_argument("--rounds", type=int, default=None, help="rounds per row (default: 100)")
    parser.add_argument(
        "--make-models", type=Path, metavar="FOLDER", help="write the networks to compare, and stop"
    )
    parser.add_argument("--report", choices=("decision", "empty-scene"), help=argparse.SUPPRESS)
    parser.add_argument("--gallery", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.rounds is not None and not 1 <= options.rounds <= 100_000:
        parser.error(f"--rounds expects 1 to 100000, received {options.rounds}")
    options.rounds = options.rounds or (3 if options.quick else 100)
    options.seconds = (0.5 if options.quick else 10.0) if options.seconds is None else options.seconds
    options.starts = 1 if options.quick else 5
    options.templates = (100, 1000) if options.quick else (1000, 100_000)
    return options


def report_of_child(options: argparse.Namespace) -> dict[str, Any]:
    try:
        if options.report == "decision":
            return report_one_decision(options.manifest, options.gallery, options.photo)
        return report_empty_scene(options.manifest, options.gallery, options.seconds)
    except (AbsentError, FaceUnlockError) as why:
        return {"absent": str(why)}


def main(argv: list[str] | None = None) -> int:
    """Measure, print the figures and return the exit code."""
    return run("benchmark.py", lambda: act(parse(argv)))


def act(options: argparse.Namespace) -> int:
    if options.make_models:
        make_models(options.make_models)
        return 0
    if options.report:
        print(json.dumps(report_of_child(options)))
        return 0
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = Benchmark(options, Path(folder)).run()
    print(json.dumps(report, indent=1) if options.json else table(report))
    check_told()
    return 0


if __name__ == "__main__":
    sys.exit(main())
