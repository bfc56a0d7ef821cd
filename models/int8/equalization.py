"""Give every channel before a PReLU the same range, so that int8, one scale a tensor, is fair to all of them.

Cross-layer equalization (Nagel et al., 2019, arXiv 1906.04721, section 4.1): PReLU(s x) = s PReLU(x) for s > 0, so a
channel may be scaled by s before it and by 1 / s in the next convolution; the function stays the same. The paper
balances the ranges of the two layers' weights; here the first range is that of the activations, seen on some faces.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.int8.quantization_aware import fold
from models.networks.blocks import ConvBlock

FACES_AT_ONCE = 32
BENDS = (nn.PReLU, nn.ReLU)  # f(s x) = s f(x) for s > 0
LEAST = 1e-3  # a channel that never says anything keeps a finite scale


@torch.no_grad()
def equalize(network: nn.Module, faces: Tensor) -> nn.Module:
    """Fold and equalize a network of PReLUs or ReLUs, in place, by what `faces` (N, 3, H, W) make it say; return it.

    Only of a network where what an activation says goes to the next `ConvBlock` and nowhere else.
    """
    fold(network)
    chain = [m for m in network.modules() if isinstance(m, ConvBlock)]
    ranges = channel_ranges(network, [b for b in chain if isinstance(b[-1], BENDS)], faces)
    for block, following in pairwise(chain):
        if block in ranges:
            scale_channels(block[0], following[0], ranges[block])
    return network


def channel_ranges(network: nn.Module, blocks: list[ConvBlock], faces: Tensor) -> dict[nn.Module, Tensor]:
    """Return, for each block, the (C,) mean over faces of the largest |value| before its activation."""
    found: dict[nn.Module, list[Tensor]] = {block: [] for block in blocks}
    hooks = [
        block[-1].register_forward_hook(
            lambda _module, inputs, _output, block=block: found[block].append(
                inputs[0].abs().amax(dim=(2, 3))
            )
        )
        for block in blocks
    ]
    for part in faces.split(FACES_AT_ONCE):
        network.eval()(part)
    for hook in hooks:
        hook.remove()
    return {block: torch.cat(parts).mean(dim=0).clamp(min=LEAST) for block, parts in found.items()}


def scale_channels(conv: nn.Conv2d, following: nn.Conv2d, ranges: Tensor) -> None:
    """Scale the channels of `conv` so that their ranges meet those of the next layer's weights, and that layer back.

    A depthwise layer has a scale for each channel anyway, so before it all channels get one range.
    """
    if following.groups > 1:
        scale, shape = 1 / ranges, (-1, 1, 1, 1)
    else:
        weights = following.weight.abs().amax(dim=(0, 2, 3)).clamp(min=LEAST)
        scale, shape = (weights / ranges).sqrt(), (1, -1, 1, 1)
    scale = scale / scale.log().mean().exp()
    conv.weight.mul_(scale.view(-1, 1, 1, 1))
    conv.bias.mul_(scale)
    following.weight.div_(scale.view(shape))
