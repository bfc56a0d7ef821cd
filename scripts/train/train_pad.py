"""Train a trunk of the liveness network; goes on where it stopped.

P="python scripts/train/train_pad.py --data runs/pad"
$P models/recipes/pad_recorded.toml --out runs/pad/recorded
$P models/recipes/pad_near.toml --start runs/pad/recorded --out runs/pad/near
$P models/recipes/pad_wide.toml --out runs/pad/wide
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

import cv2
import numpy as np
import torch
from torch import nn

from device.programs import Parser
from models.networks.pad import KeptLoss, LiveLoss, MapLoss, WideNetwork, logits
from models.networks.registry import make_network
from models.pad.data import (
    RECORDED_PRINT,
    Batches,
    NearViews,
    Recorded,
    RecordedViews,
    WideViews,
    load_recorded,
)
from models.pad.development import Development, load_development
from models.pad.material import RECORDED, load_material, open_looks
from models.pad.people import TRAINING_PEOPLE, is_live
from models.training.data import to_tensor
from models.training.loop import Recipe, Run, fit, load_recipe
from models.training.runs import load_network, network_of_run
from scripts.train.train_command import run_to_end

NEAR, WIDE = slice(0, 3), slice(3, 6)  # of the channels


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Train a trunk of the liveness network; goes on where it stopped.")
    parser.add_argument("recipe", type=Path, help="models/recipes/pad_*.toml")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of prepare_pad.py and simulate_pad.py"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--start", type=Path, help='folder of the run to start from, where the recipe says init = "run"'
    )
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
    recorded = load_recorded(args.data / RECORDED)
    student = make_student(recipe, args)
    channels = WIDE if isinstance(student, WideNetwork) else NEAR
    run = Run(args.out, recipe, student, torch.device("cpu"))
    (args.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    if run.resume():
        print(f"goes on after {run.place.samples} samples", flush=True)
    fit(
        run,
        lambda name, network: objective(name, network, args),
        lambda phase, start: views(phase.objective, args.data, recorded.of(TRAINING_PEOPLE)).stream(
            recipe.batch, recipe.seed, start
        ),
        Evaluation(load_development(args.data, recorded), channels),
        checkpoint_s=args.checkpoint_s,
        evaluate_every=args.evaluate_every,
    )


def objective(name: str, network: nn.Module, args: argparse.Namespace) -> nn.Module:
    """Make the loss module of a phase."""
    if name == "kept":
        return KeptLoss(network, load_network(args.start)[0])
    return {"live": LiveLoss, "mapped": MapLoss}[name](network)


def views(name: str, data: Path, recorded: Recorded) -> Batches:
    """Make the batches that an objective learns from."""
    if name == "kept":
        return NearViews(load_material(data, held_out=False).faces, recorded)
    if name == "mapped":
        return WideViews(open_looks(data), recorded)
    return RecordedViews(recorded)


def make_student(recipe: Recipe, args: argparse.Namespace) -> nn.Module:
    """Make the network: of another run, or a random one."""
    if recipe.init == "run":
        return network_of_run(args.start, args.out)
    return make_network(recipe.network, recipe.act)


class Evaluation:
    """Error rates on development looks, at the threshold where the worst of both kinds are equal."""

    def __init__(self, development: Development, channels: slice) -> None:
        rows = trunk_sees(development, channels)
        self.development = Development(development.looks[rows], development.groups[rows])
        self.pictures = to_tensor(np.ascontiguousarray(self.development.looks[..., channels]))

    def __call__(self, network: nn.Module) -> dict[str, float]:
        found = self.development.balanced(logits(network, self.pictures).numpy())
        return {f"dev_{name}": round(value, 4) for name, value in found.items()}


def trunk_sees(development: Development, channels: slice) -> np.ndarray:
    """Return which looks (N,) a trunk has to tell apart: the near one leaves simulated attacks to the wide one."""
    if channels == WIDE:
        return development.groups != RECORDED_PRINT
    return np.array([is_live(group) or group == RECORDED_PRINT for group in development.groups])


if __name__ == "__main__":
    sys.exit(main())
