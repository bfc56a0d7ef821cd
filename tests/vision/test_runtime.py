from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from device.errors import ModelError
from device.vision import runtime
from device.vision.assets import FACE_DETECTOR
from device.vision.runtime import load_interpreter, quiet_stderr, tensor_indexes
from tests.support.photos import model_file


def test_a_network_is_loaded_with_its_tensors(capfd: pytest.CaptureFixture[str]) -> None:
    inputs, outputs = tensor_indexes(load_interpreter(model_file(FACE_DETECTOR), 1))
    assert list(inputs) == [(1, 128, 128, 3)]
    assert set(outputs) == {(1, 896, 16), (1, 896, 1)}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kept", [0, 3, 8, 100, 20_000, 114_857, 229_000])
def test_a_truncated_network_is_one_clear_line(tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(model_file(FACE_DETECTOR).read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"cut\.tflite: expected .*, received .*: fetch or copy") as caught:
        load_interpreter(cut, 1)
    assert "\n" not in str(caught.value)


def test_a_text_file_is_named_as_such(tmp_path: Path) -> None:
    page = tmp_path / "page.tflite"
    page.write_text("<html>404 not found</html>\n" * 100)
    with pytest.raises(ModelError, match=r"expected a \.tflite network .*<html>"):
        load_interpreter(page, 1)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        load_interpreter(tmp_path / "none.tflite", 1)
    with pytest.raises(ModelError, match="directory"):
        load_interpreter(tmp_path, 1)


def test_bad_files_do_not_end_the_process(tmp_path: Path) -> None:
    """A flatbuffer's C++ reader could abort instead of raise: look at it from outside."""
    content = bytearray(model_file(FACE_DETECTOR).read_bytes())
    content[8:4000] = random.Random(5).randbytes(3992)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(content)
    code = (
        "import pathlib, sys; from device.vision.runtime import load_interpreter\n"
        "from device.errors import ModelError\n"
        "try: load_interpreter(pathlib.Path(sys.argv[1]), 1)\n"
        "except ModelError as fault: print(fault)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(broken)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "expected a whole .tflite network" in done.stdout


def test_a_machine_without_a_runtime_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_RUNTIMES", ("no_such_runtime.interpreter",))
    with pytest.raises(ModelError, match="pip install ai-edge-litert"):
        load_interpreter(model_file(FACE_DETECTOR), 1)


def test_the_second_runtime_is_taken_where_the_first_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_RUNTIMES", ("no_such_runtime.interpreter", "ai_edge_litert.interpreter"))
    assert load_interpreter(model_file(FACE_DETECTOR), 1)


def test_stderr_comes_back_after_silence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="Bad file"), quiet_stderr():
        os.write(os.write(2, b"noise") + 1000, b"to no file")
    os.write(2, b"word")
    assert capfd.readouterr().err == "word"


def test_a_process_without_stderr_loads_networks_too() -> None:
    code = (
        "import os, pathlib, sys; from device.vision.runtime import load_interpreter\n"
        "os.close(2); load_interpreter(pathlib.Path(sys.argv[1]), 1); print('loaded')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_file(FACE_DETECTOR))],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stdout == "loaded\n"
