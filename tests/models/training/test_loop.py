"""Training as a user runs it: recipes, resumed runs, export, the gate before shipping."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.networks.registry import make_network  # noqa: E402
from models.training.data import Augment, batches, load_crops  # noqa: E402
from models.training.loop import Phase, Run, fit, load_recipe  # noqa: E402
from models.training.runs import INHERITED, load_network, with_inherited  # noqa: E402
from scripts.train.train import main, take_trunk, with_network  # noqa: E402
from tests.support.training_data import (  # noqa: E402
    CLASSIFIED,
    LAST_STEP,
    RECIPE,
    write_data,
    write_teacher,
)

pytestmark = pytest.mark.train
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workshop")
    data = write_data(folder / "data")
    torch.manual_seed(0)
    write_teacher(data / "teacher.onnx")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def run(workshop, recipe, out, *extra, launcher=()):
    script = [
        ROOT / "scripts" / "train" / "train.py",
        workshop / recipe,
        "--data",
        workshop / "data",
        "--out",
        out,
    ]
    command = [sys.executable, *launcher, *script, "--evaluate-every", "16", *extra]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=workshop)


def train(workshop, out, *extra):
    return run(workshop, "recipe.toml", out, *extra)


@pytest.fixture(scope="module")
def trained(workshop):
    result = train(workshop, workshop / "run")
    assert result.returncode == 0, result.stderr
    return workshop / "run"


def test_a_run_goes_through_its_phases_and_logs(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert {line["objective"] for line in lines} == {"stagewise", "end_to_end", "clean_target"}
    assert any("dev_cosine" in line for line in lines)
    state = torch.load(trained / "checkpoint.pt", weights_only=True)
    assert state["place"] == {
        "phase": 3,
        "batch": 0,
        "samples": 64,
        "seconds": pytest.approx(state["place"]["seconds"]),
    }
    assert json.loads((trained / "recipe.json").read_text())["seed"] == 3


def test_a_finished_run_is_left_alone(workshop, trained):
    before = (trained / "checkpoint.pt").stat().st_mtime_ns
    result = train(workshop, trained)
    assert result.returncode == 0
    assert "goes on after 64 samples" in result.stdout
    assert (trained / "checkpoint.pt").stat().st_mtime_ns == before


def test_two_processes_train_one_network(workshop):
    """Phases with and without class weights: a process that waited for a gradient of unused ones would end here."""
    (workshop / "classified.toml").write_text(CLASSIFIED)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    result = run(workshop, "classified.toml", workshop / "shared", "--threads", "1", launcher=launcher)
    assert result.returncode == 0, result.stderr
    state = torch.load(workshop / "shared" / "checkpoint.pt", weights_only=True)
    assert state["place"]["phase"] == 3
    assert state["place"]["samples"] == 80  # 16 + 32 + 32: whole steps of two batches of eight
    lines = [json.loads(line) for line in (workshop / "shared" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["active_triplets"] <= 1 for line in lines if "softmax" in line)
    assert any("softmax" in line for line in lines)


def test_a_wider_embedding_is_refitted_to_the_joint_targets_and_trained(workshop, tmp_path):
    data = write_data(tmp_path / "data", faces=24)
    shutil.copyfile(workshop / "data" / "teacher.onnx", data / "teacher.onnx")
    q = np.random.default_rng(0).integers(-127, 128, (24, 256)).astype(np.int8)
    np.savez(data / "joint_targets.npz", q=q, scale=np.float32(0.01))
    last_phase = RECIPE[RECIPE.rindex("[[phase]]") :].replace("24", "8")
    head = RECIPE[: RECIPE.index("[[phase]]")].replace('act = "relu6"', 'act = "prelu"')
    (tmp_path / "recipe.toml").write_text(
        head + "dim = 256\nfrozen_norms = true\ninherited_share = 0.25\n" + last_phase
    )
    arguments = [tmp_path / "recipe.toml", "--data", data, "--out", tmp_path / "run", "--threads", 1]
    assert main([str(argument) for argument in arguments]) == 0
    network, training = load_network(tmp_path / "run")
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 112, 112)).shape == (1, 256)
    assert training["recipe"]["dim"] == 256
    inherited = torch.load(tmp_path / "run" / INHERITED, weights_only=True)
    name = "stages.3.2.0.weight"
    own, start = network.state_dict()[name].clone(), inherited[name]
    assert not torch.equal(own, start)
    scale = [
        state["stages.3.2.1.weight"] / (state["stages.3.2.1.running_var"] + 1e-5).sqrt()
        for state in (network.state_dict(), inherited)
    ]
    expected = 0.75 * own * scale[0].view(-1, 1, 1, 1) + 0.25 * start * scale[1].view(-1, 1, 1, 1)
    blended = with_inherited(tmp_path / "run", network, training["recipe"])
    torch.testing.assert_close(blended.state_dict()[name], expected, rtol=1e-3, atol=1e-5)
    np.savez(data / "joint_targets.npz", q=q[:9], scale=np.float32(0.01))
    assert main([str(argument) for argument in arguments]) == 1


def test_a_checkpoint_of_another_recipe_is_refused(workshop, trained, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(RECIPE.replace("seed = 3", "seed = 4"))
    run = Run(trained, load_recipe(other), torch.nn.Linear(2, 2), torch.device("cpu"))
    with pytest.raises(ValueError, match="of another recipe"):
        run.resume()


@pytest.fixture(scope="module")
def last_step(workshop, trained):
    (workshop / "int8.toml").write_text(LAST_STEP)
    result = run(workshop, "int8.toml", workshop / "int8", "--start", trained)
    assert result.returncode == 0, result.stderr
    return workshop / "int8"


def test_a_run_that_starts_from_another_has_its_network_and_remembers_it(last_step):
    network, training = load_network(last_step)
    assert training["samples"] == 64 + 24
    assert training["start"]["samples"] == 64
    assert (training["recipe"]["network"], training["recipe"]["act"]) == ("mobilefacenet", "relu6")
    assert json.loads((last_step / "recipe.json").read_text())["network"] == "mobilefacenet"
    assert network(torch.zeros(1, 3, 112, 112)).shape == (1, 128)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())


def test_the_last_step_can_be_taken_twice(workshop, last_step):
    result = run(workshop, "int8.toml", workshop / "twice", "--start", last_step)
    assert result.returncode == 0, result.stderr
    assert load_network(workshop / "twice")[1]["samples"] == 64 + 24 + 24


def test_a_start_that_is_absent_is_one_line(workshop):
    (workshop / "int8.toml").write_text(LAST_STEP)
    result = run(workshop, "int8.toml", workshop / "none", "--start", workshop / "absent")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("train.py: ")
    assert "Traceback" not in result.stderr


@pytest.fixture
def start(tmp_path):
    values = {"network": "vargfacenet", "act": "prelu", "quantization_aware": False}
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    (tmp_path / "last_step.toml").write_text(LAST_STEP)
    return tmp_path


def test_a_recipe_takes_its_network_from_the_start(start):
    recipe = with_network(load_recipe(start / "last_step.toml"), start)
    assert (recipe.network, recipe.act) == ("vargfacenet", "prelu")
    named = with_network(replace(recipe, network="vargfacenet", act=""), start)
    assert (named.network, named.act) == ("vargfacenet", "prelu")
    (start / "recipe.json").write_text(json.dumps({"network": "mobilenetv2", "act": "relu6", "width": 0.5}))
    sized = with_network(load_recipe(start / "last_step.toml"), start)
    assert (sized.network, sized.width, sized.dim) == ("mobilenetv2", 0.5, 0)
    fresh = load_recipe(ROOT / "models" / "recipes" / "mobilenetv2.toml")
    assert with_network(fresh, None) == fresh


def test_a_start_that_does_not_fit_the_recipe_is_named(start):
    recipe = load_recipe(start / "last_step.toml")
    with pytest.raises(
        ValueError, match='init = "run": name the folder of the run to start from with --start'
    ):
        with_network(recipe, None)
    with pytest.raises(
        ValueError, match='--start is for a recipe of init = "run" or "trunk", received one of "teacher"'
    ):
        with_network(replace(recipe, init="teacher"), start)
    with pytest.raises(ValueError, match=r"the recipe is of facenet, .* has trained vargfacenet"):
        with_network(replace(recipe, network="facenet"), start)


def test_a_trunk_is_taken_without_its_head():
    torch.manual_seed(2)
    trained, student = make_network("mobilenetv1", "relu6"), make_network("facenet", "relu6")
    head = student.stages[-1][2][0].weight.clone()
    take_trunk(student, trained)
    for own, other in zip(student.stages[:-1], trained.stages[:-1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own.parameters(), other.parameters(), strict=True))
    assert torch.equal(student.stages[-1][2][0].weight, head)
    with pytest.raises(ValueError, match="another trunk"):
        take_trunk(student, make_network("mobilenetv2", "relu6"))


def test_a_folded_start_is_for_the_last_step_only(start):
    values = {"network": "facenet", "act": "relu6", "quantization_aware": True}
    (start / "recipe.json").write_text(json.dumps(values))
    recipe = load_recipe(start / "last_step.toml")
    assert with_network(recipe, start).network == "facenet"
    with pytest.raises(ValueError, match="batch norms folded: go on with a recipe of quantization_aware"):
        with_network(replace(recipe, quantization_aware=False), start)


@pytest.mark.parametrize("init", ["random", "teacher", "weights", "transplant"])
def test_only_a_recipe_that_starts_from_a_run_may_leave_out_its_network(tmp_path, init):
    (tmp_path / "recipe.toml").write_text(LAST_STEP.replace('"run"', f'"{init}"'))
    with pytest.raises(ValueError, match='network and act are left out, and init is not "run"'):
        load_recipe(tmp_path / "recipe.toml")
    (tmp_path / "recipe.toml").write_text('act = "relu6"\n' + LAST_STEP.replace('"run"', f'"{init}"'))
    with pytest.raises(ValueError, match="is not a recipe"):
        load_recipe(tmp_path / "recipe.toml")


class Square(torch.nn.Module):
    def __init__(self, student):
        super().__init__()
        self.student = student

    def forward(self, inputs, targets, progress):
        return {"total": (self.student(inputs) - targets).square().mean()}


def stream(_phase, start):
    while True:
        generator = torch.Generator().manual_seed(start)
        inputs = torch.randn(4, 3, 8, 8, generator=generator)
        yield inputs, inputs.mean(dim=(2, 3))
        start += 1


def small_run(folder, recipe):
    torch.manual_seed(1)
    student = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 8), torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    run = Run(folder, recipe, student, torch.device("cpu"))
    run.resume()
    return run


def go(run):
    fit(
        run,
        lambda _phase, student: Square(student),
        stream,
        lambda _network: {},
        checkpoint_s=0,
        evaluate_every=10**9,
    )


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path, workshop, monkeypatch):
    phase = Phase("square", samples=80, learning_rate=1e-2, warmup_samples=8)
    recipe = replace(load_recipe(workshop / "recipe.toml"), batch=4, phases=(phase, phase))
    unbroken = small_run(tmp_path / "unbroken", recipe)
    go(unbroken)
    broken = small_run(tmp_path / "broken", recipe)
    calls = []

    def killed(phase, start):
        for pair in stream(phase, start):
            calls.append(start)
            if len(calls) == 27:
                raise KeyboardInterrupt
            yield pair

    with pytest.raises(KeyboardInterrupt):
        fit(broken, lambda _phase, s: Square(s), killed, lambda _n: {}, checkpoint_s=0, evaluate_every=10**9)
    resumed = small_run(tmp_path / "broken", recipe)
    assert resumed.place.samples == 26 * 4
    go(resumed)
    for ours, theirs in zip(
        resumed.student.state_dict().values(), unbroken.student.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, workshop):
    phase = Phase("square", samples=8, learning_rate=1e-2)
    run = small_run(tmp_path, replace(load_recipe(workshop / "recipe.toml"), batch=4, phases=(phase,)))
    pairs = ((torch.full((4, 3, 8, 8), float("nan")), torch.zeros(4, 3)) for _ in range(2))
    with pytest.raises(FloatingPointError, match="lower the rate"):
        fit(
            run,
            lambda _phase, s: Square(s),
            lambda _phase, _start: pairs,
            lambda _n: {},
            checkpoint_s=9,
            evaluate_every=10**9,
        )


def test_the_rate_warms_up_and_falls_to_its_final_share():
    phase = Phase("x", samples=1000, learning_rate=1.0, warmup_samples=100, final_share=0.1)
    assert phase.rate(0) == pytest.approx(0.01)
    assert phase.rate(100) == pytest.approx(1.0)
    assert phase.rate(550) == pytest.approx(0.55)
    assert phase.rate(1000) == pytest.approx(0.1)


def test_an_unknown_recipe_key_is_named(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE + "colour = 1\n")
    with pytest.raises(ValueError, match="colour"):
        load_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "models" / "recipes").glob("*.toml")), ids=lambda path: path.stem
)
def test_shipped_recipes_load(path):
    assert load_recipe(path).phases


def test_batches_are_the_same_again_and_hold_nobody_held_out(workshop):
    crops = load_crops(workshop / "data")
    assert crops.held_out.sum() == 4
    first = batches(crops, Augment(), 8, seed=1)
    seen = [next(first) for _ in range(8)]
    later = next(batches(crops, Augment(), 8, seed=1, start=6))
    assert torch.equal(later.faces, seen[6].faces)
    assert not crops.held_out[np.concatenate([batch.rows for batch in seen])].any()
    one_epoch = np.concatenate([batch.rows for batch in seen[:5]])
    assert len(np.unique(one_epoch)) == 40
    assert float(seen[0].faces.min()) >= -1
    assert float(seen[0].faces.max()) <= 1


def test_processes_share_an_epoch_without_overlap(workshop):
    crops = load_crops(workshop / "data")
    rows = [next(batches(crops, Augment(), 8, seed=1, rank=rank, world=2)).rows for rank in (0, 1)]
    assert not set(rows[0]) & set(rows[1])


def test_export_is_int8_near_fp32_and_shipping_is_gated(workshop, trained):
    from models.int8 import export

    quantize = [sys.executable, str(ROOT / "scripts" / "train" / "quantize.py"), str(trained)]
    quantize += ["--data", str(workshop / "data"), "--out", str(trained / "export")]
    result = subprocess.run(quantize, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    folder = trained / "export"
    manifest = json.loads((folder / "mobilefacenet_relu6.json").read_text())
    assert manifest["input"]["dtype"] == manifest["output"]["dtype"] == "int8"
    assert manifest["input"]["scale"] == pytest.approx(1 / 128, rel=1e-3)
    assert manifest["bytes"] <= 1_500_000
    assert manifest["parity"]["cosine_mean"] > 0.95
    assert export.operators(folder / "mobilefacenet_relu6.tflite") <= export.INT8_OPERATORS
    single = json.loads((folder / "mobilefacenet_relu6_fp32.json").read_text())
    figures = {"lfw_accuracy": 98.0}
    (folder / "lfw.json").write_text(
        json.dumps({single["model_id"]: {"lfw_accuracy": 98.5}, manifest["model_id"]: figures})
    )
    refused = subprocess.run([*quantize, "--ship"], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "int8 costs 0.5 points of LFW" in refused.stderr
