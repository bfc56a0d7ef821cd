"""Read the network that a training run ended with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from models.int8.quantization_aware import fold, plain, prepare
from models.networks.blocks import Staged
from models.networks.registry import make_network

Network = TypeVar("Network", bound=nn.Module)
INHERITED = "inherited.pt"  # the weights that the run started from, where the recipe has a share for them
START = "start.json"  # in a run's folder: how the run that it started from was trained


def load_network(run: Path) -> tuple[Staged, dict[str, Any]]:
    """Return the averaged network of a run's folder in eval mode, and how it was trained, from its first face on."""
    recipe = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)["recipe"]
    network = make_network(recipe["network"], recipe["act"], recipe.get("dim", 0), recipe.get("width", 0.0))
    if recipe.get("quantization_aware"):
        prepare(network)
    network, training = averaged(run, network)
    if recipe.get("quantization_aware"):
        plain(network)
    return network, training


def averaged(run: Path, network: Network) -> tuple[Network, dict[str, Any]]:
    """Fill a network with the averaged weights of a run's folder, in place; return it and how it was trained."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    recipe, place = state["recipe"], state["place"]
    network.load_state_dict(
        {name[7:]: value for name, value in state["average"].items() if name.startswith("module.")}
    )
    training = {"recipe": recipe, "samples": place["samples"], "hours": round(place["seconds"] / 3600, 2)}
    training["development"] = development(run)
    if (run / START).exists():
        training["start"] = json.loads((run / START).read_text())
        for total in ("samples", "hours"):
            training[total] = round(training[total] + training["start"][total], 2)
    network.eval()
    return network, training


@torch.no_grad()
def with_inherited(run: Path, network: Staged, recipe: dict[str, Any]) -> Staged:
    """Bring a run's network toward the weights that it started from by the recipe's share, in place; return it.

    The mean of two networks of one origin is often better than either, on clean faces and worn (arXiv 2109.01903). It
    is taken of the weights with the batch norms folded in.
    """
    share = recipe.get("inherited_share", 0.0)
    if not share:
        return network
    start = make_network(recipe["network"], recipe["act"], recipe.get("dim", 0), recipe.get("width", 0.0))
    start.load_state_dict(torch.load(run / INHERITED, map_location="cpu", weights_only=True))
    for own, other in zip(fold(network.eval()).parameters(), fold(start.eval()).parameters(), strict=True):
        own.lerp_(other, share)
    return network


def network_of_run(start: Path | None, out: Path) -> Staged:
    """Return the network that the run `start` ended with, and keep in the run's folder `out` how it was trained.

    Raises:
        ValueError: no run is named.
    """
    if start is None:
        raise ValueError('the recipe says init = "run": name the run to start from with --start')
    network, training = load_network(start)
    note_start(out, training)
    return network


def note_start(out: Path, training: dict[str, Any]) -> None:
    """Keep in a run's folder how the weights it starts from were trained."""
    out.mkdir(parents=True, exist_ok=True)
    (out / START).write_text(json.dumps(training, indent=2) + "\n")


def development(run: Path) -> dict[str, float]:
    """Return the last figures on held-out faces of a run, {} where it has none."""
    figures: dict[str, float] = {}
    if (run / "metrics.jsonl").exists():
        for line in (run / "metrics.jsonl").read_text().splitlines():
            row = json.loads(line)
            figures = {name: row[name] for name in row if name.startswith("dev_")} or figures
    return figures
