"""A global depthwise convolution in two: the same answers, and nothing that int8 kernels run slowly."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from torch import nn  # noqa: E402

from models.int8 import export  # noqa: E402
from models.int8.recover import file_weights  # noqa: E402
from models.int8.split_depthwise import MOST_TAPS, split_global_depthwise  # noqa: E402
from models.networks.blocks import Staged  # noqa: E402

pytestmark = pytest.mark.train
WEIGHTS = Path(__file__).parents[3] / "models" / "weights"
CHANNELS = 16


class Whole(Staged):
    """A convolution to 16 channels, a depthwise one over all of the map or not, and a linear end."""

    def __init__(self, size: int, kernel: int) -> None:
        first = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU6())
        deep = nn.Conv2d(CHANNELS, CHANNELS, kernel, groups=CHANNELS)
        super().__init__("relu6", (size, size), [first, deep, nn.Flatten()])
        nn.init.uniform_(deep.bias, -1, 1)
        deep.weight.data *= torch.logspace(-2, 0, CHANNELS).view(-1, 1, 1, 1)  # a range for each channel


def exported(folder: Path, network: nn.Module, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the int8 file that is not split yet."""
    single, int8 = folder / "single.tflite", folder / "int8.tflite"
    export.to_litert(network, single)
    with monkeypatch.context() as patch:
        patch.setattr(export, "split_global_depthwise", lambda *_: None)
        export.to_int8(single, faces, int8)
    return int8


def faces_of(size: int, count: int = 24) -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    return coarse.repeat(-(-size // 4), axis=1).repeat(-(-size // 4), axis=2)[:, :size, :size].copy()


def taps(model: Path) -> list[int]:
    """Return the taps of every depthwise convolution of a file."""
    interpreter = export.Interpreter(
        str(model), experimental_op_resolver_type=export.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    shapes = {details["index"]: details["shape"] for details in interpreter.get_tensor_details()}
    found = [op for op in interpreter._get_ops_details() if op["op_name"] == "DEPTHWISE_CONV_2D"]
    return [int(np.prod(shapes[op["inputs"][1]][1:3])) for op in found]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_halves_answer_as_the_whole(tmp_path, monkeypatch, threads):
    faces = faces_of(7)
    whole = exported(tmp_path, Whole(7, 7), faces, monkeypatch)
    halves = tmp_path / "halves.tflite"
    shutil.copyfile(whole, halves)
    split_global_depthwise(halves, [export.normalize(face[None]) for face in faces])
    assert (taps(whole), taps(halves)) == ([49], [7, 7])
    before, after = (export.embeddings(file, faces, threads) for file in (whole, halves))
    assert (before * after).sum(axis=1).min() > 0.999
    assert not np.array_equal(before, after)  # the sums between are rounded


def test_the_weights_come_back_as_one_layer(tmp_path, monkeypatch):
    faces = faces_of(7)
    whole = exported(tmp_path, Whole(7, 7), faces, monkeypatch)
    weight, bias = file_weights(whole)[1]
    split_global_depthwise(whole, [export.normalize(face[None]) for face in faces])
    (_, (joined, shift)) = file_weights(whole)
    assert joined.shape == weight.shape == (CHANNELS, 1, 7, 7)
    assert np.allclose(joined, weight, rtol=1e-5, atol=0)
    assert np.allclose(shift, bias, atol=1e-4)


@pytest.mark.parametrize(("size", "kernel"), [(7, 3), (5, 5)], ids=["not the whole map", "few enough taps"])
def test_what_int8_kernels_run_stays(tmp_path, monkeypatch, size, kernel):
    faces = faces_of(size)
    file = exported(tmp_path, Whole(size, kernel), faces, monkeypatch)
    before = file.read_bytes()
    split_global_depthwise(file, [export.normalize(face[None]) for face in faces])
    assert taps(file) == [kernel**2]
    assert len(file.read_bytes()) <= len(before)  # no names


@pytest.mark.parametrize("name", sorted(path.stem for path in WEIGHTS.glob("*.tflite")))
def test_no_shipped_file_has_a_layer_of_too_many_taps(name):
    assert max(taps(WEIGHTS / f"{name}.tflite"), default=0) <= MOST_TAPS
