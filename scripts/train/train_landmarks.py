"""Train the landmark network on labels of the face mesh; goes on where it stopped.

    python scripts/train/label_landmarks.py --data FACES --out runs/landmarks/labels.npz
    python scripts/train/train_landmarks.py models/recipes/landmarks.toml --data FACES \\
        --labels runs/landmarks/labels.npz --out runs/landmarks
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if find_spec("torch") is None:
    sys.exit(
        "train_landmarks.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from device.programs import Parser
from models.landmarks.data import Labels, Views, load_labels
from models.landmarks.points import five_error, mean_error
from models.networks.landmarks import INPUT_PX, LandmarkNetwork, PointsLoss
from models.training.data import load_crops
from models.training.loop import Recipe, Run, fit, load_recipe
from models.training.runs import network_of_run
from scripts.train.train_command import run_to_end

DEVELOPMENT_FACES = 640
DEVELOPMENT_SEED = 99


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        description="Train the landmark network on labels of the face mesh; goes on where it stopped."
    )
    parser.add_argument("recipe", type=Path, help="models/recipes/landmarks.toml, or another of that network")
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and train/*.zip")
    parser.add_argument(
        "--labels", type=Path, required=True, help="labels of the same folder (label_landmarks.py)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--start", type=Path, help='folder of the run to start from, where the recipe says init = "run"'
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of PyTorch")
    parser.add_argument("--checkpoint-s", type=float, default=120, help="seconds between checkpoints")
    parser.add_argument("--evaluate-every", type=int, default=16_000, help="samples between evaluations")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_to_end("train_landmarks.py", train, parse(argv))


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    recipe = load_recipe(args.recipe)
    torch.manual_seed(recipe.seed)
    labels = load_labels(args.labels)
    crops = load_crops(args.data, len(labels.points))
    known, held_out = (np.flatnonzero(labels.kept & (crops.held_out == out)) for out in (False, True))
    views = Views(crops.images, labels.points, known, INPUT_PX)
    run = Run(args.out, recipe, make_student(recipe, args, views), torch.device("cpu"))
    (args.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    if run.resume():
        print(f"goes on after {run.place.samples} samples", flush=True)
    fit(
        run,
        lambda phase, network: OBJECTIVES[phase.objective](network),
        lambda phase, start: views.stream(recipe.batch, recipe.seed, start),
        Development(crops.images, labels, held_out),
        checkpoint_s=args.checkpoint_s,
        evaluate_every=args.evaluate_every,
    )


def make_student(recipe: Recipe, args: argparse.Namespace, views: Views) -> nn.Module:
    """Make the network: of another run, or a random one that answers with the mean shape."""
    if recipe.init == "run":
        return network_of_run(args.start, args.out)
    network = LandmarkNetwork(recipe.act)
    network.start_at(torch.from_numpy((views.mean / INPUT_PX).astype(np.float32)))
    return network


OBJECTIVES = {"points": PointsLoss}


class Development:
    """Mean error on views of held-out faces, as a share of the inter-ocular distance: all points, and the five."""

    def __init__(self, images: npt.NDArray[np.uint8], labels: Labels, rows: npt.NDArray[np.int64]) -> None:
        size = min(DEVELOPMENT_FACES, len(rows))
        views = Views(images, labels.points, rows, INPUT_PX, p_nothing=0.0)
        self.pictures, self.points = views.batch(size, DEVELOPMENT_SEED, 0)

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        was_training = network.training
        network.eval()
        guess = torch.cat([network(part) for part in self.pictures.split(64)]).numpy()
        network.train(was_training)
        truth = self.points.numpy()
        guess = guess.reshape(truth.shape)
        return {
            "dev_error": round(float(mean_error(guess, truth).mean()), 5),
            "dev_error_five": round(float(five_error(guess, truth).mean()), 5),
        }


if __name__ == "__main__":
    sys.exit(main())
