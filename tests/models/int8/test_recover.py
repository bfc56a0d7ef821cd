"""The shipped int8 file of ReLU6 read back; files made on the spot, of every network, are in test_networks.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.int8 import export  # noqa: E402
from models.int8.recover import LEAST_COSINE, file_slopes, recover  # noqa: E402
from models.networks.mobilefacenet import MobileFaceNet  # noqa: E402
from models.networks.mobilenet_v2 import MobileNetV2Face  # noqa: E402
from models.training.data import Augment, to_tensor  # noqa: E402
from tests.support.training_data import portraits  # noqa: E402

pytestmark = pytest.mark.train
SHIPPED = Path(__file__).parents[3] / "models" / "weights" / "mobilefacenet_relu6.tflite"


@pytest.fixture(scope="module")
def images():
    rng, (first, second) = np.random.default_rng(0), portraits()
    return np.stack([first, second] + [Augment()(image, rng) for image in (first, second) for _ in range(5)])


def test_the_shipped_file_comes_back_as_the_network_it_was(images):
    network = recover(MobileFaceNet("relu6"), SHIPPED, to_tensor(images))
    with torch.no_grad():
        answers = torch.nn.functional.normalize(network.eval()(to_tensor(images))).numpy()
        trained = torch.nn.functional.normalize(network.train()(to_tensor(images))).numpy()
    near = (answers * export.embeddings(SHIPPED, images)).sum(axis=1)
    assert near.mean() > LEAST_COSINE
    assert near.min() > 0.8
    assert (answers * trained).sum(axis=1).mean() > LEAST_COSINE  # batch norms know these faces


def test_a_file_of_another_network_is_refused(images):
    faces = to_tensor(images[:2])
    with pytest.raises(ValueError, match="is of another network: its 0 activations have other slopes"):
        recover(MobileFaceNet("prelu"), SHIPPED, faces)
    with pytest.raises(ValueError, match=r"is of another network: its \d+ convolutions have other shapes"):
        recover(MobileNetV2Face("relu6", 0.5), SHIPPED, faces)
    assert file_slopes(SHIPPED) == []
