"""Read the shipped liveness files back into the network, so that training goes on where no run was kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.int8.recover import called, file_slopes, file_weights
from models.networks.minifasnet import MiniFASNet
from models.networks.pad import NEAR_TEACHERS, WIDE_TEACHERS, TwoLooks
from models.pad.distill import FITTED, Looks, ridge, some_looks, trunk_features


@torch.no_grad()
def recover(weights: Path, looks: Looks, count: int = FITTED) -> TwoLooks:
    """Fill the network from `pad_near.tflite` and `pad_wide.tflite` of a folder.

    The files hold one answer each, the trunk's part of the logit. What it repeats of each teacher beside it is fitted
    anew, by ridge regression on some looks.

    Raises:
        ValueError: a file is of another network.
    """
    network = TwoLooks().to(memory_format=torch.channels_last)
    rows = some_looks(looks, count)
    teachers = rows["teachers"].astype(np.float32)
    for trunk, name, chosen in (
        (network.near, "near", NEAR_TEACHERS),
        (network.wide, "wide", WIDE_TEACHERS),
    ):
        fill(trunk, weights / f"pad_{name}.tflite")
        beside, offset = ridge(trunk_features(trunk, rows[name]), torch.from_numpy(teachers[:, chosen]))
        trunk.answer.weight[1:] = beside[..., None, None]
        trunk.answer.bias[1:] = offset
    return network


def fill(trunk: MiniFASNet, file: Path) -> None:
    """Fill a trunk and its first answer from its file, where both are one convolution over the whole map."""
    *layers, whole, answer = called(trunk, torch.zeros(1, 3, trunk.side_px, trunk.side_px), nn.Conv2d)
    activations = called(trunk, torch.zeros(1, 3, trunk.side_px, trunk.side_px), nn.PReLU)
    (*arrays, (weight, bias)), slopes = file_weights(file), file_slopes(file)
    shapes = [tuple(layer.weight.shape) for layer in layers]
    if shapes != [array.shape for array, _ in arrays] or len(slopes) != len(activations):
        raise ValueError(
            f"{file} is of another network: its {len(arrays) + 1} convolutions have other shapes"
        )
    for layer, (array, level) in zip(layers, arrays, strict=True):
        layer.weight.copy_(torch.from_numpy(array))
        layer.bias.copy_(torch.from_numpy(level))
    for activation, slope in zip(activations, slopes, strict=True):
        activation.weight.copy_(torch.from_numpy(slope))
    split_answer(whole, answer, weight, bias)


def split_answer(
    whole: nn.Conv2d, answer: nn.Conv2d, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
) -> None:
    """Part the one convolution (1, C, h, w) into a depthwise one of even channels, and the first of the answers."""
    both = torch.from_numpy(weight)[0]
    size = both.flatten(1).norm(dim=1).clamp(min=1e-6)
    whole.weight.copy_((both / size[:, None, None])[:, None])
    whole.bias.zero_()
    answer.weight[0] = size[:, None, None]
    answer.bias[0] = float(bias[0])
