"""The liveness network: its trunks, its views, its development thresholds, its training and export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from device.vision.liveness import CHANNELS, load_liveness_manifest  # noqa: E402
from models.int8 import export  # noqa: E402
from models.networks.pad import BothLooks, KeptLoss, LiveLoss, MapLoss, logits  # noqa: E402
from models.networks.registry import make_network  # noqa: E402
from models.pad.data import (  # noqa: E402
    CROP_FACE,
    Mix,
    NearViews,
    Recorded,
    RecordedViews,
    WideViews,
    is_natural,
    load_faces,
    reframed,
    varied,
)
from models.pad.development import RECORDED_LIVE, Development, load_development  # noqa: E402
from models.pad.material import load_material, load_pictures, make_looks, open_looks, save_people  # noqa: E402
from models.pad.people import DEVELOPMENT_PEOPLE, TEST_PEOPLE, TRAINING_PEOPLE  # noqa: E402
from models.pad.simulator.rooms import Material  # noqa: E402
from models.pad.simulator.scene import view  # noqa: E402
from models.training.data import to_images, to_tensor  # noqa: E402
from scripts.train.quantize_pad import pair_of_thresholds, seen, to_int8  # noqa: E402
from tests.support.training_data import material, portraits, write_data  # noqa: E402

ROOT = Path(__file__).parents[3]
RECIPE = """network = "{network}"
act = "relu6"
init = "{init}"
seed = 3
batch = 8
weight_decay = 1e-4
ema_decay = 0.9
identity_pull = 0.0
[[phase]]
objective = "{objective}"
samples = 24
learning_rate = 1e-3
"""


def recorded_pictures() -> Recorded:
    """Return two pictures of each of 16 people, one live and one darker for printed."""
    first, second = portraits()
    images = np.stack([look for _ in range(16) for look in (first, (second * 0.7).astype(np.uint8))])
    people = np.repeat(np.arange(1, 17), 2)
    inside = np.tile(np.float32([10, 26, 103, 119]), (32, 1))
    return Recorded(images, images[:, ::-1], np.arange(32) % 2 == 0, people, inside)


@pytest.fixture(scope="module", name="material")
def fixture_material() -> Material:
    return material()


@pytest.fixture(scope="module")
def views() -> NearViews:
    return NearViews(np.stack(portraits()), recorded_pictures(), Mix(stored=16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, material) -> Path:
    """Return a folder as prepare_pad.py and simulate_pad.py leave it, of hardly anything."""
    path, recorded = tmp_path_factory.mktemp("pad"), recorded_pictures()
    names = ("near", "wide", "live", "person", "inside")
    np.savez(path / "recorded.npz", **{name: getattr(recorded, name) for name in names})
    save_people(
        path / "people.npz", material.faces, material.masks, np.array([False, True]), material.pictures
    )
    groups = np.array(["live, photograph", "print", "no edge in view"] * 4)
    near = np.resize(recorded.near, (len(groups), 112, 112, 3))
    np.savez(path / "development.npz", near=near, wide=near, groups=groups)
    looks = make_looks(path, 16)
    looks.add(0, [view(number % 2 == 1, material, np.random.default_rng(number)) for number in range(12)])
    return path


def test_nobody_is_in_two_parts():
    parts = [set(part) for part in (TRAINING_PEOPLE, DEVELOPMENT_PEOPLE, TEST_PEOPLE)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 16


def test_people_are_kept_apart():
    recorded = recorded_pictures()
    there = recorded.of(TEST_PEOPLE)
    assert set(there.person) == set(TEST_PEOPLE)
    assert len(there.near) == len(there.wide) == len(there.live) == len(there.inside) == 2 * len(TEST_PEOPLE)


def losses_of(name: str):
    """Return a trunk, its objective and a batch for it."""
    network, live = make_network(name, "relu6").train(), torch.tensor([0.0, 1, 0, 1])
    more = (torch.rand(4, 14, 14).round(),) if name == "pad_wide" else ()
    loss = MapLoss(network) if name == "pad_wide" else LiveLoss(network)
    return network, loss, (torch.randn(4, 3, 112, 112), live, *more)


@pytest.mark.parametrize("name", ["pad_near", "pad_wide"])
def test_a_trunk_answers_with_one_logit_and_every_weight_learns(name):
    network, loss, batch = losses_of(name)
    loss(*batch, 0.0)["total"].backward()
    assert network(batch[0]).shape == (4, 1)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("name", ["pad_near", "pad_wide"])
def test_an_untrained_trunk_is_not_sure(name):
    network = make_network(name, "relu6").eval()
    assert logits(network, torch.randn(8, 3, 112, 112)).abs().max() < 1


def test_what_is_kept_is_the_answer_for_recorded_pictures():
    torch.manual_seed(0)
    student, start = (make_network("pad_near", "relu6").eval() for _ in range(2))
    loss = KeptLoss(student, start)
    pictures, live = torch.randn(4, 3, 112, 112), torch.ones(4)
    nothing_recorded = loss(pictures, live, torch.zeros(4), 0.0)
    assert nothing_recorded["kept"] == 0
    assert loss(pictures, live, torch.tensor([1.0, 0, 0, 0]), 0.0)["kept"] > 0
    assert KeptLoss(start, start)(pictures, live, torch.ones(4), 0.0)["kept"] == 0
    assert not any(parameter.requires_grad for parameter in loss.start.parameters())


def test_both_looks_are_the_trunks_with_their_thresholds_at_zero():
    torch.manual_seed(0)
    near, wide = (make_network(name, "relu6").eval() for name in ("pad_near", "pad_wide"))
    both, looks = BothLooks(near, wide, (0.5, -2.0)).eval(), torch.randn(3, 9, 112, 112)
    found = logits(both, looks)
    assert found.shape == (3, 2)
    assert torch.allclose(found[:, 0], logits(near, looks[:, :3]) - 0.5, atol=1e-5)
    mean = (logits(wide, looks[:, 3:6]) + logits(wide, looks[:, 6:])) / 2
    assert torch.allclose(found[:, 1], mean + 2.0, atol=1e-5)


def test_a_wide_look_and_its_mirror_image_score_the_same():
    torch.manual_seed(0)
    near, wide = (make_network(name, "relu6").eval() for name in ("pad_near", "pad_wide"))
    both = BothLooks(near, wide, (0.0, 0.0)).eval()
    looks = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 6), dtype=np.uint8)
    turned = np.concatenate([looks[..., :3], looks[:, :, ::-1, 3:]], axis=3)
    assert torch.allclose(
        logits(both, to_tensor(seen(looks))), logits(both, to_tensor(seen(turned))), atol=1e-6
    )


def test_the_pair_of_thresholds_is_one_that_separates():
    """Attacks of one kind are seen by the near trunk only, of the other by the wide one only."""
    rng = np.random.default_rng(0)
    groups = np.array(["live"] * 40 + ["print"] * 40 + ["phone"] * 40)
    level = {"live": (200, 180), "print": (60, 180), "phone": (200, 40)}
    looks = np.empty((120, 112, 112, 6), np.uint8)
    for look, group in zip(looks, groups, strict=True):
        look[..., :3], look[..., 3:] = (
            np.clip(value + rng.normal(0, 9), 0, 255) for value in level[str(group)]
        )
    brightness = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), Mean())
    near, wide = pair_of_thresholds(Development(looks, groups), brightness, brightness)
    assert -0.5 < near < 0.5
    assert -0.5 < wide < 0.4


class Mean(torch.nn.Module):
    def forward(self, values):
        return values.mean(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def learned(views):
    """Return a network that has learned a batch, and the batch."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = make_network("pad_near", "relu6")
    pictures, labels, _ = views.batch(8, seed=1, number=0)
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


def batches_of(kind, views, folder):
    wide = WideViews(open_looks(folder), views.recorded, p_recorded=0.3)
    return {"recorded": RecordedViews(views.recorded), "near": views, "wide": wide}[kind]


@pytest.mark.parametrize("kind", ["recorded", "near", "wide"])
def test_a_batch_repeats(kind, views, folder):
    batches = batches_of(kind, views, folder)
    first, again, other = (batches.batch(10, seed=1, number=number) for number in (5, 5, 6))
    assert first[0].shape == (10, 3, 112, 112)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_half_of_a_batch_is_live(views, folder):
    for kind in ("recorded", "wide"):
        assert batches_of(kind, views, folder).batch(10, 1, 0)[1].tolist() == [0, 1] * 5


def test_photographs_are_all_live_and_recorded_pictures_half(views):
    _, live, recorded = views.batch(10, 1, 0)
    assert recorded.tolist() == [0] * 4 + [1] * 6
    assert live.tolist() == [1] * 4 + [0, 1] * 3


def test_a_map_shows_where_the_attack_is_and_nothing_for_live(views, folder):
    _, live, maps = WideViews(open_looks(folder), views.recorded, p_recorded=0).batch(12, 1, 0)
    assert maps.shape == (12, 14, 14)
    assert (maps[live == 1] == 0).all()
    assert (maps[live == 0][:, 6:8, 6:8] > 0.9).all()
    recorded = WideViews(open_looks(folder), views.recorded, p_recorded=1).batch(12, 1, 0)
    assert torch.equal(recorded[2].mean((1, 2)), 1 - recorded[1])


def test_only_looks_that_are_made_are_learned_from(views, folder):
    pictures, *_ = WideViews(open_looks(folder), views.recorded, p_recorded=0).batch(64, 2, 0)
    assert (pictures.std(dim=(1, 2, 3)) > 0.02).all()


def test_looks_that_are_made_are_kept(folder):
    assert make_looks(folder, 16).made() == 12
    assert make_looks(folder, 16).images[:12].any(axis=(1, 2, 3)).all()


def test_a_stream_goes_on_where_a_run_stopped(views):
    stream = views.stream(5, 2, 3)
    for number in (3, 4, 5):
        assert torch.equal(next(stream)[0], views.batch(5, 2, number)[0])


def test_a_photograph_through_the_camera_stays_in_place(views):
    """A face keeps its place and size through canvas, camera and alignment."""
    calm = NearViews(views.faces[1:], views.recorded, Mix(turn_deg=0, scale=0, shift_px=0, p_hand=0))
    found = np.mean([calm.through_camera(np.random.default_rng(seed)) for seed in range(60)], axis=0)
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
        assert 0.02 < found["print"] <= 0.05
        assert found["phone"] == 0

    def test_attack_lies_below_nearly_all_live_pictures(self):
        development, scores = self.of(0.8, 0.6, 0.2, 0.5)
        unsure, attack = development.thresholds(scores)
        assert attack < unsure
        assert development.errors(scores, attack)[RECORDED_LIVE] <= 0.015

    def test_where_classes_stand_apart_attack_is_no_higher_than_unsure(self):
        unsure, attack = (lambda found: found[0].thresholds(found[1]))(self.of(0.9, 0.9, 0.1, 0.1))
        assert attack <= unsure

    def test_it_holds_the_development_people_and_every_attack_with_an_edge(self, folder):
        found = load_development(folder, recorded_pictures())
        names, counts = np.unique(found.groups, return_counts=True)
        people = len(DEVELOPMENT_PEOPLE)
        assert dict(zip(names, counts, strict=True)) == {
            "live, photograph": 4,
            "print": 4,
            "recorded live": people,
            "recorded print": people,
        }
        assert found.looks.shape == (2 * people + 8, 112, 112, 6)


def test_people_and_pictures_come_back_as_they_were(folder, material):
    found = load_material(folder, held_out=False)
    assert np.array_equal(found.faces, material.faces[:1])
    assert np.array_equal(found.masks, material.masks[:1])
    assert [np.array_equal(a, b) for a, b in zip(found.pictures, material.pictures, strict=True)] == [True]
    assert len(load_material(folder, held_out=True).faces) == 1


def test_scenes_need_no_pictures(tmp_path, material):
    save_people(tmp_path / "people.npz", material.faces, material.masks, np.array([False, True]), [])
    assert load_material(tmp_path, held_out=False).pictures == []


def test_small_and_plain_pictures_are_left_out(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (500, 800, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "good.png"), noise)
    cv2.imwrite(str(tmp_path / "small.png"), noise[:300])
    cv2.imwrite(str(tmp_path / "plain.png"), np.full_like(noise, 90))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (found,) = load_pictures(tmp_path)
    assert found.shape == (250, 400, 3)


def run(script, *arguments):
    command = [sys.executable, ROOT / "scripts" / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=160)


def test_int8_answers_as_the_trained_trunks_do(tmp_path, learned):
    near, batch, _ = learned
    torch.manual_seed(1)
    wide = make_network("pad_wide", "relu6")
    with torch.no_grad():
        for _ in range(30):  # so that the batch norms know their means
            near.train()(batch), wide.train()(batch)
    network, pictures = (
        BothLooks(near, wide, (0.0, 0.0)).eval(),
        seen(to_images(torch.cat([batch, batch], dim=1))),
    )
    single, int8 = tmp_path / "fp32.tflite", tmp_path / "int8.tflite"
    export.to_litert(network, single, CHANNELS)
    to_int8(single, pictures, int8)
    assert export.operators(int8) <= export.INT8_OPERATORS
    assert int8.stat().st_size < 1_000_000
    exact = logits(network, to_tensor(pictures)).numpy()
    assert np.abs(export.outputs(single, pictures) - exact).max() < 1e-3
    found = export.outputs(int8, pictures)
    assert np.corrcoef(found[:, 0], exact[:, 0])[0, 1] > 0.97
    assert np.abs(found - exact).max() < 0.2 * np.ptp(exact)


def train(folder, network, objective, out, *more, init="random"):
    recipe = out.with_suffix(".toml")
    recipe.write_text(RECIPE.format(network=network, objective=objective, init=init))
    return run("train/train_pad.py", recipe, "--data", folder, "--out", out, "--threads", 1, *more)


def test_training_resumes_and_exports_a_manifest_that_the_board_takes(tmp_path, folder):
    steps = (
        ("pad_near", "live", folder / "recorded", (), "random"),
        ("pad_near", "kept", folder / "near", ("--start", folder / "recorded"), "run"),
        ("pad_wide", "mapped", folder / "wide", (), "random"),
    )
    for network, objective, out, more, init in steps:
        trained = train(folder, network, objective, out, *more, init=init)
        assert trained.returncode == 0, trained.stderr
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert 0 <= lines[-1]["dev_worst"] <= 1
    again = train(folder, "pad_wide", "mapped", folder / "wide")
    assert "goes on after 24 samples" in again.stdout
    exported = run("train/quantize_pad.py", folder, "--out", tmp_path / "export")
    assert exported.returncode == 0, exported.stderr
    manifest = load_liveness_manifest(tmp_path / "export" / "pad.json")
    assert 0 <= manifest.attack <= manifest.unsure <= 1
    unmeasured = run("train/quantize_pad.py", folder, "--out", tmp_path / "export", "--ship")
    assert unmeasured.returncode != 0


def test_a_folder_that_was_not_prepared_is_named_in_one_line(tmp_path):
    done = train(tmp_path / "nothing", "pad_near", "live", tmp_path / "run")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "recorded.npz" in done.stderr
