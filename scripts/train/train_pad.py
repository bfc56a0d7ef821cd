"""Train the liveness network on looks that were made before; goes on where it stopped.

    python scripts/train/train_pad.py models/recipes/pad.toml --data FACES --looks runs/pad/looks --out runs/pad/run

FACES holds the six public networks (pad_teacher_*.onnx), of which two give their trunks. Looks are those of
make_pad_looks.py; while they are still being made, learning takes what is there.
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
        "train_pad.py: there is no torch here: run it with .venv-train/bin/python (make test-train makes it)"
    )

import torch

from device.programs import Parser
from models.networks.pad import TwoLooks
from models.pad.agreement import Agreement
from models.pad.distill import JointLoss, Looks, inherit, load_parents
from models.pad.photographs import CHOOSE, LEARN
from models.pad.recover import recover
from models.training.loop import Run, fit, load_recipe
from scripts.train.train_command import run_to_end

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Train the liveness network; the same command goes on where it stopped.")
    parser.add_argument("recipe", type=Path, help="models/recipes/pad.toml")
    parser.add_argument("--data", type=Path, required=True, help="folder with the six pad_teacher_*.onnx")
    parser.add_argument("--looks", type=Path, required=True, help="folder of make_pad_looks.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--near", default="bin15", help="whose trunk the near look inherits (default bin15)")
    parser.add_argument("--wide", default="27", help="whose trunk the wide look inherits (default 27)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of PyTorch")
    parser.add_argument("--checkpoint-s", type=float, default=60, help="seconds between checkpoints")
    parser.add_argument("--evaluate-every", type=int, default=12_800, help="samples between evaluations")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_to_end("train_pad.py", train, parse(argv))


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    recipe = load_recipe(args.recipe)
    torch.manual_seed(recipe.seed)
    looks = Looks.open(args.looks, LEARN)
    if not len(looks):
        raise ValueError(f"{args.looks} has no looks to learn from: run make_pad_looks.py first")
    resumed = (args.out / "checkpoint.pt").exists()
    student = TwoLooks() if resumed else first_weights(recipe.init, args, looks)
    run = Run(args.out, recipe, student, torch.device("cpu"))
    (args.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    evaluate = Agreement(Looks.open(args.looks, CHOOSE))
    if run.resume():
        print(f"goes on after {run.place.samples} samples", flush=True)
    else:
        run.log(objective="inherited", **evaluate(student))
    fit(
        run,
        lambda phase, network: JointLoss(network, late=phase.objective == "late"),
        lambda phase, start: looks.stream(recipe.batch, recipe.seed, start),
        evaluate,
        checkpoint_s=args.checkpoint_s,
        evaluate_every=args.evaluate_every,
    )


def first_weights(init: str, args: argparse.Namespace, looks: Looks) -> TwoLooks:
    """Return the network as it starts: of the public networks' trunks ("teacher"), or as shipped ("weights")."""
    if init == "weights":
        return recover(WEIGHTS, looks)
    return inherit(load_parents(args.data, args.near, args.wide), looks)


if __name__ == "__main__":
    sys.exit(main())
