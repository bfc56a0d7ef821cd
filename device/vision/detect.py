"""MediaPipe's short-range face detector (BlazeFace, arXiv 1907.05047), through two runtimes.

`TasksDetector` runs it in MediaPipe Tasks, `LiteRTDetector` runs the same file on LiteRT alone, for boards
where the mediapipe wheel cannot be loaded (a Raspberry Pi 4 among them). A test holds their results together.
"""

from __future__ import annotations

import contextlib
import platform
import sys
import weakref
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import ConfigError, ModelError, UsageError
from device.numeric.geometry import DETECTOR_INPUT_PX, decode_candidates, detector_anchors, weighted_nms
from device.protocols import Detector
from device.types import FaceDetection, Image
from device.vision.runtime import load_interpreter, quiet_stderr, tensor_indexes

MIN_OVERLAP = 0.3  # IoU above which two candidates are one face: MediaPipe's default
MAX_SIDE_PX = 32_766  # OpenCV warps up to here; Tasks aborts the whole process beyond
_INPUT_SHAPE = (1, DETECTOR_INPUT_PX, DETECTOR_INPUT_PX, 3)
_REGRESSOR_SHAPE, _LOGIT_SHAPE = (1, 896, 16), (1, 896, 1)


def open_detector(kind: str, model: Path, min_score: float, threads: int) -> Detector:
    """Return the detector of `kind`: "tasks", "litert", or "auto" for Tasks where it can run."""
    if kind == "tasks":
        if not has_atomics():  # its import would end the process, SIGILL
            raise ConfigError(
                'detector.kind: "tasks" cannot run on this processor (no atomic instructions: Raspberry Pi 3 and 4, '
                'Jetson Nano), expected "litert" or "auto": the same network on another runtime'
            )
        return TasksDetector(model=model, min_score=min_score)
    if kind == "auto" and can_run_tasks():
        try:
            return TasksDetector(model=model, min_score=min_score)
        except TasksUnavailableError:
            pass  # installed, but one of the system's libraries is missing: LiteRT needs none
    if kind in ("auto", "litert"):
        return LiteRTDetector(model=model, min_score=min_score, threads=threads)
    raise ValueError(f'detector kind expects "auto", "tasks" or "litert", received {kind!r}')


def can_run_tasks(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> bool:
    """Say whether mediapipe can be imported here, without importing it."""
    return find_spec("mediapipe") is not None and has_atomics(cpuinfo, machine)


def has_atomics(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> bool:
    """Say whether this processor has what mediapipe's wheel is compiled for.

    The aarch64 wheel is compiled for atomic instructions (LSE, ARMv8.1) and aborts the whole process where
    they are missing: Cortex-A53 and A72, that is Raspberry Pi 3 and 4, and Jetson Nano.
    """
    if (machine or platform.machine()) != "aarch64":
        return True
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return False
    features = [line.split(":", 1)[-1].split() for line in lines if line.startswith("Features")]
    return bool(features) and all("atomics" in core for core in features)


class TasksUnavailableError(ModelError):
    """The mediapipe package cannot be loaded on this machine."""


class TasksDetector:
    """MediaPipe Tasks' FaceDetector in video mode.

    The mode asks for rising timestamps but neither tracks nor smooths: a picture gives the same detections
    whatever came before it (a test says so). So the timestamp is the number of the call, and the capture time
    stays with Frame.
    """

    def __init__(self, *, model: Path, min_score: float) -> None:
        _check_network(load_interpreter(model, 1), model)  # Tasks names a bad file late, and in a screenful
        self._mediapipe, vision, base_options = _import_tasks()
        options = vision.FaceDetectorOptions(
            base_options=base_options(model_asset_path=str(model)),
            running_mode=vision.RunningMode.VIDEO,
            min_detection_confidence=min_score,
            min_suppression_threshold=MIN_OVERLAP,
        )
        self._calls = 0
        with quiet_stderr():  # it logs while it is built, and once more at a first picture
            try:
                self._detector = vision.FaceDetector.create_from_options(options)
            except (RuntimeError, ValueError) as fault:
                detail = " ".join(str(fault).split())[:120]
                raise ModelError(
                    f"{model}: expected MediaPipe's face detector, received a file that Tasks refuses "
                    f"({detail}): run scripts/fetch_models.py"
                ) from fault
            self._finalize = weakref.finalize(self, _close_tasks, self._detector)
            for side_px in (128, 480, 64):  # one remark comes at the first buffer that is not aligned
                self.detect(np.zeros((side_px, side_px, 3), np.uint8))

    def detect(self, image: Image) -> list[FaceDetection]:
        """Return the faces of an (H, W, 3) uint8 RGB image, best score first.

        Boxes come in whole pixels; one that hangs over the left or top edge is moved into the image.
        """
        height_px, width_px = _check_image(image)
        picture = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        self._calls += 1
        found = self._detector.detect_for_video(picture, self._calls)
        faces = [_from_tasks(face, width_px, height_px) for face in found.detections]
        return sorted(faces, key=lambda face: -face.score)

    def close(self) -> None:
        """Free the graph; the detector cannot be used afterwards."""
        self._finalize()


class LiteRTDetector:
    """The same model file on LiteRT: letterbox, decode, weighted suppression."""

    def __init__(self, *, model: Path, min_score: float, threads: int) -> None:
        self._interpreter = load_interpreter(model, threads)
        self._min_score = min_score
        self._anchors = detector_anchors()
        self._input, self._regressors, self._logits = _check_network(self._interpreter, model)

    def detect(self, image: Image) -> list[FaceDetection]:
        """Return the faces of an (H, W, 3) uint8 RGB image, best score first; a box may hang over the edge."""
        _check_image(image)
        square, scale, left_px, top_px = letterbox(image)
        self._interpreter.set_tensor(self._input, square)
        self._interpreter.invoke()
        regressors = self._interpreter.get_tensor(self._regressors)[0]
        logits = self._interpreter.get_tensor(self._logits)[0, :, 0]
        candidates = decode_candidates(regressors, logits, self._anchors, self._min_score)
        origin = np.array([left_px, top_px])
        return [
            _from_corners(corners.reshape(8, 2) * scale + origin, score)
            for corners, score in weighted_nms(*candidates, MIN_OVERLAP)
        ]

    def close(self) -> None:
        """Do nothing: an interpreter is freed with its last reference."""


def letterbox(image: Image) -> tuple[npt.NDArray[np.float32], float, float, float]:
    """Fit an image into the detector's square input as MediaPipe does: centered, bilinear, black margins.

    Returns:
        (1, 128, 128, 3) float32 in [-1, 1]; and image pixels per input pixel, the square's left, its top.
    """
    height_px, width_px = image.shape[:2]
    side_px = max(height_px, width_px)
    left_px, top_px = (width_px - side_px) / 2, (height_px - side_px) / 2
    square = cv2.remap(image, *_sampling(height_px, width_px), cv2.INTER_LINEAR)
    scaled = square.astype(np.float32) * (2 / 255) - 1
    return scaled[None], side_px / DETECTOR_INPUT_PX, left_px, top_px


@lru_cache(maxsize=4)  # a camera has one frame size
def _sampling(height_px: int, width_px: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint16]]:
    """Return where each input pixel is read, in OpenCV's fixed-point maps: whole pixels, and 32nds of y and x.

    MediaPipe's OpenCV 3 rounds to a 32nd of a pixel in its warpPerspective, newer versions do not: a keypoint
    would differ by 0.3 % of the image. Ties are frequent, so the matrix is found and inverted by the same
    routines too.
    """
    side_px = max(height_px, width_px)
    corners = np.array([(0, 1), (0, 0), (1, 0), (1, 1)], np.float32)
    in_image = corners * side_px + np.array([width_px - side_px, height_px - side_px], np.float32) / 2
    to_square = cv2.getPerspectiveTransform(in_image, corners * DETECTOR_INPUT_PX)
    matrix = cv2.invert(to_square)[1]
    x, y = np.meshgrid(np.arange(DETECTOR_INPUT_PX, dtype=float), np.arange(DETECTOR_INPUT_PX, dtype=float))
    block = x // 64 * 64  # the order in which it adds: by blocks of 64 columns
    source = [(row[0] * block + row[1] * y + row[2]) + row[0] * (x - block) for row in matrix]
    x_32nds, y_32nds = (np.rint(part * (32 / source[2])).astype(np.int32) for part in source[:2])
    whole = np.stack([x_32nds >> 5, y_32nds >> 5], axis=-1).astype(np.int16)
    return whole, ((y_32nds & 31) * 32 + (x_32nds & 31)).astype(np.uint16)


def _check_image(image: Image) -> tuple[int, int]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"detect expects (H, W, 3) uint8 RGB, received {image.shape} {image.dtype}")
    if max(image.shape) > MAX_SIDE_PX:
        raise UsageError(
            f"detect expects an image of at most {MAX_SIDE_PX} px a side, received {image.shape[1]} x "
            f"{image.shape[0]}: scale it down"
        )
    return image.shape[0], image.shape[1]


def _import_tasks() -> tuple[Any, Any, Any]:
    try:
        with quiet_stderr(), _without_pyplot():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
    except (ImportError, OSError) as fault:  # OSError: its C library misses one of the system's
        detail = " ".join(str(fault).split())[:120]
        raise TasksUnavailableError(
            f'detector "tasks" expected the mediapipe package, received: {detail}: '
            'install it (and libegl1 libgles2), or set detector kind "litert"'
        ) from fault
    return mediapipe, vision, BaseOptions


@contextlib.contextmanager
def _without_pyplot() -> Iterator[None]:
    """Spare an import of mediapipe the plots that its drawing helpers load, which is most of its time and memory."""
    names = ("matplotlib", "matplotlib.pyplot")
    if names[1] in sys.modules:
        yield
        return
    there = {name: sys.modules[name] for name in names if name in sys.modules}
    package, pyplot = (ModuleType(name) for name in names)
    package.pyplot = pyplot  # type: ignore[attr-defined]
    sys.modules.update(zip(names, (package, pyplot), strict=True))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(there)


def _close_tasks(detector: Any) -> None:
    try:
        with quiet_stderr():
            detector.close()
    except RuntimeError:  # at interpreter exit its executor is gone before we are asked
        detector._handle = None  # else its own __del__ tries again and ends the program with a traceback


def _check_network(interpreter: Any, model: Path) -> tuple[int, int, int]:
    """Return the tensor indexes of input, regressors and logits, by shape: names differ between exports."""
    inputs, outputs = tensor_indexes(interpreter)
    try:
        return inputs[_INPUT_SHAPE], outputs[_REGRESSOR_SHAPE], outputs[_LOGIT_SHAPE]
    except KeyError:
        raise ModelError(
            f"{model}: expected MediaPipe's face detector, {_INPUT_SHAPE} to {_REGRESSOR_SHAPE} and "
            f"{_LOGIT_SHAPE}, received {', '.join(map(str, inputs))} to {', '.join(map(str, outputs))}: "
            "run scripts/fetch_models.py"
        ) from None


def _from_tasks(face: Any, width_px: int, height_px: int) -> FaceDetection:
    box = face.bounding_box
    points = np.array([(point.x * width_px, point.y * height_px) for point in face.keypoints], np.float32)
    corner_and_size = (float(box.origin_x), float(box.origin_y), float(box.width), float(box.height))
    return FaceDetection(box=corner_and_size, score=float(face.categories[0].score), keypoints=points)


def _from_corners(points: npt.NDArray[np.float64], score: float) -> FaceDetection:
    (left, top), (right, bottom) = points[:2].tolist()
    box = (left, top, right - left, bottom - top)
    return FaceDetection(box=box, score=score, keypoints=points[2:].astype(np.float32))
