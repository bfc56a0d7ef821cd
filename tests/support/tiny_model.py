"""python -m tests.support.tiny_model: write tests/data/tiny.tflite and .json, a network for tests in 2 KB.

The same kind of file as the real one, (1, 112, 112, 3) int8 to (1, 16) int8, but only an average pool
to 4x4 and a fully connected layer with seeded random weights: it tells pictures apart, not people. Tests make others
of the kind: another side and dimension, and a landmark network that answers a gray picture with its mean shape.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from device.numeric.face_shape import NEEDED_POINTS, STRAIGHT, STRAIGHT_POINTS
from device.numeric.geometry import ALIGNMENT_ID
from device.numeric.looks import NEAR_PX, WIDE_PX
from device.vision.liveness import joined_digest

DATA = Path(__file__).parents[1] / "data"
SIDE, POOL, DIMENSION = 112, 28, 16
CELLS = (SIDE // POOL) ** 2 * 3
INPUT_SCALE, WEIGHT_SCALE, OUTPUT_SCALE, OUTPUT_ZERO_POINT = 1 / 128, 1 / 64, 1 / 32, -1
PAD_WEIGHT, PAD_SCALE = 8, 1 / 16
LANDMARK_SIDE, LANDMARK_SCALE, LANDMARK_ZERO_POINT = 96, 1 / 256, -128


def tensor(
    name: str, shape: list[int], kind: int, buffer: int, scale: float, zero_point: int
) -> schema.TensorT:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
    return made


def operator(
    code: int, inputs: list[int], outputs: list[int], kind: int, options: object
) -> schema.OperatorT:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def operator_code(kind: int, version: int) -> schema.OperatorCodeT:
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = kind, kind, version
    return made


def buffer(data: bytes) -> schema.BufferT:
    made = schema.BufferT()
    made.data = np.frombuffer(data, np.uint8) if data else None
    return made


def build(side: int = SIDE, dimension: int = DIMENSION) -> bytes:
    """Return the .tflite of the tiny network for pictures of `side` pixels."""
    random = np.random.default_rng(0)
    weights = random.integers(-64, 65, (dimension, CELLS), dtype=np.int8)
    bias = random.integers(-2000, 2001, dimension, dtype=np.int32)
    return assemble(side, weights, bias, OUTPUT_SCALE, OUTPUT_ZERO_POINT)


def build_landmarks() -> bytes:
    """Return the .tflite of a landmark network: the mean shape, moved by what the picture differs from gray."""
    weights = np.random.default_rng(1).integers(-3, 4, (2 * len(LANDMARKS), CELLS), dtype=np.int8)
    bias = np.rint(MEAN_SHAPE.ravel() / (INPUT_SCALE * WEIGHT_SCALE)).astype(np.int32)
    return assemble(LANDMARK_SIDE, weights, bias, LANDMARK_SCALE, LANDMARK_ZERO_POINT)


def build_pad(side: int, *, looks: bool = True) -> bytes:
    """Return the .tflite of a liveness network that takes bright for live: a logit from -6 (black) to 6 (white).

    One that does not look says 0 to everything.
    """
    weights = np.full((1, CELLS), PAD_WEIGHT if looks else 0, np.int8)
    return assemble(side, weights, np.zeros(1, np.int32), PAD_SCALE, 0)


def assemble(
    side: int,
    weights: npt.NDArray[np.int8],
    bias: npt.NDArray[np.int32],
    output_scale: float,
    output_zero_point: int,
) -> bytes:
    """Return the .tflite of an average pool to 4x4 and a fully connected layer."""
    dimension = len(bias)
    pool = schema.Pool2DOptionsT()
    pool.padding = schema.Padding.VALID
    pool.strideW = pool.strideH = pool.filterWidth = pool.filterHeight = side // (SIDE // POOL)
    cells, int8 = [1, SIDE // POOL, SIDE // POOL, 3], schema.TensorType.INT8
    graph = schema.SubGraphT()
    graph.name, graph.inputs, graph.outputs = "tiny", [0], [4]
    graph.tensors = [
        tensor("face", [1, side, side, 3], int8, 0, INPUT_SCALE, 0),
        tensor("cells", cells, int8, 0, INPUT_SCALE, 0),
        tensor("weights", list(weights.shape), int8, 1, WEIGHT_SCALE, 0),
        tensor("bias", [dimension], schema.TensorType.INT32, 2, INPUT_SCALE * WEIGHT_SCALE, 0),
        tensor("embedding", [1, dimension], int8, 0, output_scale, output_zero_point),
    ]
    graph.operators = [
        operator(0, [0], [1], schema.BuiltinOptions.Pool2DOptions, pool),
        operator(
            1,
            [1, 2, 3],
            [4],
            schema.BuiltinOptions.FullyConnectedOptions,
            schema.FullyConnectedOptionsT(),
        ),
    ]
    model = schema.ModelT()
    model.version, model.description, model.subgraphs = 3, "tiny test network", [graph]
    model.operatorCodes = [
        operator_code(schema.BuiltinOperator.AVERAGE_POOL_2D, 2),
        operator_code(schema.BuiltinOperator.FULLY_CONNECTED, 4),
    ]
    model.buffers = [buffer(b""), buffer(weights.tobytes()), buffer(bias.astype("<i4").tobytes())]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def describe_file(network: bytes, name: str, side: int, output: list[Any]) -> dict[str, Any]:
    """Return what the manifests of all networks say; `output` is dimension, scale and zero point."""
    dimension, scale, zero_point = output
    return {
        "name": name,
        "file": f"{name}.tflite",
        "sha256": hashlib.sha256(network).hexdigest(),
        "bytes": len(network),
        "input": {
            "shape": [1, side, side, 3],
            "dtype": "int8",
            "scale": INPUT_SCALE,
            "zero_point": 0,
            "color_order": "RGB",
            "mean": 127.5,
            "std": 128.0,
        },
        "output": {"shape": [1, dimension], "dtype": "int8", "scale": scale, "zero_point": zero_point},
    }


def describe(
    network: bytes, name: str = "tiny", side: int = SIDE, dimension: int = DIMENSION
) -> dict[str, Any]:
    """Return the manifest of the tiny network."""
    common = describe_file(network, name, side, [dimension, OUTPUT_SCALE, OUTPUT_ZERO_POINT])
    return {
        "name": name,
        "model_id": f"{name}-{common['sha256'][:12]}",
        **common,
        "embedding_dim": dimension,
        "alignment": ALIGNMENT_ID,
        "thresholds": {"1e-3": 0.8, "1e-4": 0.9, "1e-5": 0.95},
        "training": {"note": "random weights, for tests only"},
        "evaluation": {},
    }


def describe_landmarks(network: bytes) -> dict[str, Any]:
    """Return the manifest of the tiny landmark network."""
    output = [2 * len(LANDMARKS), LANDMARK_SCALE, LANDMARK_ZERO_POINT]
    return {
        **describe_file(network, "landmarks", LANDMARK_SIDE, output),
        "points": list(LANDMARKS),
        "mean_shape": MEAN_SHAPE.tolist(),
        "largest_misfit": 0.1,
    }


def describe_pad(networks: dict[str, bytes]) -> dict[str, Any]:
    """Return the manifest of the tiny liveness networks."""
    sides = {"near": NEAR_PX, "wide": WIDE_PX}
    looks = {
        look: describe_file(network, f"pad_{look}", sides[look], [1, PAD_SCALE, 0])
        for look, network in networks.items()
    }
    digest = joined_digest(looks["near"]["sha256"], looks["wide"]["sha256"])
    return {"name": "pad", "model_id": f"pad-{digest}", **looks, "unsure": 0.6, "attack": 0.2}


def write(folder: Path, network: bytes, manifest: dict[str, Any]) -> Path:
    """Write a network and its manifest, and return the manifest's path."""
    (folder / manifest["file"]).write_bytes(network)
    path = folder / f"{manifest['name']}.json"
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    return path


def write_tiny(folder: Path, name: str, side: int, dimension: int) -> Path:
    """Write a tiny embedder of a side and a dimension, and return the manifest's path."""
    network = build(side, dimension)
    return write(folder, network, describe(network, name, side, dimension))


def write_landmarks(folder: Path) -> Path:
    """Write a tiny landmark network, and return the manifest's path."""
    network = build_landmarks()
    return write(folder, network, describe_landmarks(network))


def write_pad(folder: Path, *, unsure: float = 0.6, attack: float = 0.2, looks_around: bool = False) -> Path:
    """Write tiny liveness networks, and return the manifest's path."""
    networks = {"near": build_pad(NEAR_PX), "wide": build_pad(WIDE_PX, looks=looks_around)}
    manifest = describe_pad(networks) | {"unsure": unsure, "attack": attack}
    for look, network in networks.items():
        (folder / manifest[look]["file"]).write_bytes(network)
    path = folder / "pad.json"
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    return path


def mean_shape() -> npt.NDArray[np.float64]:
    """Return (127, 2) places of a made-up face that looks straight ahead, in shares of the square's side."""
    mesh = np.zeros((468, 2))
    angles = np.linspace(0, 2 * np.pi, 468)
    mesh[:] = np.column_stack([0.9 * np.cos(angles), 0.5 + 1.1 * np.sin(angles)])  # an oval, for all others
    mesh[list(STRAIGHT_POINTS)] = STRAIGHT[:, :2]
    for sign, lids in ((-1, ((160, 159, 158), (144, 145, 153))), (1, ((387, 386, 385), (373, 374, 380)))):
        for row, height in zip(lids, (-0.065, 0.065), strict=True):
            mesh[list(row)] = [(sign * x, height) for x in (0.6, 0.49, 0.38)]
    return 0.5 + 0.25 * (mesh[list(LANDMARKS)] - (0, 0.5))


LANDMARKS = (*sorted(NEEDED_POINTS), *sorted(set(range(468)) - NEEDED_POINTS)[::4][:101])
MEAN_SHAPE = mean_shape()


if __name__ == "__main__":
    content = build()
    write(DATA, content, describe(content))
