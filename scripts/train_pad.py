"""Train the liveness network on recorded and simulated attacks; goes on where it stopped.

python scripts/prepare_pad.py --data FACES --out runs/pad/recorded.npz
python scripts/train_pad.py models/recipes/pad.toml --data FACES --recorded runs/pad/recorded.npz --out runs/pad
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if find_spec("torch") is None:
    sys.exit(
        "train_pad.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import cv2
import torch
from torch import nn

from models.data import to_tensor
from models.networks import make_network
from models.pad_data import Views, load_faces, load_recorded
from models.pad_development import Development, development_pictures
from models.pad_network import LiveLoss, logits
from models.pad_people import TRAINING_PEOPLE
from models.runs import network_of_run
from models.training import Recipe, Run, fit, load_recipe
from scripts.train_command import run_to_end

OBJECTIVES = {"live": LiveLoss}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train the liveness network on recorded and simulated attacks; goes on where it stopped."
    )
    parser.add_argument("recipe", type=Path, help="models/recipes/pad.toml, or another of that network")
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and train/*.zip")
    parser.add_argument(
        "--recorded", type=Path, required=True, help="aligned recorded pictures (prepare_pad.py)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--start", type=Path, help='folder of the run to start from, where the recipe says init = "run"'
    )
    parser.add_argument("--faces", type=int, default=12_000, help="photographs to simulate with")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of PyTorch")
    parser.add_argument("--checkpoint-s", type=float, default=60, help="seconds between checkpoints")
    parser.add_argument("--evaluate-every", type=int, default=10_000, help="samples between evaluations")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_to_end("train_pad.py", train, parse(argv))


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    recipe = load_recipe(args.recipe)
    torch.manual_seed(recipe.seed)
    faces, held_out = load_faces(args.data, args.faces, recipe.seed)
    recorded = load_recorded(args.recorded)
    views = Views(faces[~held_out], recorded.of(TRAINING_PEOPLE))
    run = Run(args.out, recipe, make_student(recipe, args), torch.device("cpu"))
    (args.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    if run.resume():
        print(f"goes on after {run.place.samples} samples", flush=True)
    fit(
        run,
        lambda name, network: OBJECTIVES[name](network),
        lambda phase, start: views.stream(recipe.batch, recipe.seed, start),
        Evaluation(development_pictures(faces[held_out], recorded)),
        checkpoint_s=args.checkpoint_s,
        evaluate_every=args.evaluate_every,
    )


def make_student(recipe: Recipe, args: argparse.Namespace) -> nn.Module:
    """Make the network: of another run, or a random one."""
    if recipe.init == "run":
        return network_of_run(args.start, args.out)
    return make_network(recipe.network, recipe.act)


class Evaluation:
    """Error rates on development pictures, at the threshold where the worst of both kinds are equal."""

    def __init__(self, development: Development) -> None:
        self.development, self.pictures = development, to_tensor(development.pictures)

    def __call__(self, network: nn.Module) -> dict[str, float]:
        found = self.development.balanced(logits(network, self.pictures).numpy())
        return {f"dev_{name}": round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
