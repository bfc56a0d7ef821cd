"""A network on LiteRT, checked against its manifest: picture in, real numbers out."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import ModelError
from device.numeric.quantization import dequantize, pixel_table
from device.types import Image
from device.vision.runtime import load_interpreter

COLOR_ORDER = "RGB"  # of every frame and aligned face
SIDES_PX = (32, 512)  # of a square input; anything else is a broken manifest
REMEDY = "copy both files again, or export the network again with scripts/train/quantize.py (docs/research/train.md)"
MAX_MANIFEST_BYTES = 1_000_000  # a manifest has a few KB; whatever else was named is not read into memory


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a manifest; scale and zero point are None for float32."""

    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    def __str__(self) -> str:
        scaled = "" if self.scale is None else f" scale {self.scale:.9g} zero point {self.zero_point}"
        return f"{self.shape} {self.dtype}{scaled}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkManifest:
    """The part of a manifest that is needed to run a network; pixels enter as (uint8 - mean) / std, in RGB."""

    name: str
    file: Path
    sha256: str
    size_bytes: int
    input: Tensor
    output: Tensor
    mean: float
    std: float

    @property
    def side_px(self) -> int:
        """Side of the square picture that the network takes."""
        return self.input.shape[1]


class Network:
    """Run the network of a manifest; the interpreter is built once, here.

    Raises ModelError when the file is not the one that the manifest describes.
    """

    def __init__(self, manifest: NetworkManifest, threads: int) -> None:
        self.manifest = manifest
        _check_digest(manifest)
        self._interpreter = load_interpreter(manifest.file, threads)
        self._input = self._checked("input", self._interpreter.get_input_details(), manifest.input)
        self._output = self._checked("output", self._interpreter.get_output_details(), manifest.output)
        self._table = _pixel_values(manifest)

    def run(self, image: Image) -> npt.NDArray[np.float32]:
        """Return the (N,) float32 output for a picture of the input's (side, side, 3) uint8 RGB."""
        # One lookup a pixel: normalizing and quantizing in floats would cost a tenth of the network.
        self._interpreter.set_tensor(self._input, cv2.LUT(image, self._table)[None])
        self._interpreter.invoke()
        raw, output = self._interpreter.get_tensor(self._output)[0], self.manifest.output
        if output.scale is None or output.zero_point is None:
            return np.asarray(raw, np.float32)
        return dequantize(raw, output.scale, output.zero_point)

    def _checked(self, role: str, details: list[dict[str, Any]], expected: Tensor) -> int:
        """Return the tensor's index in the interpreter, or say how the file differs from its manifest."""
        found = [_described(detail) for detail in details]
        if len(found) != 1 or not _same(found[0], expected):
            received = ", ".join(map(str, found)) or "no tensor"
            raise ModelError(
                f"{self.manifest.file}: model expects {role} {expected} by its manifest, "
                f"received {received}: {REMEDY}"
            )
        return int(details[0]["index"])


def _pixel_values(manifest: NetworkManifest) -> npt.NDArray[Any]:
    """Return the (256,) value that the network wants for each uint8."""
    scale, zero_point = manifest.input.scale, manifest.input.zero_point
    if scale is None or zero_point is None:
        return ((np.arange(256) - manifest.mean) / manifest.std).astype(np.float32)
    return pixel_table(manifest.mean, manifest.std, scale, zero_point)


def _check_digest(manifest: NetworkManifest) -> None:
    try:
        size_bytes = manifest.file.stat().st_size
        matches = size_bytes == manifest.size_bytes  # before reading: the wrong file may be huge
        digest = hashlib.sha256(manifest.file.read_bytes()).hexdigest() if matches else ""
    except OSError as fault:
        raise ModelError(
            f"{manifest.file}: expected the network, received {fault.strerror}: {REMEDY}"
        ) from fault
    if digest != manifest.sha256:
        received = f"sha256 {digest[:12]}..." if matches else f"{size_bytes} bytes"
        raise ModelError(
            f"{manifest.file}: manifest expects {manifest.size_bytes} bytes, "
            f"sha256 {manifest.sha256[:12]}..., received {received}: {REMEDY}"
        )


def _described(detail: dict[str, Any]) -> Tensor:
    scale, zero_point = detail["quantization"]
    quantized = scale != 0.0  # LiteRT's way to say that a tensor is not quantized
    return Tensor(
        shape=tuple(int(side) for side in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
    )


def _same(a: Tensor, b: Tensor) -> bool:
    same_scale = a.scale == b.scale or (
        a.scale is not None and b.scale is not None and math.isclose(a.scale, b.scale, rel_tol=1e-6)
    )
    return same_scale and (a.shape, a.dtype, a.zero_point) == (b.shape, b.dtype, b.zero_point)


class ManifestKeys:
    """Read typed values of a manifest by dotted key; every mistake names the key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = _read_json(path)

    def network(self, prefix: str = "") -> dict[str, Any]:
        """Return the fields of a NetworkManifest, checked; `prefix` is where they stand, "near." for one of several."""
        file = self.text(f"{prefix}file")
        found: dict[str, Any] = {
            "name": self.text(f"{prefix}name"),
            "file": self._path.parent / file,
            "sha256": self.text(f"{prefix}sha256"),
            "size_bytes": self.integer(f"{prefix}bytes"),
            "input": self.tensor(f"{prefix}input"),
            "output": self.tensor(f"{prefix}output"),
            "mean": self.number(f"{prefix}input.mean"),
            "std": self.number(f"{prefix}input.std"),
        }
        self.expect(f"{prefix}file", found["file"].name == file, "a file name without a folder")
        self.expect(f"{prefix}sha256", len(found["sha256"]) == 64, "64 hexadecimal digits")
        self.expect(f"{prefix}input.std", found["std"] > 0, "a number above 0")
        color_order = self.text(f"{prefix}input.color_order")
        self.expect(f"{prefix}input.color_order", color_order == COLOR_ORDER, COLOR_ORDER)
        what = f"[1, S, S, 3], a square of {SIDES_PX[0]} to {SIDES_PX[1]} px"
        self.expect(f"{prefix}input.shape", _is_square(found["input"].shape), what)
        return found

    def expect(self, key: str, holds: bool, what: str) -> None:
        if not holds:
            value: Any = self._values
            for part in key.split("."):
                value = value.get(part, "nothing") if isinstance(value, dict) else "nothing"
            raise ModelError(f"{self._path}: key {key} expects {what}, received {_short(value)}: {REMEDY}")

    def text(self, key: str) -> str:
        value = self.value(key)
        # errors show it, in one line
        self.expect(key, isinstance(value, str) and value != "" and value.isprintable(), "a printable text")
        return str(value)

    def integer(self, key: str) -> int:
        value = self.value(key)
        self.expect(key, is_integer(value) and value > 0, "a whole number above 0")
        return int(value)

    def number(self, key: str) -> float:
        value = self.value(key)
        self.expect(key, is_number(value), "a finite number")
        return float(value)

    def tensor(self, key: str) -> Tensor:
        shape, dtype = self.value(f"{key}.shape"), self.text(f"{key}.dtype")
        self.expect(
            f"{key}.shape", isinstance(shape, list) and all(map(is_integer, shape)), "a list of whole numbers"
        )
        self.expect(f"{key}.dtype", dtype in ("int8", "float32"), "int8 or float32")
        if dtype == "float32":
            return Tensor(tuple(shape), dtype, None, None)
        scale, zero_point = self.number(f"{key}.scale"), self.value(f"{key}.zero_point")
        self.expect(f"{key}.scale", scale > 0, "a number above 0")
        self.expect(f"{key}.zero_point", is_integer(zero_point) and -128 <= zero_point <= 127, "an int8")
        return Tensor(tuple(shape), dtype, scale, int(zero_point))

    def value(self, key: str) -> Any:
        """Return what stands at a key; nothing there is a ModelError."""
        value: Any = self._values
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ModelError(f"{self._path}: manifest expects key {key}, received none: {REMEDY}")
            value = value[part]
        return value


def is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300  # False for NaN; JSON knows whole numbers that no float can hold


def _is_square(shape: tuple[int, ...]) -> bool:
    low, high = SIDES_PX
    return len(shape) == 4 and shape == (1, shape[1], shape[1], 3) and low <= shape[1] <= high


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
        values = json.loads(content[:MAX_MANIFEST_BYTES].decode("utf-8"))
    except OSError as fault:
        raise ModelError(f"{path}: expected a model manifest, received {fault.strerror}: {REMEDY}") from fault
    except (ValueError, RecursionError) as fault:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ModelError(
            f"{path}: expected a JSON manifest, received broken JSON ({fault}): {REMEDY}"
        ) from fault
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected a JSON object, received a {type(values).__name__}: {REMEDY}")
    return values


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
