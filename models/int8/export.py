"""Export a trained network: torch -> LiteRT float32 -> int8 in and out, with its manifest.

Batch norm is folded by the converter. Weights are int8 per channel, activations int8 per tensor, ranges from
representative samples (Jacob et al., arXiv 1712.05877). Only operators that XNNPACK runs in int8 may be in the file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer import quantizer, recipe
from torch import nn

from device.numeric.geometry import ALIGNMENT_ID
from device.numeric.quantization import dequantize, quantize
from models.int8.split_depthwise import split_global_depthwise
from models.training.data import PIXEL_MEAN, PIXEL_STD

INT8_OPERATORS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "PAD", "RESHAPE", "FULLY_CONNECTED"}
    | {"MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "LOGISTIC", "MUL", "CONCATENATION", "QUANTIZE", "SLICE"}
)
SPLITTING_FACES = 256  # set the ranges of a split layer's first half


def to_litert(network: nn.Module, path: Path) -> None:
    """Write `network`, (1, 3, H, W) in torch with H, W its `input_px`, as a float32 .tflite with (1, H, W, 3) input."""
    channels_last = litert_torch.to_channel_last_io(network.eval(), args=[0])
    example = (torch.zeros(1, *network.input_px, 3),)
    litert_torch.convert(channels_last, example).export(str(path))


def to_int8(float_model: Path, samples: npt.NDArray[np.uint8], path: Path) -> None:
    """Quantize `float_model` to int8 in and out; `samples` (N, H, W, 3) uint8 RGB set the ranges."""
    job = quantizer.Quantizer(str(float_model))
    job.load_quantization_recipe(recipe.static_wi8_ai8())
    signature, inputs = next(iter(Interpreter(str(float_model)).get_signature_list().items()))
    faces = [{inputs["inputs"][0]: normalize(image[None])} for image in with_extremes(samples)]
    path.unlink(missing_ok=True)
    job.quantize(job.calibrate({signature: faces})).export_model(str(path))
    split_global_depthwise(path, [normalize(image[None]) for image in samples[:SPLITTING_FACES]])


def normalize(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return (pixel - 127.5) / 128 as float32."""
    return (images.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD


def with_extremes(samples: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give every sample a black and a white pixel: the input scale then covers 0 to 255 and no pixel saturates."""
    samples = samples.copy()
    samples[:, 0, 0], samples[:, 0, 1] = 0, 255
    return samples


def operators(model: Path) -> set[str]:
    """Return the names of the operators of a .tflite file."""
    plain = Interpreter(
        str(model), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    return {details["op_name"] for details in plain._get_ops_details()}


def embeddings(model: Path, images: npt.NDArray[np.uint8], threads: int = 1) -> npt.NDArray[np.float32]:
    """Run a .tflite file over (N, H, W, 3) uint8 RGB faces; returns L2-normalized (N, D)."""
    found = outputs(model, images, threads)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def outputs(model: Path, images: npt.NDArray[np.uint8], threads: int = 1) -> npt.NDArray[np.float32]:
    """Run a .tflite file, float32 or int8, over (N, H, W, 3) uint8 RGB faces; returns (N, D)."""
    interpreter = Interpreter(str(model), num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for image in images:
        values = normalize(image[None])
        if source["dtype"] == np.int8:
            values = quantize(values, *source["quantization"])
        interpreter.set_tensor(source["index"], values)
        interpreter.invoke()
        output = interpreter.get_tensor(target["index"])[0]
        rows.append(dequantize(output, *target["quantization"]) if output.dtype == np.int8 else output)
    return np.stack(rows)


def manifest(name: str, model: Path, thresholds: dict[str, float], **records: Any) -> dict[str, Any]:
    """Describe `model` for the board: identity, tensors, colors, alignment and thresholds per FMR."""
    data = model.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    interpreter = Interpreter(str(model))
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    return {
        "name": name,
        "model_id": f"{name}-{digest[:12]}",
        "file": model.name,
        "sha256": digest,
        "bytes": len(data),
        "input": tensor(source) | {"color_order": "RGB", "mean": PIXEL_MEAN, "std": PIXEL_STD},
        "output": tensor(target),
        "embedding_dim": int(target["shape"][-1]),
        "alignment": ALIGNMENT_ID,
        "thresholds": thresholds,
    } | records


def tensor(details: dict[str, Any]) -> dict[str, Any]:
    """Describe one input or output tensor."""
    scale, zero_point = details["quantization"]
    quantized = details["dtype"] == np.int8
    return {
        "shape": [int(n) for n in details["shape"]],
        "dtype": np.dtype(details["dtype"]).name,
        "scale": float(scale) if quantized else None,
        "zero_point": int(zero_point) if quantized else None,
    }


def write_manifest(values: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n")
