from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from device.errors import ConfigError, ModelError, UsageError
from device.protocols import Detector
from device.types import FaceDetection, Image
from device.vision import detect
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.detect import (
    LiteRTDetector,
    TasksDetector,
    TasksUnavailableError,
    can_run_tasks,
    letterbox,
    open_detector,
)
from tests.support.photos import model_file, on_canvas, photo, rotated

needs_tasks = pytest.mark.skipif(not can_run_tasks(), reason="mediapipe cannot run on this machine")
MIN_SCORE = 0.5

# How near the two runtimes must be. Tasks cuts a box down to whole pixels; points and scores were the same to
# the last digit on most of 500 photographs, the rest leaves room for another processor's arithmetic.
BOX_PX = 1.0
POINT_SHARE = 0.0005
SCORE = 0.001


def two_people() -> Image:
    both = on_canvas(photo("hopper"), 800, 480, 0, 0, 0.8)
    both[40:460, 400:800] = on_canvas(photo("astronaut")[:280, 90:360], 400, 420, 0, 0, 1.5)
    return both


PICTURES = {
    "hopper": lambda: photo("hopper"),
    "astronaut": lambda: photo("astronaut"),
    "mirrored": lambda: photo("astronaut")[:, ::-1],  # not contiguous, as a slice of a camera's buffer
    "half": lambda: on_canvas(photo("hopper"), 256, 300, 0, 0, 0.5),
    "third, odd size": lambda: on_canvas(photo("hopper"), 159, 187, 0, 0, 0.31),
    "tiny": lambda: on_canvas(photo("hopper"), 103, 120, 0, 0, 0.2),
    "wide, left": lambda: on_canvas(photo("hopper"), 1280, 720, 30, 100, 1.0),
    "wide, right": lambda: on_canvas(photo("hopper"), 640, 480, 300, 60, 0.7),
    "tall": lambda: on_canvas(photo("hopper"), 480, 900, 0, 350, 0.9),
    "over the edge": lambda: on_canvas(photo("hopper"), 640, 480, -150, -100, 0.9),
    "tilted": lambda: rotated(photo("hopper"), 25),
    "two people": two_people,
    "nobody": lambda: np.zeros((480, 640, 3), np.uint8),
    "noise": lambda: np.random.default_rng(3).integers(0, 256, (480, 640, 3), np.uint8),
    "one pixel": lambda: np.full((1, 1, 3), 200, np.uint8),
    "sliver": lambda: np.full((2, 3000, 3), 200, np.uint8),
}
FACES = {"nobody": 0, "noise": 0, "one pixel": 0, "sliver": 0, "two people": 2}


@pytest.fixture(scope="module")
def litert() -> LiteRTDetector:
    return LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=MIN_SCORE, threads=1)


@pytest.fixture(scope="module")
def tasks() -> Iterator[TasksDetector]:
    detector = TasksDetector(model=model_file(FACE_DETECTOR), min_score=MIN_SCORE)
    yield detector
    detector.close()


def same(one: FaceDetection, other: FaceDetection) -> bool:
    return (
        one.box == other.box and one.score == other.score and np.array_equal(one.keypoints, other.keypoints)
    )


def within_frame(face: FaceDetection, image: Image) -> tuple[float, ...]:
    """Return the box as Tasks reports it: moved, not cut, into the frame where it hangs over its left or top edge."""
    left, top, width, height = face.box
    return max(left, 0), max(top, 0), min(width, image.shape[1]), min(height, image.shape[0])


@needs_tasks
@pytest.mark.parametrize("name", PICTURES)
def test_both_runtimes_see_the_same(name: str, tasks: TasksDetector, litert: LiteRTDetector) -> None:
    image = PICTURES[name]()
    expected, received = tasks.detect(image), litert.detect(image)
    assert len(received) == len(expected) == FACES.get(name, 1)
    for one, other in zip(expected, received, strict=True):
        assert other.score == pytest.approx(one.score, abs=SCORE)
        near_px = POINT_SHARE * max(image.shape)
        assert within_frame(other, image) == pytest.approx(one.box, abs=BOX_PX + near_px)
        assert other.keypoints == pytest.approx(one.keypoints, abs=near_px)


@needs_tasks
def test_both_runtimes_take_the_same_lowest_score() -> None:
    model, image = model_file(FACE_DETECTOR), photo("hopper")
    score = LiteRTDetector(model=model, min_score=0.5, threads=1).detect(image)[0].score
    for min_score, faces in ((score - 0.01, 1), (score + 0.01, 0)):
        tasks = TasksDetector(model=model, min_score=min_score)
        litert = LiteRTDetector(model=model, min_score=min_score, threads=1)
        assert len(tasks.detect(image)) == len(litert.detect(image)) == faces
        tasks.close()


@pytest.fixture(params=["litert", pytest.param("tasks", marks=needs_tasks)])
def detector(request: pytest.FixtureRequest) -> Detector:
    return request.getfixturevalue(request.param)


def test_keypoints_lie_where_the_face_is(detector: Detector) -> None:
    (face,) = detector.detect(photo("astronaut"))
    right_eye, left_eye, nose, mouth, right_ear, left_ear = face.keypoints
    assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1]
    left, top, width, height = face.box
    assert left < nose[0] < left + width
    assert top < nose[1] < top + height
    assert face.keypoints.shape == (6, 2)
    assert face.keypoints.dtype == np.float32


def test_the_best_face_comes_first(detector: Detector) -> None:
    scores = [face.score for face in detector.detect(two_people())]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


def test_a_picture_gives_the_same_whatever_came_before(detector: Detector) -> None:
    (first,) = detector.detect(photo("hopper"))
    detector.detect(np.zeros((480, 640, 3), np.uint8))
    detector.detect(photo("astronaut"))
    (again,) = detector.detect(photo("hopper"))
    assert same(first, again)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((480, 640), np.uint8),
        np.zeros((480, 640, 4), np.uint8),
        np.zeros((480, 640, 3), np.float32),
        np.zeros((0, 0, 3), np.uint8),
    ],
    ids=["gray", "four channels", "floats", "empty"],
)
def test_what_is_no_rgb_image_is_refused(detector: Detector, image: Image) -> None:
    with pytest.raises(ValueError, match=r"expects \(H, W, 3\) uint8 RGB, received"):
        detector.detect(image)


def test_an_image_too_long_is_refused_before_it_ends_the_process(detector: Detector) -> None:
    with pytest.raises(UsageError, match="at most 32766 px a side, received 40000 x 2"):
        detector.detect(np.zeros((2, 40_000, 3), np.uint8))


def test_the_letterbox_is_centered_and_black() -> None:
    square, scale, left_px, top_px = letterbox(np.full((64, 256, 3), 255, np.uint8))
    assert (square.shape, square.dtype) == ((1, 128, 128, 3), np.float32)
    assert (scale, left_px, top_px) == (2, 0, -96)
    assert (square[0, :47] == -1).all()
    assert (square[0, 49:79] == 1).all()
    assert (square[0, 81:] == -1).all()


@pytest.mark.parametrize("kind", ["litert", pytest.param("tasks", marks=needs_tasks)])
def test_another_network_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected MediaPipe's face detector.*fetch_models"):
        open_detector(kind, model_file(FACE_MESH), MIN_SCORE, 1)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(model_file(FACE_DETECTOR).read_bytes()[:9000])
    with pytest.raises(ModelError, match=r"broken\.tflite"):
        open_detector(kind, broken, MIN_SCORE, 1)


@needs_tasks
def test_auto_takes_tasks_where_it_runs() -> None:
    detector = open_detector("auto", model_file(FACE_DETECTOR), MIN_SCORE, 1)
    assert isinstance(detector, TasksDetector)
    detector.close()
    detector.close()  # twice does no harm


def test_auto_takes_litert_where_tasks_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "can_run_tasks", lambda: False)
    assert isinstance(open_detector("auto", model_file(FACE_DETECTOR), MIN_SCORE, 1), LiteRTDetector)


def test_auto_takes_litert_where_a_system_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "can_run_tasks", lambda: True)
    monkeypatch.setattr(detect, "has_atomics", lambda: True)  # also where this test runs on a Raspberry Pi 4
    monkeypatch.setitem(sys.modules, "mediapipe", None)  # as an import that fails
    model = model_file(FACE_DETECTOR)
    assert isinstance(open_detector("auto", model, MIN_SCORE, 1), LiteRTDetector)
    with pytest.raises(TasksUnavailableError, match='set detector kind "litert"'):
        open_detector("tasks", model, MIN_SCORE, 1)


def test_tasks_on_a_processor_that_cannot_run_it_is_a_fault_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its import would end the process by SIGILL."""
    monkeypatch.setattr(detect, "has_atomics", lambda: False)
    monkeypatch.setattr(detect, "TasksDetector", lambda **_: pytest.fail("it was loaded"))
    with pytest.raises(
        ConfigError, match=r'detector\.kind: "tasks" cannot run .*expected "litert" or "auto"'
    ):
        open_detector("tasks", Path("unused"), MIN_SCORE, 1)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="received 'dlib'"):
        open_detector("dlib", Path("unused"), MIN_SCORE, 1)


PI_4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
PI_5 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp cpuid\n"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "runs"),
    [
        ("aarch64", PI_4, False),
        ("aarch64", PI_5, True),
        ("aarch64", PI_5 + PI_4, False),  # a core of each kind: the process may land on either
        ("aarch64", "", False),
        ("aarch64", None, False),
        ("x86_64", None, True),
    ],
)
def test_tasks_needs_atomic_instructions_on_arm(
    machine: str, cpuinfo: str | None, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "find_spec", lambda name: object())
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    assert can_run_tasks(path, machine) is runs


def test_tasks_cannot_run_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "find_spec", lambda name: None)
    assert not can_run_tasks(Path("unused"), "x86_64")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    model = str(model_file(FACE_DETECTOR))
    return subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, check=False)


def test_asking_and_importing_load_no_mediapipe() -> None:
    code = (
        "import sys, device.vision.align; from device.vision.detect import can_run_tasks\n"
        "can_run_tasks(); print('mediapipe' in sys.modules)"
    )
    assert run_python(code).stdout == "False\n"


@needs_tasks
@pytest.mark.parametrize("ending", ["detector.close()", "pass"], ids=["closed", "left open"])
def test_tasks_does_not_chatter_from_start_to_exit(ending: str) -> None:
    code = f"""
import sys, pathlib, numpy
from device.vision.detect import TasksDetector
detector = TasksDetector(model=pathlib.Path(sys.argv[1]), min_score=0.5)
for side in (100, 300, 500): detector.detect(numpy.zeros((side, 640, 3), numpy.uint8))
{ending}
"""
    done = run_python(code)
    # Its one remark about a buffer's alignment depends on where memory happens to lie; at most it comes once.
    lines = [
        line for line in done.stderr.splitlines() if "not aligned" not in line and "InitGoogle" not in line
    ]
    assert (done.returncode, done.stdout, lines) == (0, "", [])
