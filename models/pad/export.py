"""Bring the liveness network to the board: each trunk an int8 file, its answer one convolution, its channels equalized.

The stem and the near network's gates stay float32. Behind the last activation all is linear: the global depthwise
convolution and the answer are one convolution over the whole map, of one channel. Equalization needs an activation
f(s x) = s f(x), which ReLU and PReLU are (models.int8.equalization).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from torch import Tensor, nn

from device.numeric.quantization import dequantize, quantize
from models.int8 import export
from models.int8.equalization import equalize
from models.int8.litert_graph import read_graph, write_graph
from models.int8.quantization_aware import fold, int8_activations
from models.networks.blocks import ConvBlock, SqueezeExcite
from models.networks.minifasnet import Block, MiniFASNet

PIXEL_MEAN, PIXEL_STD = 0.0, 255.0
EQUALIZING_LOOKS = 256
HEADROOM = 1.1  # of the logit's range
OPERATORS = export.INT8_OPERATORS | {"DEQUANTIZE"}


class Answer(nn.Module):
    """A trunk as it is shipped: (N, 3, side, side) in [0, 1] to its part of the logit, (N, 1)."""

    def __init__(self, network: MiniFASNet, looks: Tensor) -> None:
        super().__init__()
        network = copy.deepcopy(network).float().eval()
        self.input_px = (network.side_px, network.side_px)
        self.trunk, self.widen = network.trunk, network.widen
        self.answer = ConvBlock(network.widen[0].out_channels, 1, network.side_px // 16)
        with torch.no_grad():
            whole, first = fold(network).whole[0], network.answer
            line = first.weight[0, :, 0, 0]
            convolution = nn.Conv2d(len(line), 1, whole.kernel_size)
            convolution.weight.copy_((whole.weight[:, 0] * line[:, None, None])[None])
            convolution.bias.copy_((whole.bias * line).sum() + first.bias[:1])
        self.answer[0], self.answer[1] = convolution, nn.Identity()
        equalize(self, looks[:EQUALIZING_LOOKS])
        int8_activations(self)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.answer(self.widen(self.trunk(pictures))).flatten(1)


def to_files(network: MiniFASNet, name: str, looks: npt.NDArray[np.uint8], folder: Path) -> tuple[Path, Path]:
    """Write `name`_fp32.tflite and `name`.tflite (int8) of a trunk; `looks` (N, side, side, 3) set the ranges."""
    single, int8 = folder / f"{name}_fp32.tflite", folder / f"{name}.tflite"
    scaled = torch.from_numpy(looks[:EQUALIZING_LOOKS]).permute(0, 3, 1, 2).float() / 255
    export.to_litert(Answer(network, scaled), single)
    job = quantizer.Quantizer(str(single))
    job.load_quantization_recipe([*recipe.static_wi8_ai8(), *float_rules(network)])
    interpreter = Interpreter(str(single))
    signature, inputs = next(iter(interpreter.get_signature_list().items()))
    given = [{inputs["inputs"][0]: normalize(look[None])} for look in export.with_extremes(looks)]
    ranges = job.calibrate({signature: given})
    widest = HEADROOM * float(np.abs(outputs(single, looks)).max())
    sizes = {details["name"]: int(np.prod(details["shape"])) for details in interpreter.get_tensor_details()}
    for tensor, values in ranges.items():
        if (
            sizes.get(tensor) == 1
        ):  # the mean extreme of one logit a picture is about 0, and nothing would be left
            values["min"] = np.full_like(values["min"], -widest)
            values["max"] = np.full_like(values["max"], widest)
    int8.unlink(missing_ok=True)
    job.quantize(ranges).export_model(str(int8))
    write_graph(*read_graph(int8), int8)
    return single, int8


def float_rules(network: MiniFASNet) -> list[dict[str, Any]]:
    """Return rules of the quantizer for what stays float32, which costs next to no time.

    The stem: its map holds the faintest texture, and its slopes ask for negative values in the same 256 steps. The
    gates: one number a channel, of means that differ by hundredths. The sums behind them: gated channels differ in
    range, and would be rounded before they are added.
    """
    gated = [
        number
        for number, layer in enumerate(network.trunk)
        if isinstance(layer, Block) and isinstance(layer.excite, SqueezeExcite)
    ]
    names = [rf"_trunk/{ConvBlock.__module__}\.{ConvBlock.__name__}_[01]/", f"{SqueezeExcite.__name__}"]
    names += [f"{Block.__name__}_{number};" for number in gated]
    return [
        {
            "regex": f".*{name}.*",
            "operation": "*",
            "algorithm_key": AlgorithmName.NO_QUANTIZE,
            "op_config": {},
        }
        for name in names
    ]


def normalize(looks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return pixels in [0, 1]."""
    return (looks.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD


def outputs(model: Path, looks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return what a file, float32 or int8, says of looks (N, side, side, 3): (N,)."""
    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for look in looks:
        values = normalize(look[None])
        if source["dtype"] == np.int8:
            values = quantize(values, *source["quantization"])
        interpreter.set_tensor(source["index"], values)
        interpreter.invoke()
        raw = interpreter.get_tensor(target["index"])[0]
        found.append(dequantize(raw, *target["quantization"]) if raw.dtype == np.int8 else raw)
    return np.concatenate(found)
