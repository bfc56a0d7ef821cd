"""Networks have the layers, multiply-adds and parameters that their papers give."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")
from torch import nn  # noqa: E402

from models.networks.blocks import Bottleneck, SqueezeExcite, multiply_adds  # noqa: E402
from models.networks.mobilefacenet import MobileFaceNet  # noqa: E402
from models.networks.mobilenet_v1 import MobileNetV1  # noqa: E402
from models.networks.mobilenet_v2 import MobileNetV2  # noqa: E402
from models.networks.registry import make_network, shipped_name  # noqa: E402
from models.networks.vargfacenet import S, VarGFaceNet  # noqa: E402


def parameters(network) -> float:
    """Return the number of parameters in millions."""
    return sum(p.numel() for p in network.parameters()) / 1e6


def millions(network) -> float:
    """Return the multiply-adds of one picture in millions."""
    return multiply_adds(network, torch.zeros(1, 3, *network.input_px)) / 1e6


# width, pixels, multiply-adds and parameters in millions: arXiv 1704.04861, Tables 6 and 7
MOBILENETV1 = (
    (1.0, 224, 569, 4.2),
    (0.75, 224, 325, 2.6),
    (0.5, 224, 149, 1.3),
    (0.25, 224, 41, 0.5),
    (1.0, 192, 418, 4.2),
    (1.0, 160, 290, 4.2),
    (1.0, 128, 186, 4.2),
)


@pytest.mark.parametrize(("width", "input_px", "adds", "size"), MOBILENETV1)
def test_mobilenetv1_has_the_papers_counts(width, input_px, adds, size):
    network = MobileNetV1(width=width, input_px=input_px)
    assert millions(network) == pytest.approx(adds, abs=1)
    assert parameters(network) == pytest.approx(size, abs=0.05)


@pytest.mark.parametrize("name", ["mobilenetv1", "facenet"])
def test_mobilenetv1_has_28_layers(name):
    """Depthwise and pointwise apart (section 3.2); of the classifier's 28 the embedders keep all but the last."""
    layers = [m for m in MobileNetV1().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 28
    assert sum(layer.groups > 1 for layer in layers[:-1]) == 13
    trunk = [m for stage in make_network(name, "relu6").stages[:3] for m in stage.modules()]
    shapes = [m.weight.shape for m in trunk if isinstance(m, nn.Conv2d)]
    assert shapes == [layer.weight.shape for layer in layers[:-1]]


# width, multiply-adds and parameters in millions, at 224: arXiv 1801.04381, Table 4, and the authors' checkpoints
MOBILENETV2 = ((1.4, 582, 6.1), (1.0, 300, 3.5), (0.75, 209, 2.6), (0.5, 97, 2.0), (0.35, 59, 1.7))


@pytest.mark.parametrize(("width", "adds", "size"), MOBILENETV2)
def test_mobilenetv2_has_the_papers_counts(width, adds, size):
    network = MobileNetV2(width=width)
    assert millions(network) == pytest.approx(adds, abs=1)
    assert parameters(network) == pytest.approx(size, abs=0.05)


@pytest.mark.parametrize(
    ("name", "blocks", "shortcuts"), [("mobilefacenet", 15, 12), ("mobilenetv2", 17, 10)]
)
def test_a_shortcut_stands_where_stride_is_1_and_channels_match(name, blocks, shortcuts):
    found = [m for m in make_network(name, "relu6").modules() if isinstance(m, Bottleneck)]
    assert len(found) == blocks
    assert sum(block.shortcut for block in found) == shortcuts
    for block in found:
        c_in = next(m for m in block.modules() if isinstance(m, nn.Conv2d)).in_channels
        fits = block.depthwise[0].stride == (1, 1) and c_in == block.project[0].out_channels
        assert block.shortcut == fits


@pytest.mark.parametrize(("stride", "c_out", "passed"), [(1, 8, True), (2, 8, False), (1, 16, False)])
def test_a_shortcut_passes_the_input_and_the_bottleneck_is_linear(stride, c_out, passed):
    block = Bottleneck(8, c_out, stride=stride, t=2, act="relu6").eval()
    x = torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        assert block(x).min() < 0
        block.project[1].weight.zero_()
        y = block(x)
    assert torch.equal(y, x if passed else torch.zeros_like(y))


# rows of arXiv 1804.07573, Table 2 (parameters in millions); multiply-adds are given for the first only
MOBILEFACENETS = (
    ("mobilefacenet", 0.99, 221),
    ("mobilefacenet_m", 0.92, None),
    ("mobilefacenet_s", 0.84, None),
)


@pytest.mark.parametrize(("name", "size", "adds"), MOBILEFACENETS)
def test_mobilefacenet_has_the_papers_counts(name, size, adds):
    network = make_network(name, "prelu")
    assert parameters(network) == pytest.approx(size, abs=0.02)
    assert millions(network) == pytest.approx(adds or 221, abs=1 if adds else 4)


def test_mobilefacenet_has_the_shapes_of_table_1():
    stages = MobileFaceNet().eval().stage_outputs(torch.zeros(1, 3, 112, 112))
    assert [tuple(stage.shape[1:]) for stage in stages] == [(64, 28, 28), (128, 14, 14), (128, 7, 7), (128,)]


def test_smaller_mobilefacenets_cost_less():
    adds = [millions(make_network(f"mobilefacenet{kind}", "relu6")) for kind in ("", "_112x96", "_96x96")]
    assert adds[1] == pytest.approx(adds[0] * 96 / 112, rel=0.01)
    assert adds[2] == pytest.approx(adds[0] * (96 / 112) ** 2, rel=0.01)
    sizes = [parameters(make_network(f"mobilefacenet{kind}", "relu6")) for kind in ("", "_m", "_s")]
    assert sizes[0] > sizes[1] > sizes[2]
    assert millions(make_network("landmarks", "relu6")) < adds[2] / 3


def test_a_pooled_stem_halves_by_a_maximum():
    stem = make_network("mobilefacenet_pool", "relu6").stages[0][0]
    assert stem[0][0].stride == (1, 1)
    x = torch.randn(1, 64, 8, 8)
    assert torch.equal(stem[1](x), x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1)))


def test_127_landmarks_can_stand_on_the_full_table():
    network = make_network("mobilefacenet", "relu6", dim=254).eval()
    assert network(torch.zeros(1, 3, 112, 112)).shape == (1, 254)
    assert millions(network) == pytest.approx(221, abs=1)


@pytest.mark.parametrize("kind", [MobileNetV1, MobileNetV2])
@pytest.mark.parametrize(("output_stride", "side"), [(8, 8), (16, 4), (32, 2)])
def test_a_classifiers_last_map_is_as_fine_as_its_output_stride(kind, output_stride, side):
    network = kind(width=0.25, input_px=64, classes=10, output_stride=output_stride).eval()
    outputs = network.stage_outputs(torch.zeros(1, 3, 64, 64))
    assert outputs[2].shape[2:] == (side, side)
    plain = kind(width=0.25, input_px=64, classes=10)
    assert parameters(network) == parameters(plain)
    dilations = {m.dilation[0] for m in network.modules() if isinstance(m, nn.Conv2d)}
    assert dilations == {1, *{8: (2, 4), 16: (2,), 32: ()}[output_stride]}


@pytest.mark.parametrize("kind", [MobileNetV1, MobileNetV2])
def test_an_output_stride_that_does_not_exist_is_named(kind):
    with pytest.raises(ValueError, match=r"output_stride is one of \(8, 16, 32\), received 4"):
        kind(output_stride=4)


@pytest.mark.parametrize("kind", [MobileNetV1, MobileNetV2])
def test_a_narrow_classifier_has_the_least_depth(kind):
    narrow, deeper = (kind(width=0.1, min_depth=depth) for depth in (8, 16))
    channels = [{m.out_channels for m in n.modules() if isinstance(m, nn.Conv2d)} for n in (narrow, deeper)]
    assert (min(channels[0]), min(channels[1])) == (8, 16)


@pytest.mark.parametrize(("kind", "dropout"), [(MobileNetV1, 0.001), (MobileNetV2, 0.2)])
def test_a_classifier_drops_and_has_logits_of_a_1x1_convolution(kind, dropout):
    layers = list(kind(classes=7).modules())
    logits = [m for m in layers if isinstance(m, nn.Conv2d)][-1]
    assert (logits.kernel_size, logits.out_channels) == ((1, 1), 7)
    assert logits.bias is not None
    assert [m.p for m in layers if isinstance(m, nn.Dropout)] == [dropout]
    assert kind(classes=7, width=0.25, input_px=32).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_a_size_that_a_network_does_not_have_is_named():
    with pytest.raises(ValueError, match="vargfacenet has no other width than the published"):
        make_network("vargfacenet", "relu6", width=0.5)
    half = make_network("mobilenetv2", "relu6", width=0.5)
    assert parameters(half) < parameters(make_network("mobilenetv2", "relu6"))


def test_the_default_and_its_relu6_have_files_of_their_own():
    assert shipped_name("mobilefacenet", "prelu") == "mobilefacenet"
    assert shipped_name("mobilefacenet", "relu6") == "mobilefacenet_relu6"
    assert shipped_name("facenet", "relu6") == "facenet"


def test_what_a_mobilefacenet_may_be_is_named():
    with pytest.raises(ValueError, match=r"variant is one of .* received 'l', 'stride'"):
        MobileFaceNet(variant="l")
    with pytest.raises(ValueError, match=r"stem one of .* received '', 'none'"):
        MobileFaceNet(stem="none")


def test_vargfacenet_has_the_papers_counts():
    """The paper has 5.0 M parameters and 1.0 G operations, in which multiplying and adding count as two."""
    network = make_network("vargfacenet", "prelu")
    assert parameters(network) == pytest.approx(5.0, rel=0.05)
    assert 2 * millions(network) == pytest.approx(1022, rel=0.01)


def test_vargfacenet_has_eight_channels_in_every_group():
    convolutions = [m for m in make_network("vargfacenet", "prelu").modules() if isinstance(m, nn.Conv2d)]
    grouped = [m for m in convolutions if m.groups > 1]
    assert {m.in_channels // m.groups for m in grouped} == {S} == {8}
    assert all(m.groups > 1 for m in convolutions if m.kernel_size[0] > 1 and m.in_channels > 3)


def test_vargfacenets_head_keeps_the_picture_and_its_embedding_setting_the_size():
    network = make_network("vargfacenet", "relu6").eval()
    first = network.stages[0][0][0]
    assert first(torch.zeros(1, 3, 112, 112)).shape == (1, 40, 112, 112)
    assert network.stages[0][0](torch.zeros(1, 3, 112, 112)).shape == (1, 40, 56, 56)
    head = [m for m in network.stages[3].modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in head] == [1024, 1024, 512, 512]
    assert head[1].kernel_size == (7, 7)


def test_vargfacenets_parts_can_be_chosen_as_in_the_authors_code():
    published = make_network("vargfacenet", "prelu")
    norms = [m for m in published.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(2e-5, 0.1)}
    assert any(isinstance(m, SqueezeExcite) for m in published.modules())
    assert not any(isinstance(m, SqueezeExcite) for m in VarGFaceNet(excite=False).modules())
    pooled = VarGFaceNet(head_pooling=True).stages[0][0]
    assert isinstance(pooled[1], nn.MaxPool2d)
    assert pooled(torch.zeros(1, 3, 112, 112)).shape == (1, 40, 56, 56)
    narrow = VarGFaceNet(multiplier=1.0)
    assert narrow.stages[0][0][0][0].out_channels == 32
    assert parameters(narrow) < parameters(published)


@pytest.mark.parametrize(
    ("input_px", "dilations", "kernel"),
    [((112, 112), (1, 1, 1), (7, 7)), ((224, 224), (1, 1, 1), (14, 14)), ((112, 112), (1, 1, 2), (14, 14))],
)
def test_vargfacenets_embedding_weighs_every_place_of_its_last_map(input_px, dilations, kernel):
    network = VarGFaceNet(input_px=input_px, dilations=dilations).eval()
    weighs = [m for m in network.stages[3].modules() if isinstance(m, nn.Conv2d)][1]
    assert weighs.kernel_size == kernel
    assert network(torch.zeros(1, 3, *input_px)).shape == (1, 512)


def test_facenet_pools_drops_and_ends_in_a_batch_norm():
    network = make_network("facenet", "relu6").eval()
    head = network.stages[3]
    assert isinstance([m for m in head.modules() if not isinstance(m, nn.Flatten)][-1], nn.BatchNorm2d)
    x = torch.rand(1, 1024, 5, 5)
    with torch.no_grad():
        assert torch.allclose(head(x), head(x.mean(dim=(2, 3), keepdim=True)), atol=1e-5)
        assert torch.equal(head(x), head(x))
        dropout = next(m for m in head.modules() if isinstance(m, nn.Dropout)).train()
        assert not torch.equal(head(x), head(x))
    assert dropout.p == pytest.approx(1 - 0.4)
