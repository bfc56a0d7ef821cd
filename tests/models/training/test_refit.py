"""The last layer is solved for a target that the features below can give."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.networks.mobilenet_v1 import FaceNet  # noqa: E402
from models.networks.mobilenet_v2 import MobileNetV2Face  # noqa: E402
from models.training.losses import embedding_loss  # noqa: E402
from models.training.refit import features_below, refit_last_layer  # noqa: E402

pytestmark = pytest.mark.train


def test_the_last_layer_gives_what_its_features_can():
    torch.manual_seed(0)
    network = FaceNet(width=0.25)
    faces = torch.randn(600, 3, *network.input_px)
    block = network.stages[-1][2]
    with torch.no_grad():
        features = features_below(network, block, faces)
        main = torch.linalg.svd(features - features.mean(dim=0), full_matrices=False)[0][:, :8]
        targets = main @ torch.randn(8, 128)  # of the eight directions that vary most
        refit_last_layer(network, faces, targets)
        network.eval()
        assert embedding_loss(network(faces), targets) < 0.1
        # and the batch norm fits its input, so that training starts where evaluation is
        network.stages[-1][1].eval()
        norm = block[1]
        given = block[0](features[:, :, None, None])
        torch.testing.assert_close(norm.running_var, given.var(dim=(0, 2, 3)), rtol=0.1, atol=1e-6)


def test_a_target_of_another_width_is_named():
    network = MobileNetV2Face(width=0.35)
    with pytest.raises(
        ValueError, match="the last layer gives 128 numbers, the targets have 256: set dim = 256"
    ):
        refit_last_layer(network, torch.zeros(2, 3, 112, 112), torch.ones(2, 256))
