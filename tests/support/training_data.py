"""Small training data of public-domain portraits, an ONNX teacher of random weights, and recipes of short runs."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.int8.quantization_aware import fold
from models.networks.minifasnet import GLOBAL, MiniFASNet
from models.networks.mobilefacenet import MobileFaceNet
from models.pad.teachers import TEACHERS
from models.training.data import Augment
from tests.support.photos import photo

RECIPE = """network = "mobilefacenet"
act = "relu6"
init = "teacher"
seed = 3
batch = 8
weight_decay = 1e-4
ema_decay = 0.9
identity_pull = 0.5
[[phase]]
objective = "stagewise"
samples = 16
learning_rate = 1e-3
[[phase]]
objective = "end_to_end"
samples = 24
learning_rate = 1e-3
[[phase]]
objective = "clean_target"
samples = 24
learning_rate = 1e-3
"""
# Distilled first, then classified in batches of two identities with four faces each
CLASSIFIED = RECIPE.replace('"end_to_end"', '"softmax_triplet"\nfaces_per_identity = 4')
# The last step: no network and no activation, those are the run's
LAST_STEP = """init = "run"
quantization_aware = true
seed = 4
batch = 8
weight_decay = 1e-4
ema_decay = 0.9
identity_pull = 0.5
[[phase]]
objective = "clean_target"
samples = 24
learning_rate = 1e-4
"""


def portraits() -> list[np.ndarray]:
    """Return rough 112x112 RGB crops of two public-domain portraits."""
    crops = []
    for name, (left, top, side) in {"hopper": (90, 60, 330), "astronaut": (160, 40, 140)}.items():
        image = photo(name)
        scale = image.shape[1] / 512
        left, top, side = (int(v * scale) for v in (left, top, side))
        crops.append(
            cv2.resize(image[top : top + side, left : left + side], (112, 112), interpolation=cv2.INTER_AREA)
        )
    return crops


def write_data(folder: Path, faces: int = 48) -> Path:
    """Write `faces` augmented crops of the portraits as a data folder: index.csv and train/000.zip."""
    (folder / "train").mkdir(parents=True)
    rng, sources = np.random.default_rng(0), portraits()
    with (
        zipfile.ZipFile(folder / "train" / "000.zip", "w") as archive,
        (folder / "index.csv").open("w", newline="") as index,
    ):
        rows = csv.writer(index)
        rows.writerow(["zip", "name", "source", "identity"])
        for i in range(faces):
            face = Augment()(sources[i % 2], rng)
            archive.writestr(f"{i:06d}.webp", cv2.imencode(".webp", face[..., ::-1])[1].tobytes())
            rows.writerow(
                ["000.zip", f"{i:06d}.webp", "portraits", 1 + i % 2 if i >= 4 else 40 * (1 + i % 2)]
            )
    return folder


def write_teacher(path: Path, epsilon: float = 1e-3) -> MobileFaceNet:
    """Write a random PReLU MobileFaceNet as ONNX, in the layout of InsightFace's files; return it in eval mode."""
    network = MobileFaceNet("prelu").eval()
    for layer in network.modules():
        if isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, -1.5, 1.5)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
    writer = Writer(epsilon)
    tensor = writer.add("Sub", "data", [np.float32(127.5)])
    tensor = writer.add("Mul", tensor, [np.float32(1 / 128)])
    for stage in network.stages:
        for part in stage:
            tensor = writer.module(part, tensor)
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, 112, 112])]
    outputs = [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["N", 128])]
    graph = helper.make_graph(writer.nodes, "teacher", inputs, outputs, writer.arrays)
    onnx.save(helper.make_model(graph), str(path))
    return network


class Writer:
    """Collect ONNX nodes and arrays, layer by layer."""

    def __init__(self, epsilon: float) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: list[onnx.TensorProto] = []
        self.epsilon = epsilon

    def add(
        self, kind: str, source: str, arrays: list[np.ndarray], second: str | None = None, **attributes
    ) -> str:
        names = []
        for array in arrays:
            names.append(f"w{len(self.arrays)}")
            self.arrays.append(numpy_helper.from_array(np.asarray(array), names[-1]))
        target = f"t{len(self.nodes)}"
        inputs = [source, *([second] if second else []), *names]
        self.nodes.append(helper.make_node(kind, inputs, [target], **attributes))
        return target

    def module(self, module: nn.Module, source: str) -> str:
        if isinstance(module, nn.Conv2d):
            pads = [module.padding[0]] * 4
            weight = module.weight.detach().numpy()
            return self.add(
                "Conv", source, [weight], group=module.groups, strides=list(module.stride), pads=pads
            )
        if isinstance(module, nn.BatchNorm2d):
            arrays = (
                module.weight,
                module.bias,
                module.running_mean,
                module.running_var + module.eps - self.epsilon,
            )
            return self.add(
                "BatchNormalization", source, [a.detach().numpy() for a in arrays], epsilon=self.epsilon
            )
        if isinstance(module, nn.PReLU):
            return self.add("PRelu", source, [module.weight.detach().numpy().reshape(-1, 1, 1)])
        if isinstance(module, nn.Flatten):
            return self.add("Flatten", source, [])
        target = source
        for child in module.children():
            target = self.module(child, target)
        return self.add("Add", target, [], second=source) if getattr(module, "shortcut", False) else target


def write_pad_teachers(folder: Path) -> None:
    """Write six liveness teachers of random weights, as `models.pad.teachers` reads them."""
    torch.manual_seed(5)
    for number, teacher in enumerate(TEACHERS):
        wide = teacher.look.startswith("wide")
        network = MiniFASNet(80 if wide else 128, 3 if wide else 2, excite=number > 0).eval()
        write_pad_teacher(network, folder / teacher.file)


def write_pad_teacher(network: MiniFASNet, path: Path) -> None:
    """Write a liveness network as ONNX, its batch norms folded, with the head of the published files."""
    graph = Graph()
    fold(network)
    x = graph.conv(network.trunk[0][0], "input")
    x = graph.prelu(network.trunk[0][2], x)
    x = graph.prelu(network.trunk[1][2], graph.conv(network.trunk[1][0], x))
    for block in network.trunk[2:]:
        y = graph.prelu(block.expand[2], graph.conv(block.expand[0], x))
        y = graph.prelu(block.depthwise[2], graph.conv(block.depthwise[0], y))
        y = graph.conv(block.project[0], y)
        if not isinstance(block.excite, nn.Identity):
            gate = graph.conv(block.excite.gate[1], graph.node("GlobalAveragePool", y))
            gate = graph.conv(block.excite.gate[3], graph.node("Relu", gate))
            y = graph.node("Mul", y, graph.node("Sigmoid", gate))
        x = graph.node("Add", x, y) if block.shortcut else y
    x = graph.prelu(network.widen[2], graph.conv(network.widen[0], x))
    x = graph.node("Flatten", graph.conv(network.whole[0], x))
    random = np.random.default_rng(6)
    x = graph.node("MatMul", x, graph.value(random.normal(0, 0.05, (GLOBAL, 128))))
    norm = [graph.value(random.uniform(0.5, 1.5, 128)) for _ in range(4)]
    x = graph.node("BatchNormalization", x, *norm)
    answers = network.answer.out_channels
    x = graph.node("MatMul", x, graph.value(random.normal(0, 0.5, (128, answers))))
    shape = ["N", 3, network.side_px, network.side_px]
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    target = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", answers])
    made = helper.make_graph(graph.nodes, "teacher", [source], [target], graph.tensors)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


class Graph:
    """Nodes and tensors of an ONNX graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def value(self, values: np.ndarray | torch.Tensor) -> str:
        array = values.detach().numpy() if isinstance(values, torch.Tensor) else values
        name = f"tensor{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(self, layer: nn.Conv2d, x: str) -> str:
        pad = layer.padding[0]
        return self.node(
            "Conv",
            x,
            self.value(layer.weight),
            self.value(layer.bias),
            group=layer.groups,
            strides=list(layer.stride),
            pads=[pad] * 4,
            kernel_shape=list(layer.kernel_size),
        )

    def prelu(self, layer: nn.PReLU, x: str) -> str:
        return self.node("PRelu", x, self.value(layer.weight.reshape(-1, 1, 1)))
