"""The networks by the name that recipes, weights and the board's config use."""

from __future__ import annotations

from collections.abc import Callable

from models.networks.blocks import Staged
from models.networks.landmarks import LandmarkNetwork
from models.networks.mobilefacenet import MobileFaceNet
from models.networks.mobilenet_v1 import FaceNet, MobileNetV1Face
from models.networks.mobilenet_v2 import MobileNetV2Face
from models.networks.vargfacenet import VarGFaceNet

SYSTEMS: dict[str, Callable[..., Staged]] = {
    "mobilefacenet": MobileFaceNet,
    "mobilenetv1": MobileNetV1Face,
    "mobilenetv2": MobileNetV2Face,
    "facenet": FaceNet,
    "vargfacenet": VarGFaceNet,
}
VARIANTS: dict[str, Callable[..., Staged]] = {
    "mobilefacenet_m": lambda act: MobileFaceNet(act, variant="m"),
    "mobilefacenet_s": lambda act: MobileFaceNet(act, variant="s"),
    "mobilefacenet_112x96": lambda act: MobileFaceNet(act, input_px=(112, 96)),
    "mobilefacenet_96x96": lambda act: MobileFaceNet(act, input_px=(96, 96)),
    "mobilefacenet_pool": lambda act: MobileFaceNet(act, stem="pool"),
    "landmarks": LandmarkNetwork,
}
NETWORKS = SYSTEMS | VARIANTS


def shipped_name(network: str, act: str) -> str:
    """Return the name of a network's file and manifest: the default's table is shipped with two activations."""
    return "mobilefacenet_relu6" if (network, act) == ("mobilefacenet", "relu6") else network


def make_network(name: str, act: str, dim: int = 0, width: float = 0.0) -> Staged:
    """Make the network `name` with random weights.

    Args:
        dim: numbers of the embedding; 0: as many as it is published with.
        width: multiplier of the channels of a MobileNet; 0: the published one.

    Raises:
        ValueError: there is no such network.
    """
    if name not in NETWORKS:
        raise ValueError(f"network is one of {', '.join(NETWORKS)}, received {name!r}")
    size = ({"dim": dim} if dim else {}) | ({"width": width} if width else {})
    try:
        return NETWORKS[name](act, **size)
    except TypeError:
        raise ValueError(f"{name} has no other {' or '.join(size)} than the published") from None
