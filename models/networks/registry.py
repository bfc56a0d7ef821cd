"""The networks by the name that recipes, weights and the board's config use."""

from __future__ import annotations

from collections.abc import Callable

from models.networks.blocks import Staged
from models.networks.landmarks import LandmarkNetwork
from models.networks.mobilefacenet import MobileFaceNet
from models.networks.mobilenet_v1 import FaceNet, MobileNetV1Face
from models.networks.mobilenet_v2 import MobileNetV2Face
from models.networks.vargfacenet import VarGFaceNet

WIDTH = 0.5  # of the MobileNetV2 shipped: three times as many faces an hour on the machine it was trained on

SYSTEMS: dict[str, Callable[[str], Staged]] = {
    "mobilefacenet": MobileFaceNet,
    "mobilenetv1": MobileNetV1Face,
    "mobilenetv2": lambda act: MobileNetV2Face(act, WIDTH),
    "facenet": FaceNet,
    "vargfacenet": VarGFaceNet,
}
VARIANTS: dict[str, Callable[[str], Staged]] = {
    "mobilefacenet_m": lambda act: MobileFaceNet(act, variant="m"),
    "mobilefacenet_s": lambda act: MobileFaceNet(act, variant="s"),
    "mobilefacenet_112x96": lambda act: MobileFaceNet(act, input_px=(112, 96)),
    "mobilefacenet_96x96": lambda act: MobileFaceNet(act, input_px=(96, 96)),
    "mobilefacenet_pool": lambda act: MobileFaceNet(act, stem="pool"),
    "landmarks": LandmarkNetwork,
}
NETWORKS = SYSTEMS | VARIANTS


def make_network(name: str, act: str) -> Staged:
    """Make the network `name` with random weights.

    Raises:
        ValueError: there is no such network.
    """
    if name not in NETWORKS:
        raise ValueError(f"network is one of {', '.join(NETWORKS)}, received {name!r}")
    return NETWORKS[name](act)
