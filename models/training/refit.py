"""Refit a network's last linear layer to a new target by ridge regression, and leave the rest as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.blocks import ConvBlock, Staged

RIDGE = 0.1  # of the features' mean variance
BATCH = 128


@torch.no_grad()
def refit_last_layer(network: Staged, faces: Tensor, targets: Tensor) -> None:
    """Solve the last 1x1 convolution and its batch norm for `targets` (N, D), given the features below of `faces`.

    Raises:
        ValueError: the network gives another number of outputs than D.
    """
    blocks = [m for m in network.modules() if isinstance(m, ConvBlock)]
    conv, norm = blocks[-1][0], blocks[-1][1]
    if conv.out_channels != targets.shape[1]:
        raise ValueError(
            f"the last layer gives {conv.out_channels} numbers, the targets have {targets.shape[1]}: set dim ="
            f" {targets.shape[1]} in the recipe"
        )
    features = features_below(network, blocks[-1], faces).double()
    goal = F.normalize(targets).double()
    mean_x, mean_y = features.mean(dim=0), goal.mean(dim=0)
    centered = features - mean_x
    covariance = centered.T @ centered / len(features)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    weight = torch.linalg.solve(covariance + ridge, centered.T @ (goal - mean_y) / len(features)).T
    output = centered @ weight.T
    conv.weight.copy_(weight[:, :, None, None])
    # the batch norm changes nothing in evaluation: it gives back the spread that it takes away
    norm.running_mean.copy_(mean_x @ weight.T)
    norm.running_var.copy_(output.var(dim=0))
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(mean_y)


def features_below(network: Staged, block: nn.Module, faces: Tensor) -> Tensor:
    """Return what `block` is given (N, C) for each of the faces, in eval mode."""
    seen: list[Tensor] = []
    hook = block.register_forward_pre_hook(lambda _module, given: seen.append(given[0].flatten(1).float()))
    was_training = network.training
    network.eval()
    with torch.autocast(faces.device.type, torch.bfloat16):
        for part in faces.split(BATCH):
            network(part)
    network.train(was_training)
    hook.remove()
    return torch.cat(seen)
