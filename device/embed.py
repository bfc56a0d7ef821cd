"""The embedder: a quantized network on LiteRT, held to the manifest that was written beside it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.errors import ModelError
from device.geometry import ALIGNMENT_ID, CROP_SIZE_PX
from device.quantization import dequantize, pixel_table
from device.runtime import load_interpreter
from device.similarity import l2_normalize
from device.types import Embedding, Image

COLOR_ORDER = "RGB"  # of every frame and aligned face
FACE_SHAPE = (CROP_SIZE_PX, CROP_SIZE_PX, 3)
REMEDY = "export the network again with scripts/quantize.py, or copy both files again"
MAX_MANIFEST_BYTES = 1_000_000  # a manifest has a few KB; whatever else was named is not read into memory


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a manifest says of one tensor; scale and zero point are None for float32."""

    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    def __str__(self) -> str:
        scaled = "" if self.scale is None else f" scale {self.scale:.9g} zero point {self.zero_point}"
        return f"{self.shape} {self.dtype}{scaled}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What has to be known of a network to use it: models/weights/<name>.json.

    Pixels enter as (uint8 - mean) / std. `thresholds` maps an FMR to the similarity where it was measured.
    """

    name: str
    model_id: str
    file: Path
    sha256: str
    size_bytes: int
    input: Tensor
    output: Tensor
    color_order: str
    mean: float
    std: float
    embedding_dim: int
    alignment: str
    thresholds: Mapping[float, float]

    def threshold(self, fmr: float) -> float:
        """Return the similarity threshold for a false match rate.

        Between two rates of the manifest it is interpolated linearly over log10(FMR), where score tails are
        nearly straight; beyond them nothing was measured, so that is a ModelError.
        """
        known = sorted(self.thresholds)
        if not known[0] * (1 - 1e-9) <= fmr <= known[-1] * (1 + 1e-9):
            listed = ", ".join(f"{rate:g}" for rate in reversed(known))
            raise ModelError(
                f"model {self.model_id} has no threshold for FMR {fmr:g}: "
                f"choose one of {listed}, or between them"
            )
        return float(np.interp(math.log10(fmr), np.log10(known), [self.thresholds[rate] for rate in known]))


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; a missing, broken or contradictory one is a ModelError naming the key."""
    values = _read_json(path)
    keys = _Keys(path, values)
    manifest = Manifest(
        name=keys.text("name"),
        model_id=keys.text("model_id"),
        file=path.parent / keys.text("file"),
        sha256=keys.text("sha256"),
        size_bytes=keys.integer("bytes"),
        input=keys.tensor("input"),
        output=keys.tensor("output"),
        color_order=keys.text("input.color_order"),
        mean=keys.number("input.mean"),
        std=keys.number("input.std"),
        embedding_dim=keys.integer("embedding_dim"),
        alignment=keys.text("alignment"),
        thresholds=keys.thresholds("thresholds"),
    )
    keys.expect("file", Path(manifest.file).name == values["file"], "a file name without a folder")
    keys.expect("sha256", len(manifest.sha256) == 64, "64 hexadecimal digits")
    keys.expect(
        "model_id", manifest.model_id.endswith(manifest.sha256[:12]), "a name ending with sha256[:12]"
    )
    keys.expect("input.std", manifest.std > 0, "a number above 0")
    keys.expect("input.shape", manifest.input.shape == (1, *FACE_SHAPE), f"{[1, *FACE_SHAPE]}")
    keys.expect("output.shape", manifest.output.shape == (1, manifest.embedding_dim), "[1, embedding_dim]")
    keys.expect("input.color_order", manifest.color_order == COLOR_ORDER, COLOR_ORDER)
    keys.expect(
        "alignment", manifest.alignment == ALIGNMENT_ID, f"{ALIGNMENT_ID!r}, the alignment of this release"
    )
    return manifest


class LiteRTEmbedder:
    """Turn an aligned face into its embedding; the interpreter is built once, here.

    Args:
        manifest: path of the network's .json; the network lies beside it.
        threads: of the interpreter.
    """

    def __init__(self, *, manifest: Path, threads: int) -> None:
        self.manifest = load_manifest(Path(manifest))
        _check_digest(self.manifest)
        self._interpreter = load_interpreter(self.manifest.file, threads)
        self._input = self._checked("input", self._interpreter.get_input_details(), self.manifest.input)
        self._output = self._checked("output", self._interpreter.get_output_details(), self.manifest.output)
        self._table = _pixel_values(self.manifest)

    @property
    def model_id(self) -> str:
        return self.manifest.model_id

    def embed(self, face: Image) -> Embedding:
        """Return the (D,) float32 embedding, L2 norm 1, of a (112, 112, 3) uint8 RGB aligned face."""
        if face.shape != FACE_SHAPE or face.dtype != np.uint8:
            raise ModelError(
                f"model {self.model_id} expects an aligned face {FACE_SHAPE} uint8, received {face.shape} "
                f"{face.dtype}: align it first"
            )
        # One lookup a pixel: normalizing and quantizing in floats would cost a tenth of the network.
        self._interpreter.set_tensor(self._input, cv2.LUT(face, self._table)[None])
        self._interpreter.invoke()
        return self._normalized(self._interpreter.get_tensor(self._output)[0])

    def _normalized(self, raw: npt.NDArray[Any]) -> Embedding:
        output = self.manifest.output
        if output.scale is not None and output.zero_point is not None:
            raw = dequantize(raw, output.scale, output.zero_point)
        try:
            return l2_normalize(raw)
        except ValueError as fault:
            raise ModelError(
                f"model {self.model_id} gave an embedding without direction ({fault}): {REMEDY}"
            ) from fault

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


def _pixel_values(manifest: Manifest) -> npt.NDArray[Any]:
    """Return the (256,) value that the network wants for each uint8."""
    scale, zero_point = manifest.input.scale, manifest.input.zero_point
    if scale is None or zero_point is None:
        return ((np.arange(256) - manifest.mean) / manifest.std).astype(np.float32)
    return pixel_table(manifest.mean, manifest.std, scale, zero_point)


def _check_digest(manifest: Manifest) -> None:
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


class _Keys:
    """Read typed values of a manifest by dotted key; every mistake names the key."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        self._path = path
        self._values = values

    def expect(self, key: str, holds: bool, what: str) -> None:
        if not holds:
            value: Any = self._values
            for part in key.split("."):
                value = value.get(part, "nothing") if isinstance(value, dict) else "nothing"
            raise ModelError(f"{self._path}: key {key} expects {what}, received {_short(value)}: {REMEDY}")

    def text(self, key: str) -> str:
        value = self._get(key)
        self.expect(key, isinstance(value, str) and value != "", "a text")
        return str(value)

    def integer(self, key: str) -> int:
        value = self._get(key)
        self.expect(key, _is_integer(value) and value > 0, "a whole number above 0")
        return int(value)

    def number(self, key: str) -> float:
        value = self._get(key)
        self.expect(key, _is_number(value), "a finite number")
        return float(value)

    def tensor(self, key: str) -> Tensor:
        shape, dtype = self._get(f"{key}.shape"), self.text(f"{key}.dtype")
        self.expect(
            f"{key}.shape", isinstance(shape, list) and all(map(_is_integer, shape)), "a list of numbers"
        )
        self.expect(f"{key}.dtype", dtype in ("int8", "float32"), "int8 or float32")
        if dtype == "float32":
            return Tensor(tuple(shape), dtype, None, None)
        scale, zero_point = self.number(f"{key}.scale"), self._get(f"{key}.zero_point")
        self.expect(f"{key}.scale", scale > 0, "a number above 0")
        self.expect(f"{key}.zero_point", _is_integer(zero_point) and -128 <= zero_point <= 127, "an int8")
        return Tensor(tuple(shape), dtype, scale, int(zero_point))

    def thresholds(self, key: str) -> Mapping[float, float]:
        pairs = self._get(key)
        what = "similarities by FMR, as {'1e-3': 0.3, '1e-4': 0.4}, rising as the FMR falls"
        self.expect(key, isinstance(pairs, dict) and len(pairs) > 0, what)
        try:
            known = {float(rate): value for rate, value in pairs.items()}
        except ValueError:
            known = {}
        ordered = [known[rate] for rate in sorted(known, reverse=True)]
        self.expect(key, bool(known) and all(0 < rate < 1 for rate in known), what)
        self.expect(key, all(_is_number(value) and -1 <= value <= 1 for value in ordered), what)
        self.expect(key, ordered == sorted(ordered), what)
        return {rate: float(value) for rate, value in known.items()}

    def _get(self, key: str) -> Any:
        value: Any = self._values
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ModelError(f"{self._path}: manifest expects key {key}, received none: {REMEDY}")
            value = value[part]
        return value


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300  # False for NaN; JSON knows whole numbers that no float can hold


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
