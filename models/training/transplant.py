"""Start a MobileNetV1 trunk from a trained MobileFaceNet (ReLU6): most of its layers fit into the wider table exactly.

A MobileFaceNet is depthwise, project, expand, depthwise ...; project and expand are both linear, so together they are
the one pointwise layer of a MobileNetV1. What a shortcut carries past a bottleneck goes along in channels of its own:
scaled into [0, 6], ReLU6 lets it pass, and a depthwise filter of one centered 1 does too. MobileNetV1 has fewer layers:
of the bottlenecks with a shortcut, one of four at 28x28, five of six at 14x14 and one of two at 7x7 are taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.int8.recover import restore_statistics
from models.networks.blocks import Bottleneck, ConvBlock
from models.networks.mobilefacenet import MobileFaceNet
from models.networks.mobilenet_v1 import MobileNetV1Face

# Places of the bottlenecks (of 15) whose depthwise layers are taken, in the order of pairs 3 to 12.
TAKEN = (0, 1, 5, 6, 7, 8, 9, 10, 12, 13)
CENTER = 3.0  # of what is carried through ReLU6
MARGIN = 1.3  # the carried range, as a share of the range seen: with bottlenecks left out, values move


@dataclass(frozen=True)
class Affine:
    """y = matrix x + shift over channels."""

    matrix: Tensor
    shift: Tensor

    def after(self, first: Affine) -> Affine:
        return Affine(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)


def folded(block: ConvBlock) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a block with its batch norm folded in."""
    conv, norm = block[0], block[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale


def pointwise(block: ConvBlock) -> Affine:
    weight, bias = folded(block)
    return Affine(weight.flatten(1), bias)


def put(block: ConvBlock, rows: list[tuple[Tensor, Tensor]]) -> None:
    """Write weights and biases, one pair under the other, into a block's first channels; the others stay random.

    A weight of fewer input channels than the block's leaves the rest at zero.
    """
    conv, norm = block[0], block[1]
    norm.weight.fill_(1)
    norm.bias.zero_()
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    start = 0
    for weight, bias in rows:
        place = conv.weight[start : start + len(weight)]
        place.zero_()
        place[:, : weight.shape[1]] = weight
        norm.bias[start : start + len(weight)] = bias
        start += len(weight)


def passing(channels: int) -> tuple[Tensor, Tensor]:
    """Return depthwise filters that change nothing."""
    weight = torch.zeros(channels, 1, 3, 3)
    weight[:, 0, 1, 1] = 1
    return weight, torch.zeros(channels)


def as_filters(map_: Affine) -> tuple[Tensor, Tensor]:
    return map_.matrix[:, :, None, None], map_.shift


@torch.no_grad()
def transplant(source: MobileFaceNet, target: MobileNetV1Face, faces: Tensor) -> None:
    """Fill `target` (width 1, ReLU6) from `source`; `faces` (N, 3, 112, 112) give ranges and batch norm statistics."""
    pairs = [part for stage in list(target.stages)[:3] for part in separable_pairs(stage)]
    blocks = [m for m in source.modules() if isinstance(m, Bottleneck)]
    ranges = carried_ranges(source, blocks, faces)
    fill_stem(target.stages[0][0], pairs[0], source.stages[0][0])
    fill_first_expansion(pairs, source.stages[0][0], blocks[0])
    value: Affine | None = None  # what the shortcut holds, of the channels of the pair before
    for pair, number, following in zip(pairs[3:], TAKEN, [*TAKEN[1:], None], strict=True):
        block = blocks[number]
        hidden = block.depthwise[0].weight.shape[0]
        carried = 0 if value is None else value.matrix.shape[1] - hidden
        put(pair[0], [folded(block.depthwise), passing(carried)])
        project = pointwise(block.project)
        value = project if value is None else with_shortcut(project, value, hidden)
        expand = pointwise(source.stages[3][0] if following is None else blocks[following].expand)
        rows = [as_filters(expand.after(value))]
        if following is None or not blocks[following].shortcut:
            put(pair[1], rows)
            value = None
            continue
        carry, back = ranges[following]
        put(pair[1], [*rows, as_filters(carry.after(value))])
        width = len(expand.shift)
        value = Affine(torch.cat([torch.zeros(len(back.shift), width), back.matrix], 1), back.shift)
    fill_head(target.stages[3], source.stages[3])
    restore_statistics(target, faces)


def separable_pairs(stage: nn.Module) -> list[nn.Sequential]:
    """Return the (depthwise, pointwise) pairs of a stage; the first stage has the stem before them."""
    parts = list(stage[1]) if isinstance(stage[0], ConvBlock) and stage[0][0].groups == 1 else list(stage)
    return [part for part in parts if isinstance(part, nn.Sequential)]


def with_shortcut(project: Affine, value: Affine, hidden: int) -> Affine:
    """Add what is carried to what a bottleneck projects from its `hidden` first channels."""
    matrix = value.matrix.clone()
    matrix[:, :hidden] += project.matrix
    return Affine(matrix, value.shift + project.shift)


def carried_ranges(
    source: MobileFaceNet, blocks: list[Bottleneck], faces: Tensor
) -> dict[int, tuple[Affine, Affine]]:
    """Return, for every bottleneck with a shortcut, the map of its input into [0, 6] and the way back."""
    inputs: dict[int, Tensor] = {}

    def keep(number: int):
        return lambda _module, given, _output: inputs.__setitem__(number, given[0])

    hooks = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks) if block.shortcut]
    source.eval()(faces)
    for hook in hooks:
        hook.remove()
    found = {}
    for number, x in inputs.items():
        low, high = x.amin(dim=(0, 2, 3)), x.amax(dim=(0, 2, 3))
        scale = 2 * CENTER / ((high - low) * MARGIN).clamp(min=1e-3)
        shift = CENTER - scale * (high + low) / 2
        found[number] = (Affine(scale.diag(), shift), Affine((1 / scale).diag(), -shift / scale))
    return found


def fill_stem(stem: ConvBlock, pair: nn.Sequential, source: nn.Sequential) -> None:
    """Let 27 channels hold the 3x3 patches of the three colors; the first pointwise layer the source's filters.

    The stem's filters are the places of the patch. Pixels in [-1, 1] lie in [1, 5] on the way.
    """
    places = torch.eye(9).view(9, 1, 3, 3).repeat(3, 1, 1, 1)  # channel: color, then place
    colors = torch.eye(3).repeat_interleave(9, dim=0)[:, :, None, None]
    put(stem, [(2 * colors * places, torch.full((27,), CENTER))])
    put(pair[0], [passing(27)])
    weight, bias = folded(source[0])
    filters = weight.flatten(1)
    put(pair[1], [as_filters(Affine(filters / 2, bias - filters.sum(dim=1) * CENTER / 2))])


def fill_first_expansion(pairs: list[nn.Sequential], source: nn.Sequential, first: Bottleneck) -> None:
    """Halve the map, then the source's depthwise stem and its first expansion."""
    channels = source[1][0].weight.shape[0]
    put(pairs[1][0], [passing(channels)])
    put(pairs[1][1], [as_filters(Affine(torch.eye(channels), torch.zeros(channels)))])
    put(pairs[2][0], [folded(source[1])])
    put(pairs[2][1], [as_filters(pointwise(first.expand))])


def fill_head(head: nn.Sequential, source: nn.Sequential) -> None:
    """Take over the global depthwise convolution of the channels that are used, and the projection."""
    put(head[0], [folded(source[1])])
    put(head[1], [as_filters(pointwise(source[2]))])
