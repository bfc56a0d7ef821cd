"""The training loop: recipes, phases, checkpoints; it knows nothing of faces or of the networks' tables.

A run lives in one folder: `recipe.json`, `metrics.jsonl` and `checkpoint.pt` (weights, averaged weights, optimizer,
place in the run), from which it goes on after any stop.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from models.int8.quantization_aware import set_rounding

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


@dataclass(frozen=True)
class Phase:
    """One part of a run: an objective, how many samples it sees, and its cosine schedule with linear warm-up."""

    objective: str
    samples: int
    learning_rate: float
    warmup_samples: int = 2_000
    final_share: float = 0.01  # of the learning rate, at the end
    faces_per_identity: int = 0  # K of P x K batches of labeled faces; 0: batches of all faces
    face_px: int = 0  # side of the faces that the student sees; 0: its own

    def rate(self, seen: int) -> float:
        """Return the learning rate after `seen` samples of this phase."""
        if seen < self.warmup_samples:
            return self.learning_rate * (seen + 1) / self.warmup_samples
        done = min(1.0, (seen - self.warmup_samples) / max(1, self.samples - self.warmup_samples))
        return self.learning_rate * (
            self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * done)) / 2
        )


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run's outcome besides the data."""

    # "random", or from the "teacher", a "run" or its "trunk", the shipped "weights", a "transplant" of the default
    init: str
    seed: int
    batch: int
    weight_decay: float
    ema_decay: float
    identity_pull: float  # weight of a labeled face's identity in its target embedding
    phases: tuple[Phase, ...]
    network: str = ""  # left out where init is "run": the network that run trained, and its activation
    act: str = ""
    width: float = 0.0  # multiplier of a MobileNet's channels; 0: the published one
    inherited_share: float = (
        0.0  # of the weights that the run started from, in those that it is exported with
    )
    frozen_norms: bool = False  # batch norms keep the statistics they start with
    turned_extra: int = 0  # how many more times than others a turned head is seen in an epoch
    dim: int = 0  # numbers of the embedding; 0: as many as the network is published with
    quantization_aware: bool = False  # fine-tune with the rounding of int8 in the loop, in float32
    quant_delay: int = (
        0  # samples of such a run before its rounding begins; ranges are followed from the first on
    )


def load_recipe(path: Path) -> Recipe:
    """Read a recipe of `models/recipes/`.

    Raises:
        ValueError: a key is missing or unknown.
    """
    with path.open("rb") as file:
        values = tomllib.load(file)
    try:
        phases = tuple(Phase(**phase) for phase in values.pop("phase"))
        recipe = Recipe(**values, phases=phases)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a recipe: {error}") from None
    if recipe.init != "run" and not (recipe.network and recipe.act):
        raise ValueError(f'{path} is not a recipe: network and act are left out, and init is not "run"')
    return recipe


@dataclass
class Place:
    """Where a run stands: the phase, the batches done in it, the samples seen in all, the seconds spent."""

    phase: int = 0
    batch: int = 0
    samples: int = 0
    seconds: float = 0.0


class Run:
    """One training run: student, its running average, optimizer and place, in a folder."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        student: nn.Module,
        device: torch.device,
        classifier: nn.Module | None = None,
    ) -> None:
        self.folder, self.recipe, self.device = folder, recipe, device
        self.student = student.to(device, memory_format=torch.channels_last)
        self.classifier = (classifier or nn.Identity()).to(device)  # trained along, never shipped
        self.average = AveragedModel(self.student, avg_fn=running_average(recipe.ema_decay), use_buffers=True)
        self.optimizer = make_optimizer([self.student, self.classifier], recipe)
        self.place = Place()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def resume(self) -> bool:
        """Go on from the folder's checkpoint, if there is one.

        Raises:
            ValueError: the checkpoint is of another recipe.
        """
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["recipe"] != json.loads(json.dumps(asdict(self.recipe))):
            raise ValueError(f"{self.checkpoint} is of another recipe: choose another --out or remove it")
        self.student.load_state_dict(state["student"])
        self.classifier.load_state_dict(state["classifier"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.place = Place(**state["place"])
        return True

    def save(self) -> None:
        """Write the checkpoint; a kill at any moment leaves the old or the new one."""
        state = {
            "recipe": json.loads(json.dumps(asdict(self.recipe))),
            "student": self.student.state_dict(),
            "classifier": self.classifier.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "place": asdict(self.place),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def log(self, **values: object) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(asdict(self.place) | values) + "\n")


def running_average(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Make an exponential moving average that forgets its start: the decay rises to `decay` with the steps done."""

    def average(mean: Tensor, value: Tensor, steps: Tensor) -> Tensor:
        if not mean.is_floating_point():
            return value
        return torch.lerp(mean, value, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    return average


def make_optimizer(modules: list[nn.Module], recipe: Recipe) -> torch.optim.Optimizer:
    """Make AdamW; vectors (batch norms, slopes) are not decayed."""
    parameters = [p for module in modules for p in module.parameters()]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3)


def fit(
    run: Run,
    objective: Callable[[Phase, nn.Module], nn.Module],
    stream: Callable[[Phase, int], Iterator[tuple[Tensor, ...]]],
    evaluate: Callable[[nn.Module], dict[str, float]],
    *,
    checkpoint_s: float,
    evaluate_every: int,
) -> None:
    """Train through the recipe's phases, from wherever the run stands.

    Args:
        objective: makes the loss module of a phase, of the student.
        stream: yields a phase's batches, from a batch number of the whole run on: the tensors that the objective takes.
        evaluate: maps the averaged network to development figures.
        checkpoint_s: seconds between checkpoints.
        evaluate_every: samples between evaluations.
    """
    for number in range(run.place.phase, len(run.recipe.phases)):
        run.place.phase = number
        phase = run.recipe.phases[number]
        loss_module = wrap(objective(phase, run.student).to(run.device))
        fit_phase(run, phase, loss_module, stream, evaluate, checkpoint_s, evaluate_every)
        run.place.phase, run.place.batch = number + 1, 0
        if is_main():
            run.save()


def fit_phase(
    run: Run,
    phase: Phase,
    loss_module: nn.Module,
    stream: Callable[[Phase, int], Iterator[tuple[Tensor, ...]]],
    evaluate: Callable[[nn.Module], dict[str, float]],
    checkpoint_s: float,
    evaluate_every: int,
) -> None:
    size = run.recipe.batch * world_size()
    total = math.ceil(phase.samples / size)
    batches = stream(phase, run.place.samples // size)
    bar = tqdm(
        total=phase.samples,
        initial=run.place.batch * size,
        unit="face",
        desc=phase.objective,
        disable=not is_main(),
    )
    saved_at_s = last_s = time.monotonic()
    while run.place.batch < total:
        seen = run.place.batch * size
        losses = step(run, loss_module, next(batches), phase.rate(seen), seen / phase.samples)
        run.place.batch += 1
        run.place.samples += size
        now_s = time.monotonic()
        run.place.seconds += now_s - last_s
        last_s = now_s
        bar.update(size)
        if not is_main():
            continue
        if run.place.batch % 10 == 0 or run.place.batch == total:
            figures = {name: round(value.item(), 5) for name, value in losses.items()}
            bar.set_postfix(loss=f"{figures['total']:.4f}")
            run.log(objective=phase.objective, rate=phase.rate(seen), **figures)
        if run.place.samples % evaluate_every < size or run.place.batch == total:
            run.log(objective=phase.objective, **evaluate(run.average.module))
            last_s = time.monotonic()
        if time.monotonic() - saved_at_s > checkpoint_s:
            run.save()
            saved_at_s = time.monotonic()
    bar.close()


def step(
    run: Run, loss_module: nn.Module, batch: tuple[Tensor, ...], rate: float, progress: float
) -> dict[str, Tensor]:
    """Take one optimizer step on one batch in bfloat16 autocast.

    Raises:
        FloatingPointError: the loss is not finite; the last checkpoint is from before.
    """
    inputs = batch[0].to(run.device, memory_format=torch.channels_last)
    targets = [tensor.to(run.device) for tensor in batch[1:]]
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.student.train()
    rounding = run.recipe.quantization_aware and run.place.samples >= run.recipe.quant_delay
    for network in (run.student, run.average.module):
        set_rounding(network, rounding)
    # bfloat16 has no more digits than int8: it would hide the rounding that is to be learned
    with torch.autocast(run.device.type, torch.bfloat16, enabled=not rounding):
        losses = loss_module(inputs, *targets, progress)
    if not torch.isfinite(losses["total"]):
        raise FloatingPointError(
            f"the loss is {losses['total'].item()} after {run.place.samples} samples: lower the rate"
        )
    run.optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    nn.utils.clip_grad_norm_(run.student.parameters(), 5.0)
    run.optimizer.step()
    run.average.update_parameters(run.student)
    return losses


def wrap(module: nn.Module) -> nn.Module:
    """Share the module's gradients over processes where `torchrun` started several."""
    return DistributedDataParallel(module) if world_size() > 1 else module


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0
