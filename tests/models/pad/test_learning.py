"""The liveness network learns from six teachers: their files are read, looks are made, learned from, and shipped."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training tools: make test-train")

import onnxruntime
import torch
from torch import nn

from device.types import FaceDetection
from device.vision.assets import FACE_DETECTOR
from device.vision.detect import LiteRTDetector
from device.vision.liveness import PadScorer, load_liveness_manifest, near_look, wide_look
from models.int8.export import INT8_OPERATORS, operators
from models.networks.pad import (
    NEAR_SLOPES,
    NEAR_TEACHERS,
    WIDE_SLOPES,
    WIDE_TEACHERS,
    TwoLooks,
    logits,
    mix_answers,
)
from models.pad import photographs
from models.pad.agreement import Agreement, auc, rank_correlation
from models.pad.distill import JointLoss, Looks, inherit, load_parents, to_input
from models.pad.export import OPERATORS, Answer, outputs, to_files
from models.pad.looks import LOOKS, Box
from models.pad.photographs import CHOOSE, LEARN, REPORT
from models.pad.recover import recover
from models.pad.teachers import CLIP, NAMES, TEACHERS, Panel, joint, live_logit, load_teacher
from scripts.measure import evaluate_pad
from scripts.train import make_pad_looks, quantize_pad, train_pad
from scripts.train.train_pad import WEIGHTS
from tests.support.photos import model_file, photo
from tests.support.training_data import write_pad_teachers

pytestmark = pytest.mark.train
PUBLIC = Path(__file__).parents[4] / "shared" / "faces"
RECIPE = """
network = "pad"
act = "prelu"
init = "teacher"
seed = 1
batch = 8
weight_decay = 0.0
ema_decay = 0.5
identity_pull = 0.0
[[phase]]
objective = "late"
samples = 8
learning_rate = 1e-3
warmup_samples = 1
[[phase]]
objective = "joint"
samples = 8
learning_rate = 1e-4
warmup_samples = 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teachers of random weights, and portraits in the place of all photographs."""
    detector = LiteRTDetector(model=model_file(FACE_DETECTOR), min_score=0.5, threads=1)
    folder = tmp_path_factory.mktemp("faces")
    write_pad_teachers(folder)
    pictures = {name: encoded(photo(name)) for name in ("hopper", "astronaut")}
    people = {part: person_of(part) for part in (LEARN, CHOOSE, REPORT)}
    with zipfile.ZipFile(folder / "lfw.zip", "w") as archive:
        for person in people.values():
            for number, content in enumerate(pictures.values()):
                archive.writestr(f"{person}/{person}_{number:04}.webp", content)
    with zipfile.ZipFile(folder / "nuaa.zip", "w") as archive:
        for person in range(1, 16):
            archive.writestr(f"client/{person:04}/a.webp", pictures["hopper"])
            archive.writestr(f"imposter/{person:04}/a.webp", pictures["astronaut"])
    box = photographs.boxed(small(photo("hopper")), detector.detect).box
    with zipfile.ZipFile(folder / "wide.zip", "w") as archive:
        for number in range(30):
            archive.writestr(f"{number}.webp", pictures["hopper"])
    rows = "".join(f"{n}.webp,{box.x},{box.y},{box.width},{box.height},0.9\n" for n in range(30))
    header = "name,face_x_px,face_y_px,face_width_px,face_height_px,teacher_live\n"
    (folder / "wide.csv").write_text(header + rows)
    return folder


def small(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (250, 250), interpolation=cv2.INTER_AREA)


def encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".webp", small(image)[..., ::-1])[1].tobytes()


def whole(image: np.ndarray) -> list[FaceDetection]:
    """Take the middle of every picture for a face."""
    height, width = image.shape[:2]
    box = (width / 4, height / 4, width / 2, height / 2)
    return [FaceDetection(box, 0.9, np.zeros((6, 2), np.float32))]


def person_of(part: str) -> str:
    return next(f"Person_{n}" for n in range(1000) if photographs.part_of(f"Person_{n}") == part)


@pytest.fixture(scope="module")
def looks(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Looks of all parts, 32 each."""
    folder = tmp_path_factory.mktemp("looks")
    for part in (LEARN, CHOOSE, REPORT):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(make_pad_looks, "PART", 32)
            options = ["--data", str(data), "--out", str(folder), "--looks", "32", "--part", part]
            assert make_pad_looks.main(options) == 0
    return folder


@pytest.mark.skipif(not (PUBLIC / TEACHERS[0].file).exists(), reason="the public networks are not here")
@pytest.mark.parametrize("teacher", TEACHERS, ids=NAMES)
def test_a_public_network_answers_as_its_file_does(teacher) -> None:
    compare(PUBLIC / teacher.file, teacher.scale)


@pytest.mark.parametrize("teacher", TEACHERS, ids=NAMES)
def test_a_network_of_random_weights_answers_as_its_file_does(teacher, data: Path) -> None:
    compare(data / teacher.file, teacher.scale)


def compare(path: Path, scale: float) -> None:
    network, session = load_teacher(path), onnxruntime.InferenceSession(str(path))
    shape = (1, 3, network.side_px, network.side_px)
    pictures = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32) * np.float32(scale)
    expected = session.run(None, {session.get_inputs()[0].name: pictures})[0]
    with torch.no_grad():
        found = network(torch.from_numpy(pictures))
    if np.isclose(expected.sum(), 1, atol=1e-4):
        found = found.softmax(1)
    assert found.numpy() == pytest.approx(expected, abs=2e-4)


def test_a_live_logit_is_that_of_the_class_against_all_others() -> None:
    answers = torch.tensor([[1.0, 2.0, 0.5], [100.0, -100.0, 0.0]])
    shares = answers.double().softmax(1)[:, 1]
    found = live_logit(answers, 1)
    assert found[0].item() == pytest.approx(float(torch.logit(shares[0])), abs=1e-5)
    assert found[1].item() == -CLIP


def test_the_joint_teacher_counts_both_wide_networks_as_one() -> None:
    assert joint(np.array([[4.0, 4, 1, 1, 1, 1]])) == pytest.approx([(4 + 1 + 1 + 1 + 1) / 5], abs=1e-6)
    sure, unsure = joint(np.array([[8.0, 8, 8, 8, 8, 8], [8.0, -8, 0, 0, 0, 0]]))
    assert sure == pytest.approx(CLIP, abs=0.01)
    assert unsure == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "box", [(100, 80, 60, 60), (5, 400, 90, 80), (560, -20, 120, 150), (100, 100, 400, 380)]
)
def test_training_cuts_the_looks_that_the_door_takes(box) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    assert np.array_equal(LOOKS["near"](frame, Box(*box)), near_look(frame, box))
    assert np.array_equal(LOOKS["wide"](frame, Box(*box)), wide_look(frame, box))


def test_people_are_in_one_part_only(data: Path) -> None:
    parts = [photographs.part_of(f"Somebody_{n}") for n in range(2_000)]
    assert parts.count(REPORT) == pytest.approx(1_000, abs=120)
    assert parts.count(CHOOSE) == pytest.approx(2_000 / 12, abs=60)
    learned, chosen = (photographs.recordings(data, part, whole) for part in (LEARN, REPORT))
    assert not {row.person for row in learned} & {row.person for row in chosen}
    assert not photographs.wide(data, REPORT)
    assert len(photographs.wide(data, LEARN)) + len(photographs.wide(data, CHOOSE)) == 30


def test_looks_hold_what_the_teachers_say_of_their_frames(looks: Path, data: Path) -> None:
    made = Looks.open(looks, LEARN)
    assert len(made) == 32
    assert made.all("near").shape == (32, 128, 128, 3)
    assert made.all("wide").shape == (32, 80, 80, 3)
    assert np.abs(made.all("teachers")).max() <= CLIP
    assert set(made.all("live")[made.all("kind") == "live"]) == {True}
    maker, panel = make_pad_looks.Maker(data, LEARN), Panel(data)
    again = make_pad_looks.make_part(maker, panel, 32, np.random.default_rng((1, 0)))
    assert np.array_equal(again["near"], made.all("near"))


def parents(data: Path) -> TwoLooks:
    return load_parents(data, "bin15", "27")


def test_the_answers_of_the_parents_are_fitted_to_what_the_teachers_say(looks: Path, data: Path) -> None:
    made, published = Looks.open(looks, LEARN), parents(data)
    inherit(published, made, count=32)
    assert Agreement(made)(published)["dev_rank"] > 0.7  # of what it was fitted to; random answers have 0


def test_the_student_inherits_all_but_the_slopes_that_its_parents_hardly_need(
    looks: Path, data: Path
) -> None:
    published = parents(data)
    student = inherit(published, Looks.open(looks, LEARN), count=32)
    values = student.state_dict()
    for name, value in published.state_dict().items():
        assert (name.endswith("2.weight") and name not in values) or torch.equal(values[name], value), name
    assert any("excite.gate" in name for name in values)
    for trunk, kept in ((student.near, NEAR_SLOPES), (student.wide, WIDE_SLOPES)):
        assert {name[:-2] for name, layer in trunk.named_modules() if isinstance(layer, nn.PReLU)} == set(
            kept
        )


def test_a_teacher_of_another_table_is_refused(data: Path) -> None:
    with pytest.raises(ValueError, match="near needs gates"):
        load_parents(data, "bin15", "40")


def test_the_early_layers_stay_as_they_were_inherited(looks: Path, data: Path) -> None:
    network = inherit(parents(data), Looks.open(looks, LEARN), count=32)
    batch = next(Looks.open(looks, LEARN).stream(8, 0, 0))
    JointLoss(network, late=True)(*batch, 0.0)["total"].backward()
    for trunk in (network.near, network.wide):
        assert all(p.grad is None for p in trunk.early.parameters())
        assert all(p.grad is not None for p in trunk.widen.parameters())
    JointLoss(network)(*batch, 0.0)["total"].backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_target_leans_toward_the_truth(looks: Path) -> None:
    made = Looks.open(looks, LEARN)
    *_, teachers, target = next(made.stream(512, 3, 0))
    lean = target.numpy() - joint(teachers.numpy())
    assert set(np.unique(lean.round(2))) == {-2.0, -0.5, 0.5, 2.0}


def test_a_trunk_is_exported_as_it_was_trained(looks: Path, data: Path, tmp_path: Path) -> None:
    made = Looks.open(looks, LEARN)
    network = inherit(parents(data), made, count=32)
    for name in ("near", "wide"):
        trunk, pictures = getattr(network, name), made.all(name)
        with torch.no_grad():
            exact = trunk.eval()(to_input(pictures))[:, 0].numpy()
            joined = Answer(trunk, to_input(pictures))(to_input(pictures))[:, 0].numpy()
        assert joined == pytest.approx(exact, abs=1e-3)
        assert any(isinstance(layer, nn.PReLU) for layer in trunk.modules())  # the export left it as it was
        single, int8 = to_files(trunk, name, pictures, tmp_path)
        assert outputs(single, pictures) == pytest.approx(exact, abs=2e-3)
        assert np.isfinite(outputs(int8, pictures)).all()
        assert operators(int8) - INT8_OPERATORS == OPERATORS - INT8_OPERATORS


def test_the_shipped_files_come_back_as_the_network_they_were(looks: Path, tmp_path: Path) -> None:
    made = Looks.open(looks, LEARN)
    network = recover(WEIGHTS, made, count=32)
    near, wide = made.all("near"), made.all("wide")
    shipped = outputs(WEIGHTS / "pad_near.tflite", near) + outputs(WEIGHTS / "pad_wide.tflite", wide)
    found = logits(network, to_input(near), to_input(wide)).numpy()
    assert np.corrcoef(shipped, found)[0, 1] > 0.99
    assert np.abs(shipped - found).mean() < 0.1 * shipped.std()
    for name in ("near", "wide"):
        (tmp_path / f"pad_{name}.tflite").write_bytes((WEIGHTS / "pad_near.tflite").read_bytes())
    with pytest.raises(ValueError, match=r"pad_wide.tflite is of another network"):
        recover(tmp_path, made, count=32)


def test_a_run_goes_on_and_ends_at_a_door_that_takes_its_files(
    looks: Path, data: Path, tmp_path: Path
) -> None:
    recipe, run, out = tmp_path / "pad.toml", tmp_path / "run", tmp_path / "export"
    recipe.write_text(RECIPE)
    options = ["--data", str(data), "--looks", str(looks), "--out", str(run), "--evaluate-every", "8"]
    for _ in range(2):  # the second has nothing left to do
        assert train_pad.main([str(recipe), *options, "--threads", "1"]) == 0
    figures = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert figures[-1]["samples"] == 16
    assert "dev_rank" in figures[-1]
    assert quantize_pad.main([str(run), "--looks", str(looks), "--out", str(out)]) == 0
    manifest = load_liveness_manifest(out / "pad.json")
    assert 0 <= manifest.attack <= manifest.unsure <= 1
    scorer = PadScorer(manifest=out / "pad.json", threads=1)
    made = Looks.open(looks, REPORT)
    scores = [
        scorer.score_of(near, wide) for near, wide in zip(made.all("near"), made.all("wide"), strict=True)
    ]
    assert np.ptp(scores) > 0
    report = tmp_path / "test.json"
    assert evaluate_pad.main([str(out / "pad.json"), "--looks", str(looks), "--json", str(report)]) == 0
    groups = json.loads(report.read_text())["groups"]
    assert sum(row["looks"] for row in groups.values()) == 32
    assert all(0 <= row["error_at_unsure"]["value"] <= 1 for row in groups.values())


def test_a_folder_without_looks_is_named_in_one_line(data: Path, tmp_path: Path, capsys) -> None:
    recipe = tmp_path / "pad.toml"
    recipe.write_text(RECIPE)
    options = ["--data", str(data), "--looks", str(tmp_path), "--out", str(tmp_path / "run")]
    assert train_pad.main([str(recipe), *options]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_answer_of_two_looks_is_their_sum() -> None:
    network = TwoLooks().eval()
    near, wide = torch.rand(3, 3, 128, 128), torch.rand(3, 3, 80, 80)
    with torch.no_grad():
        parts = network(near, wide)
    assert logits(network, near, wide).numpy() == pytest.approx(
        (parts[0][:, 0] + parts[1][:, 0]).numpy(), abs=0.05
    )


def test_half_of_the_answer_is_what_the_network_takes_the_joint_teacher_to_say() -> None:
    network = TwoLooks().eval()
    near, wide = torch.rand(3, 3, 128, 128), torch.rand(3, 3, 80, 80)
    with torch.no_grad():
        n, w = network(near, wide)
        found = sum(part[:, 0] for part in mix_answers(network)(near, wide))
    repeated = torch.zeros(3, len(NAMES))
    repeated[:, NEAR_TEACHERS], repeated[:, WIDE_TEACHERS] = n[:, 1:], w[:, 1:]
    expected = 0.5 * (n[:, 0] + w[:, 0]).numpy() + 0.5 * joint(repeated.numpy())
    assert found.numpy() == pytest.approx(expected, abs=1e-4)


def test_equal_scores_are_worth_half() -> None:
    live = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.2, 0.1]), live) == 1
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), live) == 0.5
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([10.0, 20, 1000])) == pytest.approx(1)
