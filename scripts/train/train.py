"""Train a network by a recipe; goes on where it stopped.

python scripts/train/train.py models/recipes/mobilefacenet.toml --data FOLDER --out runs/mobilefacenet
python scripts/train/train.py ... --device cuda
torchrun --nproc-per-node 4 scripts/train/train.py ... --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if find_spec("torch") is None:
    sys.exit(
        "train.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from device.programs import Parser
from models.int8.quantization_aware import prepare
from models.int8.recover import recover
from models.networks.blocks import Staged, freeze_norms
from models.networks.heads import Classifier
from models.networks.mobilefacenet import MobileFaceNet
from models.networks.registry import make_network, shipped_name
from models.training.data import NO_ROWS, Augment, FaceCrops, batches, load_crops, load_targets, to_tensor
from models.training.distillation import CLASSIFYING, OBJECTIVES, Lesson, inherit, pull_to_identity, resize
from models.training.loop import Phase, Recipe, Run, fit, is_main, load_recipe, world_size
from models.training.metrics import identity_tar
from models.training.refit import refit_last_layer
from models.training.runs import INHERITED, load_network, note_start
from models.training.teacher import load_teacher
from models.training.transplant import transplant
from models.training.turned import turned_heads
from scripts.train.train_command import run_to_end

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"
TRANSPLANTED = "mobilefacenet_relu6"  # the shipped network whose layers fit into a MobileNetV1's
DEVELOPMENT_FACES = 1_278
CALIBRATION_FACES = 256
REFIT_FACES = 8_000
REFITTED = ("teacher", "weights", "transplant")  # inits that bring a trained trunk
EMBED_BATCH = 142


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Train a network by a recipe; goes on where it stopped.")
    parser.add_argument("recipe", type=Path, help="a file of models/recipes/")
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and train/*.zip")
    parser.add_argument("--teacher", type=Path, help="MobileFaceNet as ONNX; default: teacher.onnx in --data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--start",
        type=Path,
        help='folder of the run to start from, where the recipe says init = "run" or "trunk"',
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of PyTorch")
    parser.add_argument("--limit", type=int, help="use the first N faces only")
    parser.add_argument("--checkpoint-s", type=float, default=120, help="seconds between checkpoints")
    parser.add_argument("--evaluate-every", type=int, default=20_000, help="samples between evaluations")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_to_end("train.py", train, parse(argv))


def train(args: argparse.Namespace) -> None:
    device = join_processes(args.device)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    recipe = with_network(load_recipe(args.recipe), args.start)
    torch.manual_seed(recipe.seed)
    crops = load_crops(args.data, args.limit)
    teacher = load_teacher(args.teacher or args.data / "teacher.onnx").to(
        device, memory_format=torch.channels_last
    )
    clean = target_embeddings(args.data, crops, teacher)
    targets = pull_to_identity(clean, crops.identities, recipe.identity_pull)
    calibration = to_tensor(crops.images[~crops.held_out][:CALIBRATION_FACES])
    student = make_student(recipe, teacher, calibration, args.start, args.out)
    lesson = Lesson(student, teacher, targets.shape[1], calibration.to(device))
    if recipe.init in REFITTED and not (args.out / "checkpoint.pt").exists():
        refit(student, crops, clean, lesson)
    if recipe.inherited_share and not (args.out / INHERITED).exists():
        args.out.mkdir(parents=True, exist_ok=True)
        torch.save(student.state_dict(), args.out / INHERITED)
    widened = lesson.embedding(torch.from_numpy(targets).to(device)).cpu()
    labels = class_labels(crops)
    again = np.tile(turned_heads(crops.images), recipe.turned_extra) if recipe.turned_extra else NO_ROWS
    classifier = make_classifier(recipe, widened, labels)
    run = Run(args.out, recipe, student, device, classifier)
    (args.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    if run.resume() and is_main():
        print(f"goes on after {run.place.samples} samples", flush=True)
    fit(
        run,
        # a phase without classes must not hold the class weights: DistributedDataParallel waits for their gradient
        lambda phase, network: OBJECTIVES[phase.objective](
            network, lesson, classifier if phase.objective in CLASSIFYING else None, phase.face_px
        ),
        lambda phase, start: stream(crops, targets, labels, recipe, phase, start, again),
        Development(crops, lesson.embedding(torch.from_numpy(clean).to(device)).cpu().numpy()),
        checkpoint_s=args.checkpoint_s,
        evaluate_every=args.evaluate_every,
    )


def with_network(recipe: Recipe, start: Path | None) -> Recipe:
    """Return the recipe with the network of the run that it starts from, where it names none.

    Raises:
        ValueError: a run to start from is missing, of another network, or folded already.
    """
    if (recipe.init in ("run", "trunk")) != (start is not None):
        raise ValueError(
            f'the recipe says init = "{recipe.init}": name the folder of the run to start from with --start'
            if start is None
            else f'--start is for a recipe of init = "run" or "trunk", received one of "{recipe.init}"'
        )
    if start is None:
        return recipe
    trained = json.loads((start / "recipe.json").read_text())
    if recipe.init == "run" and recipe.network not in ("", trained["network"]):
        raise ValueError(f"the recipe is of {recipe.network}, {start} has trained {trained['network']}")
    if trained.get("quantization_aware") and not recipe.quantization_aware:
        raise ValueError(
            f"{start} has its batch norms folded: go on with a recipe of quantization_aware = true"
        )
    inherited = {
        key: getattr(recipe, key) or trained.get(key, 0) for key in ("network", "act", "dim", "width")
    }
    return replace(recipe, **inherited) if recipe.init == "run" else recipe


def class_labels(crops: FaceCrops) -> npt.NDArray[np.int64]:
    """Number the training identities from 0; -1 for unknown and held-out faces."""
    known = ~crops.held_out & (crops.identities >= 0)
    labels = np.full(len(crops), -1, np.int64)
    labels[known] = np.unique(crops.identities[known], return_inverse=True)[1]
    return labels


def make_classifier(recipe: Recipe, targets: Tensor, labels: npt.NDArray[np.int64]) -> Classifier | None:
    """Start the class weights at the identities' mean target, where a phase classifies."""
    if not CLASSIFYING & {phase.objective for phase in recipe.phases}:
        return None
    known = torch.from_numpy(np.flatnonzero(labels >= 0))
    centers = torch.zeros(int(labels.max()) + 1, targets.shape[1])
    return Classifier(centers.index_add(0, torch.from_numpy(labels)[known], F.normalize(targets[known])))


def make_student(
    recipe: Recipe, teacher: MobileFaceNet, calibration: Tensor, start: Path | None, out: Path
) -> Staged:
    """Make the network of a recipe, with the weights that it starts from."""
    student = make_network(recipe.network, recipe.act, recipe.dim, recipe.width)
    if start is not None:
        trained, training = load_network(start)
        note_start(out, training)
        if recipe.init == "run":
            student = trained
        else:
            take_trunk(student, trained)
    if recipe.init == "weights":
        name = shipped_name(recipe.network, recipe.act)
        note_start(out, fill_from_shipped(student, name, calibration))
    if recipe.init == "transplant":
        source = MobileFaceNet("relu6")
        note_start(out, fill_from_shipped(source, TRANSPLANTED, calibration))
        transplant(source, student, calibration)
    if recipe.init == "teacher":
        if not isinstance(student, MobileFaceNet):
            raise ValueError(f'{recipe.network} has another table than the teacher: init = "random" or "run"')
        inherit(student, teacher)
    if recipe.frozen_norms:
        freeze_norms(student)
    if recipe.quantization_aware:
        prepare(student)
    return student


def take_trunk(student: Staged, trained: Staged) -> None:
    """Fill all stages but the head from a trained network of the same trunk.

    Raises:
        ValueError: the trunks differ.
    """
    try:
        for own, other in zip(student.stages[:-1], trained.stages[:-1], strict=True):
            own.load_state_dict(other.state_dict())
    except RuntimeError:
        raise ValueError("the run to start from has another trunk than the recipe's network") from None


def fill_from_shipped(network: Staged, name: str, calibration: Tensor) -> dict[str, Any]:
    """Fill a network from its shipped int8 file; return how that was trained."""
    shipped = WEIGHTS / f"{name}.tflite"
    recover(network, shipped, resize(calibration, network.input_px))
    return json.loads(shipped.with_suffix(".json").read_text())["training"]


def join_processes(kind: str) -> torch.device:
    """Join the processes of `torchrun`, if it started this one; return this process's device."""
    if "RANK" not in os.environ:
        return torch.device(kind)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    return torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)


def stream(
    crops: FaceCrops,
    targets: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    recipe: Recipe,
    phase: Phase,
    start: int,
    again: npt.NDArray[np.int64] = NO_ROWS,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield augmented faces, the target embeddings of their clean crops, and their labels."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    found = batches(
        crops,
        Augment(),
        recipe.batch,
        recipe.seed,
        start,
        rank,
        world_size(),
        faces_per_identity=phase.faces_per_identity,
        again=again,
    )
    for item in found:
        yield item.faces, torch.from_numpy(targets[item.rows]), torch.from_numpy(labels[item.rows])


def refit(student: Staged, crops: FaceCrops, targets: npt.NDArray[np.float32], lesson: Lesson) -> None:
    """Refit the last layer of a student of trained weights to the targets, by training faces of the whole set."""
    rows = np.flatnonzero(~crops.held_out)
    rows = rows[:: max(1, len(rows) // REFIT_FACES)][:REFIT_FACES]
    wanted = lesson.embedding(torch.from_numpy(targets[rows]).to(lesson.to_student.matrix.device)).cpu()
    refit_last_layer(student, resize(to_tensor(crops.images[rows]), student.input_px), wanted)


def target_embeddings(data: Path, crops: FaceCrops, teacher: Staged) -> npt.NDArray[np.float32]:
    """Return what each crop's embedding should be (N, D): the stored joint targets, else the teacher's embedding."""
    stored = load_targets(data, len(crops))
    if stored is not None:
        return stored
    starts = tqdm(range(0, len(crops), EMBED_BATCH), desc="teacher", unit="batch", disable=not is_main())
    return np.concatenate(
        [embed(teacher, to_tensor(crops.images[i : i + EMBED_BATCH])).cpu().numpy() for i in starts]
    )


@torch.no_grad()
def embed(network: Staged, faces: Tensor) -> Tensor:
    """Return the L2-normalized embeddings of (N, 3, 112, 112) faces in eval mode, brought to the network's size."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    with torch.autocast(device.type, torch.bfloat16):
        parts = [
            network(resize(part, network.input_px).to(device, memory_format=torch.channels_last))
            for part in faces.split(EMBED_BATCH)
        ]
    network.train(was_training)
    return F.normalize(torch.cat(parts).float())


class Development:
    """Figures on held-out faces: mean cosine to the teacher's clean embedding, and TAR over pairs of the identities."""

    def __init__(self, crops: FaceCrops, targets: npt.NDArray[np.float32]) -> None:
        rows = crops.held_out.nonzero()[0]
        rows = rows[crops.identities[rows].argsort(kind="stable")[::-1]][:DEVELOPMENT_FACES]
        self.faces, self.identities = to_tensor(crops.images[rows]), crops.identities[rows]
        self.targets = targets[rows] / np.linalg.norm(targets[rows], axis=1, keepdims=True)

    def __call__(self, network: Staged) -> dict[str, float]:
        embeddings = embed(network, self.faces).cpu().numpy()
        figures = {
            "dev_cosine": float((embeddings * self.targets).sum(axis=1).mean()),
            "dev_tar_1e-3": identity_tar(embeddings, self.identities, fmr=1e-3),
            "dev_tar_1e-4": identity_tar(embeddings, self.identities, fmr=1e-4),
        }
        return {name: round(value, 5) for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
