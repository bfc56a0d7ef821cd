"""The landmark network's points, views, loss and training; its shipped file against the mesh."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from device.numeric.face_shape import misfit  # noqa: E402
from device.numeric.geometry import REFERENCE_POINTS, five_points, similarity_transform  # noqa: E402
from device.vision.align import MeshAligner  # noqa: E402
from device.vision.assets import FACE_DETECTOR, FACE_MESH  # noqa: E402
from device.vision.detect import LiteRTDetector  # noqa: E402
from models.landmarks.data import Views, no_face, region_points, region_transform, surroundings  # noqa: E402
from models.landmarks.file import LandmarkFile  # noqa: E402
from models.landmarks.points import (  # noqa: E402
    LANDMARKS,
    MIRROR,
    PAIRS,
    PARTS,
    five,
    five_error,
    inter_ocular,
    mean_error,
    mirrored,
)
from models.networks.landmarks import INPUT_PX, LandmarkNetwork, PointsLoss, wing_loss  # noqa: E402
from tests.support.photos import model_file, photo  # noqa: E402
from tests.support.training_data import portraits, write_data  # noqa: E402

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "models" / "weights" / "landmarks.json"
RIGHT_CONTOUR = {33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173}
RECIPE = """network = "landmarks"
act = "relu6"
init = "random"
seed = 3
batch = 8
weight_decay = 1e-4
ema_decay = 0.9
identity_pull = 0.0
[[phase]]
objective = "points"
samples = 24
learning_rate = 1e-3
"""


@pytest.fixture(scope="module")
def mesh():
    """Return the mesh (468, 2) of the astronaut and of her mirror image, and the width of the picture."""
    image = photo("astronaut")
    detector = LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=0.5, threads=1)
    aligner = MeshAligner(model=model_file(FACE_MESH), threads=1)
    pictures = (image, np.ascontiguousarray(image[:, ::-1]))
    first, second = (aligner.align(picture, detector.detect(picture)[0]).mesh[:, :2] for picture in pictures)
    return first, second, image.shape[1]


def test_there_are_127_points_of_the_mesh():
    assert len(LANDMARKS) == len(set(LANDMARKS)) == len(PARTS) == 127
    assert 0 <= min(LANDMARKS) <= max(LANDMARKS) < 468
    assert set(LANDMARKS) >= RIGHT_CONTOUR
    assert set(PARTS) == {"eyes", "brows", "nose", "lips", "jaw"}


def test_the_mirror_exchanges_pairs_and_keeps_the_midline():
    mirror = np.array(MIRROR)
    assert (mirror[mirror] == np.arange(127)).all()
    assert (mirror == np.arange(127)).sum() == 127 - 2 * sum(map(len, PAIRS.values())) == 13


def test_a_mirrored_picture_has_mirrored_points(mesh):
    first, second, width = mesh
    turned = mirrored(second[list(LANDMARKS)].astype(np.float64), width)
    apart = mean_error(turned, first[list(LANDMARKS)].astype(np.float64))
    assert apart.mean() < 0.06
    assert apart.max() < 0.25  # a wrong pair would be a whole face apart


def test_five_points_are_those_of_the_board(mesh):
    assert np.allclose(five(mesh[0][list(LANDMARKS)]), five_points(mesh[0]), atol=1e-3)


def test_errors_are_shares_of_the_distance_between_the_eyes(mesh):
    points = mesh[0][list(LANDMARKS)].astype(np.float64)
    moved = points + np.array([0.1 * inter_ocular(points), 0])
    assert np.allclose(mean_error(moved, points), 0.1)
    assert np.allclose(five_error(moved, points), 0.1)


def test_wing_loss_is_the_papers():
    unit, truth = torch.ones(1), torch.zeros(1, 1, 2)
    small, large = torch.full((1, 1, 2), 0.01), torch.full((1, 1, 2), 0.5)
    assert wing_loss(small, truth, unit).item() == pytest.approx(0.15 * np.log(1 + 0.01 / 0.03), rel=1e-5)
    assert wing_loss(large, truth, unit).item() == pytest.approx(
        0.5 - (0.15 - 0.15 * np.log(1 + 0.15 / 0.03)), rel=1e-5
    )
    assert wing_loss(10 * large, truth, 10 * unit).item() == pytest.approx(
        wing_loss(large, truth, unit).item(), rel=1e-5
    )


def test_the_objective_is_zero_where_every_point_is_right():
    truth = torch.rand(2, 127, 2)

    class Knows(torch.nn.Module):
        def forward(self, pictures):
            return truth.flatten(1)

    losses = PointsLoss(Knows())(torch.zeros(2, 3, 96, 96), truth, 0.0)
    assert losses["total"].item() == 0


def test_the_network_maps_a_square_to_254_numbers_and_learns():
    network = LandmarkNetwork()
    pictures = torch.rand(2, 3, INPUT_PX, INPUT_PX)
    assert network(pictures).shape == (2, 254)
    network(pictures).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.stage_outputs(pictures)[-1].shape == (2, 254)


def test_a_new_network_answers_near_the_mean_shape():
    network = LandmarkNetwork().eval()
    network.start_at(torch.linspace(0, 1, 254))
    with torch.no_grad():
        answer = network(torch.rand(1, 3, INPUT_PX, INPUT_PX))[0]
    assert (answer - torch.linspace(0, 1, 254)).abs().max() < 0.2


def test_a_crop_lies_where_the_detector_would_see_it():
    eyes = region_points(REFERENCE_POINTS[:2].astype(np.float64), 96)
    assert 20 < eyes[1, 0] - eyes[0, 0] < 32
    assert 25 < eyes[:, 1].mean() < 45
    moved = region_transform(96, shift=(0.1, 0.0))[:, 2] - region_transform(96)[:, 2]
    assert np.allclose(moved, [9.6, 0])


@pytest.fixture(scope="module")
def views():
    """Views of two portraits, whose only marked points are the reference points, repeated."""
    images = np.stack(portraits())
    points = np.stack([REFERENCE_POINTS[np.arange(127) % 5]] * 2)
    return Views(images, points, np.arange(2), INPUT_PX)


def test_a_batch_is_a_function_of_its_number(views):
    first, again, other = (views.batch(2, 1, number) for number in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert first[0].shape == (2, 3, INPUT_PX, INPUT_PX)
    assert first[1].shape == (2, 127, 2)


def test_a_stream_goes_on_where_it_was(views):
    stream = views.stream(2, 5, 0)
    next(stream)
    assert torch.equal(next(stream)[0], next(views.stream(2, 5, 1))[0])


def test_points_move_with_the_picture():
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[50:53, 37:40] = 255
    points = np.full((1, 127, 2), (38.0, 51.0))
    sharp = {"p_light": 0, "p_color": 0, "p_gray": 0, "p_cover": 0, "p_low_resolution": 0, "p_blur": 0}
    views = Views(crop[None], points, np.zeros(1, np.int64), 96, p_noise=0, p_jpeg=0, p_nothing=0, **sharp)
    rng = np.random.default_rng(0)
    for _ in range(8):
        picture, found = views.one(0, rng)
        bright = np.argwhere(picture.min(axis=2) > 120)
        nearest = np.abs(bright[:, ::-1] - found[0]).max(axis=1).min()
        assert nearest < 1.5


def test_what_is_no_face_and_what_stands_around_have_the_asked_size():
    rng, (first, second) = np.random.default_rng(1), portraits()
    for _ in range(20):
        assert no_face((first, second), 96, rng).shape == (96, 96, 3)
        assert surroundings(second, 96, rng).shape == (96, 96, 3)


def run(script, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_from_crops_to_an_int8_file(tmp_path):
    model_file(FACE_MESH)
    data = write_data(tmp_path / "data", faces=160)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    labels, out = tmp_path / "labels.npz", tmp_path / "run"
    labeled = run("train/label_landmarks.py", "--data", data, "--out", labels)
    assert labeled.returncode == 0, labeled.stderr
    with np.load(labels) as file:
        assert file["points"].shape == (160, 127, 2)
        assert file["kept"].sum() > 80
    arguments = (tmp_path / "recipe.toml", "--data", data, "--labels", labels, "--out", out)
    trained = run("train/train_landmarks.py", *arguments, "--threads", 1)
    assert trained.returncode == 0, trained.stderr
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert "dev_error_five" in lines[-1]
    exported = run(
        "train/quantize_landmarks.py", out, "--data", data, "--labels", labels, "--out", out / "export"
    )
    assert exported.returncode == 0, exported.stderr
    manifest = json.loads((out / "export" / "landmarks.json").read_text())
    assert manifest["points"] == list(LANDMARKS)
    assert np.array(manifest["mean_shape"]).shape == (127, 2)
    assert manifest["output"]["dtype"] == "int8"
    assert manifest["output"]["shape"] == [1, 254]


def test_an_unlabeled_folder_is_one_line(tmp_path):
    done = run("train/label_landmarks.py", "--data", tmp_path, "--out", tmp_path / "labels.npz")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(not SHIPPED.exists(), reason="no landmark network is shipped")
def test_the_shipped_network_sees_what_the_mesh_sees(mesh):
    manifest = json.loads(SHIPPED.read_text())
    assert manifest["points"] == list(LANDMARKS)
    image, truth = photo("astronaut"), mesh[0][list(LANDMARKS)].astype(np.float64)
    matrix = similarity_transform(five(truth), REFERENCE_POINTS)
    crop = cv2.warpAffine(image, matrix, (112, 112))
    square = cv2.warpAffine(crop, region_transform(96), (96, 96), borderMode=cv2.BORDER_REPLICATE)
    guess = LandmarkFile(SHIPPED.with_suffix(".tflite")).points(square)
    expected = region_points(truth @ matrix[:, :2].T + matrix[:, 2], 96) / 96
    assert five_error(guess, expected).max() < 0.12
    assert misfit(guess, manifest["mean_shape"], LANDMARKS) < manifest["largest_misfit"]
