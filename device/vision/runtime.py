"""The LiteRT interpreter: one loader for the detector, the face mesh and the embedder."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from device.errors import ModelError

# The successor first: it runs int8 on XNNPACK, tflite-runtime 2.14 does not (twenty times slower) and ends at
# Python 3.11.
_RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_FILE_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of every .tflite flatbuffer


def load_interpreter(model: Path, threads: int) -> Any:
    """Return a LiteRT interpreter of a .tflite file, tensors allocated.

    Raises ModelError in one line when no runtime is installed, or the file is missing, no .tflite file or
    truncated.
    """
    _check_file(model)
    interpreter_class = _interpreter_class()
    try:
        with quiet_stderr():  # it greets each time: "Created TensorFlow Lite XNNPACK delegate"
            interpreter = interpreter_class(model_path=str(model), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as fault:
        detail = " ".join(str(fault).split())[:120]
        raise ModelError(
            f"{model}: expected a whole .tflite network, received {model.stat().st_size} bytes that LiteRT "
            f"refuses ({detail}): fetch or copy the file again"
        ) from fault
    return interpreter


def tensor_indexes(interpreter: Any) -> tuple[dict[tuple[int, ...], int], dict[tuple[int, ...], int]]:
    """Return an interpreter's input and output tensor indexes, each by shape."""
    inputs, outputs = (
        {tuple(int(side) for side in tensor["shape"]): int(tensor["index"]) for tensor in details}
        for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    return inputs, outputs


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send the process's stderr to nowhere for a moment: C++ code writes past `sys.stderr`.

    Other threads lose what they print in that moment, so keep it around constructors only.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):  # a service without stderr has nothing to silence
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def _check_file(model: Path) -> None:
    try:
        with model.open("rb") as file:
            head = file.read(8)
    except OSError as fault:
        raise ModelError(
            f"{model}: expected a .tflite network, received {fault.strerror or fault}: "
            "check the path, or fetch the file"
        ) from fault
    if head[4:8] != _FILE_IDENTIFIER:
        raise ModelError(
            f"{model}: expected a .tflite network (TFL3 at byte 4), received {head[:8]!r}...: "
            "fetch or copy the file again"
        )


def _interpreter_class() -> Any:
    for name in _RUNTIMES:
        try:
            return import_module(name).Interpreter
        except ImportError:
            continue
    raise ModelError(
        "expected ai-edge-litert (or tflite-runtime) to run networks, received neither: "
        "pip install ai-edge-litert"
    )
