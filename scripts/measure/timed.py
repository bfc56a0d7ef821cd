"""What scripts/benchmark.py times, and how: calls in turn, in bursts, with a cold cache between."""

from __future__ import annotations

import os

for _library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM"):  # read once, when numpy is loaded
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import UsageError
from device.gallery.gallery import Gallery
from device.numeric.similarity import l2_normalize
from device.vision.embed import LiteRTEmbedder
from device.vision.picture import read_picture
from device.vision.runtime import load_interpreter

FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 640, 480
BURST = 3  # calls timed together, after one that warms the caches up
TEMPLATES_PER_SUBJECT = 1000
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
