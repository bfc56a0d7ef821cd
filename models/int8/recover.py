"""Read a shipped int8 file back into its network, so that training can go on where no checkpoint was kept.

Weights come back from their int8 grid; batch norms, folded away by the export, are put in again with the statistics of
some faces, so that the network's answers stay the same in evaluation and nearly so in training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor, nn

from models.networks.blocks import ConvBlock, Staged

LEAST_COSINE = 0.9  # between the file's embeddings and the recovered network's


def recover(network: Staged, model: Path, faces: Tensor) -> Staged:
    """Fill `network` with weights and slopes of the int8 file `model`; `faces` (N, 3, H, W) set the batch norms.

    Raises:
        ValueError: the file is of another network.
    """
    layers = called(network, faces[:1], nn.Conv2d)
    activations = called(network, faces[:1], nn.PReLU)
    arrays, slopes = file_weights(model), file_slopes(model)
    if [slope.size for slope in slopes] != [layer.num_parameters for layer in activations]:
        raise ValueError(f"{model} is of another network: its {len(slopes)} activations have other slopes")
    if [tuple(layer.weight.shape) for layer in layers] != [weight.shape for weight, _ in arrays]:
        raise ValueError(f"{model} is of another network: its {len(arrays)} convolutions have other shapes")
    norms = {id(block[0]): block[1] for block in network.modules() if isinstance(block, ConvBlock)}
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, arrays, strict=True):
            layer.weight.copy_(torch.from_numpy(weight))
            fill_bias(layer, norms.get(id(layer)), torch.from_numpy(bias))
        for activation, slope in zip(activations, slopes, strict=True):
            activation.weight.copy_(torch.from_numpy(slope))
        restore_statistics(network, faces)
    return network


def called(network: nn.Module, face: Tensor, kind: type[nn.Module]) -> list[Any]:
    """Return the layers of a kind in the order in which a forward pass calls them."""
    found: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda module, _inputs, _output: found.append(module))
        for layer in network.modules()
        if isinstance(layer, kind)
    ]
    with torch.no_grad():
        network.eval()(face)
    for hook in hooks:
        hook.remove()
    return found


def file_weights(model: Path) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Return weight, in torch's order of axes, and bias of every convolution of an int8 file, in its own order.

    What `split_depthwise` has split is one convolution again.
    """
    axes = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}
    found: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = []
    for name, held in file_constants(model):
        if name not in axes:
            continue
        weight, bias = held[0].transpose(axes[name]).copy(), held[-1]
        if found and is_sum_of_columns(found[-1][0], weight):
            weight = joined(found.pop()[0], weight)
        found.append((weight, bias))
    return found


def is_sum_of_columns(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> bool:
    """Say whether two depthwise weights are the halves of a split one: (W C, 1, H, 1) and (C, 1, W, 1)."""
    narrow = first.shape[1] == second.shape[1] == first.shape[3] == second.shape[3] == 1
    return narrow and len(first) == len(second) * second.shape[2] and second.shape[2] > 1


def joined(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the (C, 1, H, W) weight whose halves these are."""
    channels, columns = len(second), second.shape[2]
    taps = first.reshape(columns, channels, -1).transpose(1, 2, 0)  # (C, H, W)
    return (taps * second.reshape(channels, 1, columns))[:, None]


def file_slopes(model: Path) -> list[npt.NDArray[np.float32]]:
    """Return the slopes of every `Int8PReLU` of an int8 file: its products with a constant, which is slope - 1."""
    return [held[0].ravel() + 1 for name, held in file_constants(model) if name == "MUL" and held]


def file_constants(model: Path) -> list[tuple[str, list[npt.NDArray[np.float32]]]]:
    """Return every operator's name and its constants in real numbers, in the file's order; some are float32 there."""
    interpreter = Interpreter(
        str(model), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    tensors = {details["index"]: details for details in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    made = {index for operator in operators for index in operator["outputs"]}
    made |= {details["index"] for details in interpreter.get_input_details()}
    return [
        (
            operator["op_name"],
            [
                dequantized(interpreter, tensors[index])
                for index in operator["inputs"]
                if index >= 0
                and index not in made
                and (is_float(tensors[index]) or len(tensors[index]["quantization_parameters"]["scales"]))
            ],
        )
        for operator in operators
    ]


def is_float(details: dict[str, Any]) -> bool:
    return details["dtype"] is np.float32


def dequantized(interpreter: Interpreter, details: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return a constant of the file in real numbers."""
    parameters = details["quantization_parameters"]
    values = interpreter.get_tensor(details["index"])
    if is_float(details):
        return values
    shape = np.ones(values.ndim, int)
    shape[parameters["quantized_dimension"]] = -1
    real = values.astype(np.float32) - parameters["zero_points"].reshape(shape)
    return real * parameters["scales"].reshape(shape)


def fill_bias(layer: nn.Conv2d, norm: nn.BatchNorm2d | None, bias: Tensor) -> None:
    """Put a bias where the network has a place for it: the layer's own, or a batch norm that changes nothing else."""
    if norm is None:
        layer.bias.copy_(bias)
        return
    norm.weight.fill_(1)
    norm.bias.copy_(bias)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)


def restore_statistics(network: Staged, faces: Tensor) -> None:
    """Give every batch norm the mean and variance of its input over `faces`, and scale and shift that undo them."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def look(norm: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        seen[norm] = (inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3)).clamp(min=1e-6))

    hooks = [m.register_forward_hook(look) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    network.eval()(faces)
    for hook in hooks:
        hook.remove()
    for norm, (mean, variance) in seen.items():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)
