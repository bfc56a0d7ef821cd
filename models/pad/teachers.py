"""The six public liveness networks that ours learns from, read from ONNX into `MiniFASNet`.

Each file is the table of `models.networks.minifasnet` with the batch norms folded into the convolutions, one or two of
its own rows pruned differently. What each wants to see, and which of its answers is live, stands in `TEACHERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models.networks.blocks import ConvBlock
from models.networks.minifasnet import Block, MiniFASNet, Row
from models.pad.looks import LOOKS, Box, Image

CLIP = 8.0  # of a teacher's logit, so that none outvotes the others


@dataclass(frozen=True)
class Teacher:
    """A public network: file, what it sees, and its answers.

    `look` is one of `models.pad.looks.LOOKS`; `scale` and `bgr` say how pixels in [0, 255] RGB become its input.
    """

    file: str
    look: str
    live: int
    scale: float = 1 / 255
    bgr: bool = False


TEACHERS = (
    Teacher("pad_teacher_27.onnx", "wide27", 1, 1.0, True),
    Teacher("pad_teacher_40.onnx", "wide40", 1, 1.0, True),
    Teacher("pad_teacher_bin15.onnx", "near15_black", 0),
    Teacher("pad_teacher_bin10.onnx", "near10_black", 0),
    Teacher("pad_teacher_pr10.onnx", "near10_black", 0),
    Teacher("pad_teacher_ref15.onnx", "near15_mirror", 0),
)
NAMES = tuple(teacher.file.removesuffix(".onnx").rpartition("_")[2] for teacher in TEACHERS)


def load_teacher(path: Path) -> MiniFASNet:
    """Read a teacher: pictures (N, 3, side, side) as the file wants them, to the logits before its softmax."""
    graph = onnx.load(path).graph
    tensors = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    convolutions = [
        [torch.from_numpy(tensors[name].copy()) for name in node.input[1:]]
        for node in graph.node
        if node.op_type == "Conv"
    ]
    slopes = [
        torch.from_numpy(tensors[node.input[1]].copy()).flatten()
        for node in graph.node
        if node.op_type == "PRelu"
    ]
    side = graph.input[0].type.tensor_type.shape.dim[3].dim_value
    excite = any(node.op_type == "Sigmoid" for node in graph.node)
    head = head_of(graph, tensors)
    network = MiniFASNet(side, len(head[1]), rows_of(convolutions, excite), excite=excite)
    fill(network, convolutions, slopes)
    with torch.no_grad():
        network.answer.weight.copy_(head[0][..., None, None])
        network.answer.bias.copy_(head[1])
    return network.eval()


def rows_of(convolutions: list[list[Tensor]], excite: bool) -> tuple[Row, ...]:
    """Read the table off the shapes: a depthwise convolution follows its block's expansion."""
    shapes = [tuple(weight.shape) for weight, *_ in convolutions[2:-2]]
    blocks: list[list[tuple[int, ...]]] = []
    at = 0
    while at < len(shapes):
        blocks.append(list(shapes[at : at + 3]))
        at += 3
        while at + 1 < len(shapes) and excite and shapes[at][0] * 4 == shapes[at][1]:  # squeeze and excite
            at += 2
    rows: list[Row] = []
    counts = (5, 7, 3)
    for count in counts:
        down, *rest = blocks[:count]
        blocks = blocks[count:]
        rows.append(Row(down[0][0], down[2][0], tuple(block[0][0] for block in rest)))
    return tuple(rows)


def head_of(graph: onnx.GraphProto, tensors: dict[str, npt.NDArray]) -> tuple[Tensor, Tensor]:
    """Join linear layer, batch norm and classifier in a matrix (answers, 512) and a bias (answers,)."""
    first, second = (tensors[node.input[1]] for node in graph.node if node.op_type == "MatMul")
    norm = next(node for node in graph.node if node.op_type == "BatchNormalization")
    gamma, beta, mean, var = (tensors[name] for name in norm.input[1:5])
    eps = next((item.f for item in norm.attribute if item.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(var + eps)
    weight = (first * scale) @ second
    bias = (beta - mean * scale) @ second
    return torch.from_numpy(weight.T.copy()), torch.from_numpy(bias.copy())


@torch.no_grad()
def fill(network: MiniFASNet, convolutions: list[list[Tensor]], slopes: list[Tensor]) -> None:
    """Copy folded convolutions and slopes, in the order of the file; the batch norms become the biases."""
    waiting, bends = list(convolutions), list(slopes)
    for part in parts_of(network):
        weight, bias = waiting.pop(0)
        if isinstance(part, ConvBlock):
            convolution, norm = part[0], part[1]
            convolution.weight.copy_(weight)
            norm.weight.fill_(float(np.sqrt(1 + norm.eps)))
            norm.bias.copy_(bias)
            if len(part) > 2:
                part[2].weight.copy_(bends.pop(0))
        else:
            part.weight.copy_(weight)
            part.bias.copy_(bias)
    if waiting or bends:
        raise ValueError(
            f"{len(waiting)} convolutions and {len(bends)} slopes are left over: the table is another"
        )


def parts_of(network: MiniFASNet) -> list[nn.Module]:
    """Return what holds a convolution, in the order in which a picture passes."""
    found: list[nn.Module] = []
    for layer in [*network.trunk, network.widen, network.whole]:
        if not isinstance(layer, Block):
            found.append(layer)
            continue
        found += [layer.expand, layer.depthwise, layer.project]
        if not isinstance(layer.excite, nn.Identity):
            found += [layer.excite.gate[1], layer.excite.gate[3]]
    return found


def live_logit(answers: Tensor, live: int) -> Tensor:
    """Return log(p / (1 - p)) of the class `live`, clipped to +-CLIP: (N,) of (N, classes)."""
    others = torch.cat([answers[:, :live], answers[:, live + 1 :]], dim=1)
    return (answers[:, live] - others.logsumexp(1)).clamp(-CLIP, CLIP)


class Panel:
    """All six teachers: what they say of a frame."""

    def __init__(self, folder: Path, kind: torch.dtype = torch.bfloat16) -> None:
        self.kind = kind
        self.networks = [
            load_teacher(folder / teacher.file).to(memory_format=torch.channels_last) for teacher in TEACHERS
        ]

    @torch.no_grad()
    def logits(self, frames: list[tuple[Image, Box]]) -> npt.NDArray[np.float32]:
        """Return the live logits (N, 6) of frames and their boxes, in the order of NAMES."""
        found = []
        for teacher, network in zip(TEACHERS, self.networks, strict=True):
            looks = np.stack([LOOKS[teacher.look](image, box) for image, box in frames])
            if teacher.bgr:
                looks = looks[..., ::-1]
            pictures = torch.from_numpy(looks.astype(np.float32) * np.float32(teacher.scale)).permute(
                0, 3, 1, 2
            )
            with torch.autocast("cpu", self.kind, enabled=self.kind != torch.float32):
                answers = network(pictures.contiguous(memory_format=torch.channels_last))
            found.append(live_logit(answers.float(), teacher.live).numpy())
        return np.stack(found, axis=1)


def joint(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return the joint teacher's logit (N,) of all six (N, 6): the mean of five, 27 and 40 together being one."""
    pair = np.log1p(np.exp(-logits[:, :2]))  # -log p
    p = np.clip(np.exp(-pair).mean(1), 1e-6, 1 - 1e-6)
    wide = np.clip(np.log(p / (1 - p)), -CLIP, CLIP)
    return np.column_stack([wide, logits[:, 2:]]).mean(1)
