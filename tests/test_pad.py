"""The liveness network, its views, its development thresholds, its training and export; the shipped file's figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from device.liveness import load_liveness_manifest  # noqa: E402
from models import export  # noqa: E402
from models.data import to_tensor  # noqa: E402
from models.networks import make_network  # noqa: E402
from models.pad_data import CROP_FACE, Mix, Recorded, Views, is_natural, load_faces, reframed, varied  # noqa: E402
from models.pad_development import RECORDED_LIVE, Development, development_pictures  # noqa: E402
from models.pad_network import LiveLoss, logits  # noqa: E402
from models.pad_people import DEVELOPMENT_PEOPLE, TEST_PEOPLE, TRAINING_PEOPLE  # noqa: E402
from scripts.quantize_pad import to_int8  # noqa: E402
from tests.training_data import portraits, write_data  # noqa: E402

ROOT = Path(__file__).parents[1]
RECIPE = """network = "pad"
act = "relu6"
init = "random"
seed = 3
batch = 8
weight_decay = 1e-4
ema_decay = 0.9
identity_pull = 0.0
[[phase]]
objective = "live"
samples = 24
learning_rate = 1e-3
"""


def recorded_pictures() -> Recorded:
    """Return two pictures of each of 16 people, one live and one darker for printed."""
    first, second = portraits()
    images = [picture for _ in range(16) for picture in (first, (second * 0.7).astype(np.uint8))]
    people = np.repeat(np.arange(1, 17), 2)
    inside = np.tile(np.float32([10, 26, 103, 119]), (32, 1))
    return Recorded(np.stack(images), np.arange(32) % 2 == 0, people, inside)


@pytest.fixture(scope="module")
def views() -> Views:
    return Views(np.stack(portraits()), recorded_pictures(), Mix(stored=16))


def test_nobody_is_in_two_parts():
    parts = [set(part) for part in (TRAINING_PEOPLE, DEVELOPMENT_PEOPLE, TEST_PEOPLE)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 16


def test_people_are_kept_apart():
    recorded = recorded_pictures()
    there = recorded.of(TEST_PEOPLE)
    assert set(there.person) == set(TEST_PEOPLE)
    assert len(there.images) == len(there.live) == len(there.inside) == 2 * len(TEST_PEOPLE)


def test_the_network_answers_with_one_logit_and_every_weight_learns():
    network = make_network("pad", "relu6").train()
    pictures = torch.randn(4, 3, 112, 112)
    losses = LiveLoss(network)(pictures, torch.tensor([0.0, 1, 0, 1]), 0.0)
    losses["total"].backward()
    assert network(pictures).shape == (4, 1)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_untrained_network_is_not_sure():
    network = make_network("pad", "relu6").eval()
    assert logits(network, torch.randn(8, 3, 112, 112)).abs().max() < 1


@pytest.fixture(scope="module")
def learned(views):
    """Return a network that has learned a batch, and the batch."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = make_network("pad", "relu6")
    pictures, labels = views.batch(8, seed=1, number=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    loss = LiveLoss(network.train())
    for _ in range(25):
        optimizer.zero_grad()
        loss(pictures, labels, 0.0)["total"].backward()
        optimizer.step()
    return network, pictures, labels


def test_it_learns_a_batch_by_heart(learned):
    network, pictures, labels = learned
    assert LiveLoss(network.train())(pictures, labels, 0.0)["right"] == 1


def test_a_batch_is_half_live_and_repeats(views):
    first, labels = views.batch(8, seed=1, number=5)
    again, _ = views.batch(8, seed=1, number=5)
    other, _ = views.batch(8, seed=1, number=6)
    assert (first.shape, labels.tolist()) == ((8, 3, 112, 112), [0, 1] * 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_stream_goes_on_where_a_run_stopped(views):
    stream = views.stream(4, 2, 3)
    for number in (3, 4, 5):
        assert torch.equal(next(stream)[0], views.batch(4, 2, number)[0])


def test_an_untouched_live_view_is_the_photograph_in_place(views):
    """A face keeps its place and size through canvas, camera and alignment."""
    calm = Views(
        views.faces[1:], views.recorded, Mix(p_recorded_base=0, turn_deg=0, scale=0, shift_px=0, p_hand=0)
    )
    found = np.mean([calm.simulated("live", np.random.default_rng(seed)) for seed in range(60)], axis=0)
    truth = views.faces[1].astype(np.float64)
    inner = (slice(20, 92), slice(20, 92))

    def likeness(shift):
        return np.corrcoef(np.roll(found, shift, (0, 1))[inner].ravel(), truth[inner].ravel())[0, 1]

    assert likeness((0, 0)) > 0.95
    assert likeness((0, 0)) > max(likeness(shift) for shift in ((0, 3), (0, -3), (3, 0), (-3, 0)))
    assert CROP_FACE.width_px == 80


def test_reframing_hides_where_the_recorded_part_ended():
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    inside = np.float32([10, 26, 103, 119])
    for seed in range(20):
        view = reframed(crop, inside, np.random.default_rng(seed))
        assert view.shape == crop.shape
        assert np.array_equal(
            view[:26], np.repeat(view[26:27], 26, axis=0)
        )  # nothing above what was recorded
        assert np.array_equal(view[:, :10], np.repeat(view[:, 10:11], 10, axis=1))
        assert np.array_equal(view[60, 50], crop[60, 50])


def test_a_stored_view_is_used_again_in_another_light(views):
    assert views.stored(3) is views.stored(3)
    rng = np.random.default_rng(0)
    assert not np.array_equal(varied(views.stored(3), rng), varied(views.stored(3), rng))


def test_cropped_and_enlarged_faces_are_left_out():
    row = {"rim_black": "0.0", "face_width_px": "100"}
    assert is_natural(row)
    assert not is_natural(row | {"rim_black": "0.2"})
    assert not is_natural(row | {"face_width_px": "50"})


def test_faces_of_a_folder_without_measurements_are_read(tmp_path):
    faces, held_out = load_faces(write_data(tmp_path / "data", faces=48), 40, seed=0)
    assert faces.shape == (40, 112, 112, 3)
    assert 0 < held_out.sum() < 40


class TestDevelopment:
    groups = np.array(["live"] * 100 + [RECORDED_LIVE] * 100 + ["phone"] * 100 + ["print"] * 100)

    def of(self, *means):
        scores = np.concatenate([np.linspace(mean - 0.1, mean + 0.1, 100) for mean in means])
        return Development(np.zeros((400, 1), np.uint8), self.groups), scores

    def test_errors_are_shares_on_the_wrong_side(self):
        development, scores = self.of(0.8, 0.7, 0.2, 0.5)
        found = development.errors(scores, 0.55)
        assert found == pytest.approx({"live": 0, RECORDED_LIVE: 0, "phone": 0, "print": 0.25}, abs=0.011)
        assert development.worst(scores, 0.55) == pytest.approx((0.25, 0), abs=0.011)

    def test_the_balanced_threshold_makes_the_worst_errors_equal(self):
        development, scores = self.of(0.8, 0.6, 0.2, 0.5)
        attack, live = development.worst(scores, development.balance(scores))
        assert attack == pytest.approx(live, abs=0.03)
        assert attack == pytest.approx(0.25, abs=0.03)

    def test_few_attacks_of_any_species_pass(self):
        development, scores = self.of(0.8, 0.6, 0.2, 0.5)
        found = development.errors(scores, development.thresholds(scores)[0])
        assert found["print"] <= 0.05
        assert found["print"] > 0.02
        assert found["phone"] == 0

    def test_attack_lies_below_nearly_all_live_pictures(self):
        development, scores = self.of(0.8, 0.6, 0.2, 0.5)
        unsure, attack = development.thresholds(scores)
        assert attack < unsure
        assert development.errors(scores, attack)[RECORDED_LIVE] <= 0.015

    def test_where_classes_stand_apart_attack_is_no_higher_than_unsure(self):
        unsure, attack = (lambda found: found[0].thresholds(found[1]))(self.of(0.9, 0.9, 0.1, 0.1))
        assert attack <= unsure

    def test_pictures_are_of_the_development_people(self, monkeypatch):
        monkeypatch.setattr("models.pad_development.PER_SPECIES", 2)
        monkeypatch.setattr("models.pad_development.LIVE_PICTURES", 3)
        found = development_pictures(np.stack(portraits()), recorded_pictures())
        names, counts = np.unique(found.groups, return_counts=True)
        people = len(DEVELOPMENT_PEOPLE)
        assert dict(zip(names, counts, strict=True)) == {
            "cutout": 2,
            "live": 3,
            "phone": 2,
            "print": 2,
            "recorded live": people,
            "recorded print": people,
            "tablet": 2,
        }


def run(script, *arguments):
    command = [sys.executable, ROOT / "scripts" / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=160)


def test_int8_answers_as_the_trained_network_does(tmp_path, learned):
    network, batch, _ = learned
    pictures = (batch * 128 + 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        for _ in range(30):  # so that the batch norms know their means
            network.train()(batch)
    network.eval()
    single, int8 = tmp_path / "fp32.tflite", tmp_path / "int8.tflite"
    export.to_litert(network, single)
    to_int8(single, pictures, int8)
    assert export.operators(int8) <= export.INT8_OPERATORS
    assert int8.stat().st_size < 1_000_000
    exact = logits(network, to_tensor(pictures)).numpy()
    assert np.abs(export.outputs(single, pictures)[:, 0] - exact).max() < 1e-3
    found = export.outputs(int8, pictures)[:, 0]
    assert np.corrcoef(found, exact)[0, 1] > 0.97
    assert np.abs(found - exact).max() < 0.2 * np.ptp(exact)


def test_training_resumes_and_exports_a_manifest_that_the_board_takes(tmp_path):
    data = write_data(tmp_path / "data", faces=48)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recorded, out = tmp_path / "recorded.npz", tmp_path / "run"
    pictures = recorded_pictures()
    np.savez(
        recorded, images=pictures.images, live=pictures.live, person=pictures.person, inside=pictures.inside
    )
    arguments = (
        tmp_path / "recipe.toml",
        "--data",
        data,
        "--recorded",
        recorded,
        "--out",
        out,
        "--threads",
        1,
    )
    trained = run("train_pad.py", *arguments)
    assert trained.returncode == 0, trained.stderr
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= lines[-1]["dev_worst"] <= 1
    again = run("train_pad.py", *arguments)
    assert "goes on after 24 samples" in again.stdout
    exported = run("quantize_pad.py", out, "--data", data, "--recorded", recorded, "--out", out / "export")
    assert exported.returncode == 0, exported.stderr
    manifest = load_liveness_manifest(out / "export" / "pad.json")
    assert 0 <= manifest.attack <= manifest.unsure <= 1
    unmeasured = run("quantize_pad.py", out, "--out", out / "export", "--ship")
    assert unmeasured.returncode != 0


def test_recorded_pictures_are_needed(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    done = run(
        "train_pad.py",
        tmp_path / "recipe.toml",
        "--data",
        write_data(tmp_path / "data"),
        "--recorded",
        tmp_path / "none.npz",
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
