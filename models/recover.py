"""Read a shipped int8 file back into its network, so that training can go on where no checkpoint was kept.

Weights come back from their int8 grid; batch norms, folded away by the export, are put in again with the statistics of
some faces, so that the network's answers stay the same in evaluation and nearly so in training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor, nn

from models.blocks import ConvBlock, Staged

LEAST_COSINE = 0.9  # between the file's embeddings and the recovered network's


def recover(network: Staged, model: Path, faces: Tensor) -> Staged:
    """Fill `network` with the weights of the int8 file `model`; `faces` (N, 3, H, W) set the batch norms.

    Raises:
        ValueError: the file is of another network.
    """
    layers = convolutions(network, faces[:1])
    arrays = file_weights(model)
    if [tuple(layer.weight.shape) for layer in layers] != [weight.shape for weight, _ in arrays]:
        raise ValueError(f"{model} is of another network: its {len(arrays)} convolutions have other shapes")
    norms = {id(block[0]): block[1] for block in network.modules() if isinstance(block, ConvBlock)}
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, arrays, strict=True):
            layer.weight.copy_(torch.from_numpy(weight))
            fill_bias(layer, norms.get(id(layer)), torch.from_numpy(bias))
        restore_statistics(network, faces)
    return network


def convolutions(network: Staged, face: Tensor) -> list[nn.Conv2d]:
    """Return the convolutions in the order in which a forward pass calls them."""
    called: list[nn.Conv2d] = []
    hooks = [
        layer.register_forward_hook(lambda module, _inputs, _output: called.append(module))
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.no_grad():
        network.eval()(face)
    for hook in hooks:
        hook.remove()
    return called


def file_weights(model: Path) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Return weight, in torch's order of axes, and bias of every convolution of an int8 file, in its own order."""
    interpreter = Interpreter(
        str(model), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    tensors = {details["index"]: details for details in interpreter.get_tensor_details()}
    found = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            _, weight, bias = (tensors[index] for index in operator["inputs"])
            axes = (0, 3, 1, 2) if operator["op_name"] == "CONV_2D" else (3, 0, 1, 2)
            found.append(
                (dequantized(interpreter, weight).transpose(axes).copy(), dequantized(interpreter, bias))
            )
    return found


def dequantized(interpreter: Interpreter, details: dict[str, object]) -> npt.NDArray[np.float32]:
    """Return a constant of the file in real numbers; zero points are 0, scales per channel."""
    values = interpreter.get_tensor(details["index"]).astype(np.float32)
    parameters = details["quantization_parameters"]
    shape = np.ones(values.ndim, int)
    shape[parameters["quantized_dimension"]] = -1
    return values * parameters["scales"].reshape(shape)


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
