"""Small training data of public-domain portraits, and an ONNX teacher of random weights, for the training tests."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.networks.mobilefacenet import MobileFaceNet
from models.pad.simulator.rooms import Material
from models.training.data import Augment
from tests.support.photos import photo


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


def material() -> Material:
    """Return what scenes are made of: two portraits with a rough mask, and one picture."""
    faces = np.stack(portraits())
    masks = np.zeros(faces.shape[:3], np.uint8)
    masks[:, 10:, 25:90] = 255
    return Material(faces, masks, [np.ascontiguousarray(faces[0][::-1])])


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
