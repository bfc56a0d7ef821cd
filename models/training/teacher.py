"""Load a published MobileFaceNet (PReLU) from ONNX into this project's own network, to teach from it.

Conv, batch norm and PReLU of the file follow the order of Table 1, so the tensors are taken in that order; the
check is the output itself: `tests/test_teacher.py` holds it against onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from models.networks.mobilefacenet import MobileFaceNet


def load_teacher(path: Path) -> MobileFaceNet:
    """Return the network of `path` in eval mode, without gradients; input is (pixel - 127.5) / 128.

    Raises:
        ValueError: the file is not a MobileFaceNet of the paper's Table 1.
    """
    teacher = MobileFaceNet(act="prelu")
    graph = onnx.load(str(path)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    groups = [[arrays[name] for name in node.input if name in arrays] for node in graph.node]
    groups = [
        group
        for group, node in zip(groups, graph.node, strict=True)
        if node.op_type not in ("Sub", "Mul") and group
    ]
    layers = [m for m in teacher.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.PReLU))]
    if len(groups) != len(layers):
        raise ValueError(f"{path} has {len(groups)} layers with weights, a MobileFaceNet has {len(layers)}")
    epsilons = [
        a.f
        for node in graph.node
        if node.op_type == "BatchNormalization"
        for a in node.attribute
        if a.name == "epsilon"
    ]
    for layer, group in zip(layers, groups, strict=True):
        copy_layer(layer, group)
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    fold_epsilon(norms, epsilons)
    fold_linear_bias(norms[-1], groups[-2])
    return teacher.eval().requires_grad_(False)


def copy_layer(layer: nn.Module, arrays: list[np.ndarray]) -> None:
    """Copy the arrays of one ONNX node into the layer that stands at the same place of the table."""
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    with torch.no_grad():
        if isinstance(layer, nn.BatchNorm2d):
            for target, source in zip(
                (layer.weight, layer.bias, layer.running_mean, layer.running_var), tensors, strict=True
            ):
                target.copy_(source)
        else:
            layer.weight.copy_(tensors[0].reshape(layer.weight.shape))


def fold_epsilon(norms: list[nn.BatchNorm2d], epsilons: list[float]) -> None:
    """Move the file's epsilons, which differ from ours, into the running variances."""
    for norm, epsilon in zip(norms, epsilons, strict=True):
        norm.running_var += epsilon - norm.eps


def fold_linear_bias(norm: nn.BatchNorm2d, linear: list[np.ndarray]) -> None:
    """Move the bias of the file's last linear layer into the batch norm behind it."""
    if len(linear) > 1:
        norm.running_mean -= torch.from_numpy(linear[1].copy())
