"""One battery for every network: its paper's counts, its gradients, and its exported files."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

import torch.nn.functional as F  # noqa: E402
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: E402
from torch import nn  # noqa: E402

from device import config  # noqa: E402
from models.int8 import export  # noqa: E402
from models.int8.quantization_aware import int8_activations  # noqa: E402
from models.int8.recover import LEAST_COSINE, recover  # noqa: E402
from models.networks.registry import NETWORKS, SYSTEMS, make_network  # noqa: E402
from models.training.data import to_tensor  # noqa: E402
from models.training.losses import embedding_loss  # noqa: E402

# a module-wide fixture trains and exports: 20 s of two idle cores, many times that of busy ones
pytestmark = [pytest.mark.train, pytest.mark.timeout(900)]

# What the board sees of each: height and width of the face, numbers of the embedding
SHAPES = {
    "mobilefacenet": ((112, 112), 128),
    "mobilenetv1": ((112, 112), 128),
    "mobilenetv2": ((112, 112), 128),
    "facenet": ((160, 160), 128),
    "vargfacenet": ((112, 112), 512),
    "mobilefacenet_m": ((112, 112), 512),
    "mobilefacenet_s": ((112, 112), 128),
    "mobilefacenet_112x96": ((112, 96), 128),
    "mobilefacenet_96x96": ((96, 96), 128),
    "mobilefacenet_pool": ((112, 112), 128),
    "landmarks": ((96, 96), 254),
    "pad_near": ((112, 112), 1),
    "pad_wide": ((112, 112), 1),
}
SHIPPED = (
    ("mobilefacenet", "prelu"),
    ("mobilefacenet", "relu6"),
    ("mobilenetv1", "relu6"),
    ("mobilenetv2", "relu6"),
    ("facenet", "relu6"),
    ("vargfacenet", "relu6"),
    ("vargfacenet", "prelu"),
)


# Of training on eight faces; the deep plain trunks take longer until int8's rounding cannot mix them up
STEPS = {"mobilenetv1": 20, "mobilenetv2": 28}
FEWEST_STEPS = 12
LEAST_INT8_COSINE = 0.9


def pictures(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return (count, *size, 3) uint8 pictures of bright and dark spots: unlike noise, each is another to a network."""
    generator = torch.Generator().manual_seed(seed)
    spots = F.interpolate(torch.rand(count, 3, 6, 6, generator=generator), size, mode="bicubic")
    pixels = ((3 * (spots - 0.5) + 0.5) * 255).clamp(0, 255)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()


def cosines(a, b) -> np.ndarray:
    return (a * b).sum(axis=1)


@pytest.mark.parametrize("act", ["prelu", "relu6"])
@pytest.mark.parametrize("name", NETWORKS)
def test_faces_become_embeddings_of_the_board(name, act):
    size, dim = SHAPES[name]
    network = make_network(name, act).eval()
    assert network.input_px == size
    with torch.no_grad():
        outputs = network.stage_outputs(torch.zeros(1, 3, *size))
    assert outputs[-1].shape == (1, dim)
    assert [tuple(y.shape[-2:]) for y in outputs[:3]] == [(size[0] // n, size[1] // n) for n in strides(name)]
    assert any(isinstance(m, nn.PReLU) for m in network.modules()) == (act == "prelu")


def strides(name: str) -> tuple[int, int, int]:
    return (8, 16, 32) if name == "facenet" else (4, 8, 16)


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match=r"network is one of mobilefacenet, .* received 'resnet'"):
        make_network("resnet", "relu6")


@dataclass
class Learned:
    """A network that has learned eight faces by heart, and its losses on the way."""

    name: str
    act: str
    network: nn.Module
    images: np.ndarray
    targets: torch.Tensor
    losses: list[float]

    @property
    def faces(self) -> torch.Tensor:
        return to_tensor(self.images)


@pytest.fixture(scope="module", params=SHIPPED, ids="-".join)
def learned(request):
    name, act = request.param
    torch.manual_seed(0)
    network = make_network(name, act).train()
    images = pictures(8, network.input_px)
    targets = F.normalize(torch.randn(8, SHAPES[name][1]))
    with torch.no_grad():
        for slope in (m.weight for m in network.modules() if isinstance(m, nn.PReLU)):
            slope.uniform_(-0.5, 0.9)
    losses = fit(network, to_tensor(images), targets, STEPS.get(name, FEWEST_STEPS))
    settle(network, to_tensor(images))
    return Learned(name, act, network.eval(), images, targets, losses)


def fit(network, faces, targets, steps: int) -> list[float]:
    """Pull the embeddings to random targets; return the loss before every step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = embedding_loss(network(faces), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def settle(network, faces) -> None:
    """Give every batch norm the plain mean and variance of its input, which a long training comes near to."""
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        network(faces)


def test_eight_faces_are_learned_by_heart(learned):
    assert 0.8 < learned.losses[0] < 1.2  # knows nothing: the targets are random
    drops = any(isinstance(m, nn.Dropout) and m.p > 0 for m in learned.network.modules())
    assert (
        learned.losses[-1] < (0.55 if drops else 0.4) * learned.losses[0]
    )  # the last step dropped features too


def test_embeddings_of_unit_length_tell_the_faces_apart(learned):
    with torch.no_grad():
        found = F.normalize(learned.network(learned.faces))
    assert found.isfinite().all()
    assert torch.allclose(found.norm(dim=1), torch.ones(8), atol=1e-5)
    assert (found @ learned.targets.T).argmax(dim=1).tolist() == list(range(8))


def test_every_parameter_gets_a_gradient(learned):
    network = deepcopy(learned.network).train()
    found = network(learned.faces[:4])
    (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().any()] == []
    assert all(p.grad.isfinite().all() for p in network.parameters())


@dataclass
class Exported:
    """What a network and its two files make of the faces it has learned: L2-normalized embeddings (8, D)."""

    int8_file: Path
    torch: np.ndarray
    single: np.ndarray
    int8: np.ndarray


@pytest.fixture(scope="module")
def exported(learned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    export.to_litert(int8_activations(deepcopy(learned.network)), folder / "single.tflite")
    export.to_int8(folder / "single.tflite", learned.images, folder / "int8.tflite")
    with torch.no_grad():
        embeddings = F.normalize(learned.network(learned.faces)).numpy()
    single, int8 = (
        export.embeddings(folder / f"{kind}.tflite", learned.images) for kind in ("single", "int8")
    )
    return Exported(folder / "int8.tflite", embeddings, single, int8)


def test_the_float_file_does_what_the_network_does(exported):
    assert np.allclose(exported.single, exported.torch, atol=1e-4)


def test_the_int8_file_holds_int8_operators_only(learned, exported):
    assert export.operators(exported.int8_file) <= export.INT8_OPERATORS
    plain = Interpreter(
        str(exported.int8_file),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    assert {np.dtype(t["dtype"]).name for t in plain.get_tensor_details()} <= {"int8", "int32"}
    size, dim = SHAPES[learned.name]
    assert plain.get_input_details()[0]["shape"].tolist() == [1, *size, 3]
    assert plain.get_output_details()[0]["shape"].tolist() == [1, dim]


def test_int8_stays_near_fp32(learned, exported):
    near = cosines(exported.int8, exported.single)
    assert near.mean() > LEAST_INT8_COSINE


def slopes(network) -> torch.Tensor:
    found = [m.weight.detach() for m in network.modules() if isinstance(m, nn.PReLU)]
    return torch.cat(found) if found else torch.zeros(0)


def test_the_int8_file_is_read_back_into_its_network(learned, exported):
    network = recover(make_network(learned.name, learned.act), exported.int8_file, learned.faces).eval()
    with torch.no_grad():
        found = F.normalize(network(learned.faces)).numpy()
    near = cosines(found, exported.int8)
    assert near.mean() > LEAST_COSINE
    assert torch.allclose(slopes(network), slopes(learned.network), atol=0.02)


def test_the_board_can_choose_every_system():
    assert set(config.MODELS) == {*SYSTEMS, "mobilefacenet_relu6"}  # one of them with two activations
