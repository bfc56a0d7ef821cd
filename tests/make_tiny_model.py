"""python -m tests.make_tiny_model: write tests/data/tiny.tflite and .json, a network for tests in 2 KB.

The same kind of file as the real one, (1, 112, 112, 3) int8 to (1, 16) int8, but only an average pool
of 28x28 and a fully connected layer with seeded random weights: it tells pictures apart, not people.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from device.geometry import ALIGNMENT_ID

DATA = Path(__file__).parent / "data"
SIDE, POOL, DIMENSION = 112, 28, 16
CELLS = (SIDE // POOL) ** 2 * 3
INPUT_SCALE, WEIGHT_SCALE, OUTPUT_SCALE, OUTPUT_ZERO_POINT = 1 / 128, 1 / 64, 1 / 32, -1


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


def build(side: int = SIDE) -> bytes:
    """Return the .tflite of the tiny network for pictures of `side` pixels."""
    pool = schema.Pool2DOptionsT()
    pool.padding = schema.Padding.VALID
    pool.strideW = pool.strideH = pool.filterWidth = pool.filterHeight = side // (SIDE // POOL)
    cells, int8 = [1, SIDE // POOL, SIDE // POOL, 3], schema.TensorType.INT8
    graph = schema.SubGraphT()
    graph.name, graph.inputs, graph.outputs = "tiny", [0], [4]
    graph.tensors = [
        tensor("face", [1, side, side, 3], int8, 0, INPUT_SCALE, 0),
        tensor("cells", cells, int8, 0, INPUT_SCALE, 0),
        tensor("weights", [DIMENSION, CELLS], int8, 1, WEIGHT_SCALE, 0),
        tensor("bias", [DIMENSION], schema.TensorType.INT32, 2, INPUT_SCALE * WEIGHT_SCALE, 0),
        tensor("embedding", [1, DIMENSION], int8, 0, OUTPUT_SCALE, OUTPUT_ZERO_POINT),
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
    random = np.random.default_rng(0)
    weights = random.integers(-64, 65, (DIMENSION, CELLS), dtype=np.int8)
    bias = random.integers(-2000, 2001, DIMENSION, dtype=np.int32)
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


def describe(network: bytes) -> dict[str, object]:
    """Return the manifest of the tiny network."""
    digest = hashlib.sha256(network).hexdigest()
    return {
        "name": "tiny",
        "model_id": f"tiny-{digest[:12]}",
        "file": "tiny.tflite",
        "sha256": digest,
        "bytes": len(network),
        "input": {
            "shape": [1, SIDE, SIDE, 3],
            "dtype": "int8",
            "scale": INPUT_SCALE,
            "zero_point": 0,
            "color_order": "RGB",
            "mean": 127.5,
            "std": 128.0,
        },
        "output": {
            "shape": [1, DIMENSION],
            "dtype": "int8",
            "scale": OUTPUT_SCALE,
            "zero_point": OUTPUT_ZERO_POINT,
        },
        "embedding_dim": DIMENSION,
        "alignment": ALIGNMENT_ID,
        "thresholds": {"1e-3": 0.8, "1e-4": 0.9, "1e-5": 0.95},
        "training": {"note": "random weights, for tests only"},
        "evaluation": {},
    }


if __name__ == "__main__":
    network = build()
    (DATA / "tiny.tflite").write_bytes(network)
    (DATA / "tiny.json").write_text(json.dumps(describe(network), indent=1) + "\n")
