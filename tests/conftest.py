"""What all tests share: files made once, and the training tests kept apart."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from device.access import pin
from device.build import WEIGHTS
from device.pipeline import Door
from device.vault import sealing
from device.vision.camera.pixels import silence_opencv
from tests.support.checkout import run_program
from tests.support.clips import make_clip
from tests.support.doors.staged import staged_door
from tests.support.galleries import copy_gallery
from tests.support.machines.doctors_host import machine  # noqa: F401  the fixture
from tests.support.once import made_once

# A test file that imports one of these belongs to `make test-train`; without torch it is not even collected.
TRAINING = re.compile(
    r"^\s*(?:from|import) (?:torch|models|litert_torch|ai_edge_quantizer|onnx)\b", re.MULTILINE
)
TRAINING_SKIP = re.compile(r"importorskip\(\s*[\"'](?:torch|litert_torch|onnx)")


# A shell that starts the tests in the background has SIGINT ignored, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# FFmpeg reads its level of noise once: before any test opens a clip, as every program does.
silence_opencv()
# PINs and passphrases are slow on purpose; here they are not, except where a test asks for `full_cost`.
FULL_HASHER, pin.HASHER = pin.HASHER, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
FULL_MEMORY_KIB, sealing.MEMORY_KIB = sealing.MEMORY_KIB, 64


@pytest.fixture
def full_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a PIN and a passphrase cost what they cost at a door."""
    monkeypatch.setattr(pin, "HASHER", FULL_HASHER)
    monkeypatch.setattr(sealing, "MEMORY_KIB", FULL_MEMORY_KIB)


@pytest.fixture(scope="session", autouse=True)
def _no_record_of_this_machines_door(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The pin that a program claims is written down for the relock: never beside this user's own door."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


def is_training(path: Path) -> bool:
    """Say whether a test file needs the training packages."""
    text = path.read_text(encoding="utf-8")
    return bool(TRAINING.search(text) or TRAINING_SKIP.search(text))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    return True if is_training(collection_path) and find_spec("torch") is None else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_training(item.path):
            item.add_marker(pytest.mark.train)


@pytest.fixture(autouse=True, scope="session")
def no_board() -> Iterator[None]:
    """Let no key of a test depend on the machine it runs on; tests of the board name one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_UNLOCK_BOARD", "/nonexistent/board")
        yield


@pytest.fixture(autouse=True)
def no_system_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's own configuration and gallery out of the tests."""
    monkeypatch.setattr("device.config.SYSTEM_CONFIG", Path("/nonexistent/face-unlock/config.toml"))


@pytest.fixture(scope="session")
def real_model() -> None:
    """Skip where the shipped network or MediaPipe's files are absent."""
    from device.errors import ModelError
    from device.vision.assets import ASSETS, find_asset

    for name in ("mobilefacenet", "pad"):
        if not (WEIGHTS / f"{name}.json").is_file():
            pytest.skip(f"needs models/weights/{name}.json")
    try:
        for asset in ASSETS:
            find_asset(asset)
    except ModelError as fault:
        pytest.skip(str(fault))


@pytest.fixture
def device(tmp_path: Path) -> Door:
    """A door whose stages answer what the test tells them."""
    return staged_door(tmp_path)


@pytest.fixture(scope="session")
def empty_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of defaults, so that a machine's own one has no say."""
    path = tmp_path_factory.mktemp("config") / "empty.toml"
    path.write_text("")
    return path


@pytest.fixture(scope="session")
def no_liveness(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of unlock.py for a door that a portrait opens: lock, status and signals are tested with one."""
    path = tmp_path_factory.mktemp("config") / "off.toml"
    path.write_text('[liveness]\nmode = "off"\n')
    return ["--config", str(path), "--no-liveness"]


@pytest.fixture(scope="session")
def person_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody for 0.2 s, then the astronaut for 3 s."""
    scenes = ["nobody:0.2", "tests/data/astronaut.jpg:3"]
    made = made_once(tmp_path_factory, "person", lambda folder: make_clip(folder / "person.mp4", *scenes))
    return made / "person.mp4"


@pytest.fixture(scope="session")
def empty_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody for 30 s at two frames a second: a long wait in a small file."""
    scenes = ["nobody:30", "--fps", "2"]
    made = made_once(tmp_path_factory, "empty", lambda folder: make_clip(folder / "empty.mp4", *scenes))
    return made / "empty.mp4"


@pytest.fixture(scope="session")
def enrolled_gallery(tmp_path_factory: pytest.TempPathFactory, empty_config: Path, real_model: None) -> Path:
    """A gallery in which the astronaut is enrolled, by the real program; each process has a copy of its own."""

    def enroll(folder: Path) -> None:
        options = ["--gallery", str(folder / "gallery.db"), "--config", str(empty_config), "--no-sheet"]
        done = run_program("enroll.py", "--name", "Eileen", "--images", "tests/data/astronaut.jpg", *options)
        assert done.returncode == 0, done.stderr

    made = made_once(tmp_path_factory, "enrolled", enroll)
    return copy_gallery(made / "gallery.db", tmp_path_factory.mktemp("gallery"))
