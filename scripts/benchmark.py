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

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# First, since it sets the threads of numpy's libraries, which they read when they are loaded.
from scripts.measure.timed import (  # isort: skip
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    AbsentError,
    Call,
    Seconds,
    dlib_call,
    embed_call,
    fill_gallery,
    interleave,
    machine,
    match_call,
    median_interval,
    network_call,
    photograph,
    pinned,
    read_call,
)

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import FaceUnlockError
from device.programs import Parser, check_told, run
from device.types import Decision, Frame, Reason
from device.vision.embed import LiteRTEmbedder

MANIFEST = ROOT / "models" / "weights" / "mobilefacenet.json"
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
