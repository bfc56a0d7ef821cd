"""The table that compare_models.py makes: one row a network, its papers' own figures beside it.

The papers' figures stand in PAPERS; all others come from the manifests or from the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAIN_PAGE = Path(__file__).resolve().parents[2] / "docs" / "research" / "train.md"
ABSENT = "not measured"


@dataclass(frozen=True)
class Paper:
    """What a paper reports: LFW by training set, the best first, and how many photographs that one has."""

    arxiv: str
    lfw: dict[str, float]
    photographs: str
    parameters: float | None = None
    multiply_adds: float | None = None
    act: str | None = None

    @property
    def best(self) -> float:
        return next(iter(self.lfw.values()))


MS1M, CASIA = "MS-Celeb-1M", "CASIA-WebFace"
PAPERS = {
    "mobilefacenet": Paper(
        "1804.07573", {MS1M: 99.55, CASIA: 99.28}, "3.8 million photographs", 0.99e6, 221e6, "prelu"
    ),
    "mobilenetv1": Paper("1804.07573", {CASIA: 98.63}, "0.49 million photographs", 3.2e6),
    "mobilenetv2": Paper("1804.07573", {CASIA: 98.58}, "0.49 million photographs", 2.1e6),
    "facenet": Paper("1503.03832", {"Google's own": 99.63}, "100 to 200 million photographs", 140e6, 1.6e9),
    "vargfacenet": Paper("1910.04985", {MS1M: 99.85}, "5.1 million photographs", 5.0e6, 1.0e9, "prelu"),
}
ACTIVATIONS = {"prelu": "PReLU", "relu6": "ReLU6"}
BEGINNINGS = {"teacher": "from the teacher's weights", "random": "from random weights"}


@dataclass(frozen=True)
class Size:
    """What the network of a row costs, counted on the network in torch; `width` is its multiplier."""

    parameters: int
    multiply_adds: int
    width: float = 1.0


@dataclass(frozen=True)
class Row:
    """One network: its manifest, its size (None: unknown network) and times in ms by precision, with intervals."""

    manifest: dict[str, Any]
    size: Size | None
    times_ms: dict[str, dict[str, float]]

    @property
    def name(self) -> str:
        return self.manifest["model_id"].rpartition("-")[0]

    @property
    def recipe(self) -> dict[str, Any]:
        return self.manifest.get("training", {}).get("recipe", {})

    @property
    def paper(self) -> Paper | None:
        return PAPERS.get(self.recipe.get("network", ""))

    def figures(self, precision: str = "int8") -> dict[str, Any] | None:
        """Return what evaluate.py recorded, None where it has not run."""
        return self.manifest.get("evaluation", {}).get(precision)


def table(cells: list[list[str]], head: list[str]) -> str:
    """Write a Markdown table."""
    rows = [f"| {' | '.join(row)} |" for row in (head, *cells)]
    return "\n".join([rows[0], "|" + "---|" * len(head), *rows[1:]])


def width(size: Size | None) -> str:
    """Write the width multiplier where it is not 1."""
    return f" (width {size.width:g})" if size and size.width != 1 else ""


def activation(act: str | None) -> str:
    return ACTIVATIONS.get(act or "", act or "unknown")


def million(count: float | None) -> str:
    """Write a count in millions with three digits, or a dash."""
    if count is None:
        return "-"
    digits = 2 if count < 9.995e6 else 1 if count < 99.95e6 else 0
    return f"{count / 1e6:,.{digits}f} M"


def milliseconds(time: dict[str, float] | None) -> str:
    return ABSENT if time is None else f"{time['median']:.2f} [{time['low']:.2f}, {time['high']:.2f}]"


def lfw(row: Row) -> str:
    figures = row.figures()
    return ABSENT if not figures else f"{figures['lfw_accuracy']:.2f} ± {figures['lfw_standard_error']:.2f}"


def tar(row: Row, fmr: str) -> str:
    figures = row.figures()
    if not figures:
        return ABSENT
    found = figures[f"tar_at_{fmr}"]
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def int8_loss(row: Row) -> str:
    """Write how many points of LFW and of TAR at 1e-4 the int8 file has less than the fp32 file."""
    int8, fp32 = row.figures("int8"), row.figures("fp32")
    if not int8 or not fp32:
        return ABSENT
    lost = fp32["tar_at_1e-4"]["value"] - int8["tar_at_1e-4"]["value"]
    return f"{row.manifest['evaluation']['int8_loss_lfw']:.2f} / {lost:.2f}"


def faces_seen(training: dict[str, Any]) -> tuple[str, str]:
    """Return how many faces the network itself has seen, and what its weights were before the first of them.

    A manifest counts from the first face on, those of another network included where weights were taken from one.
    """
    if "recipe" not in training:
        return "unknown", "from unknown weights"
    kind, first, start = network_of(training), training, training.get("start")
    while start and network_of(start) == kind:
        first, start = start, start.get("start")
    if start:
        network, act = network_of(start)
        return (
            f"{training['samples'] - start['samples']:,}",
            f"from a {network} ({activation(act)}) that had seen {start['samples']:,}",
        )
    beginning = BEGINNINGS.get(first["recipe"].get("init", ""), "from weights of an earlier run")
    return f"{training['samples']:,}", beginning


def network_of(training: dict[str, Any]) -> tuple[str, str]:
    return training["recipe"]["network"], training["recipe"]["act"]


def papers_figures(paper: Paper | None) -> str:
    if paper is None:
        return "-"
    accuracy = ", ".join(f"{value:.2f} ({trained_on})" for trained_on, value in paper.lfw.items())
    return f"{accuracy}; {million(paper.parameters)}; {million(paper.multiply_adds)} ({paper.arxiv})"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "network": lambda row: row.name + width(row.size),
    "activation": lambda row: activation(row.recipe.get("act")),
    "parameters": lambda row: million(row.size.parameters if row.size else None),
    "multiply-adds": lambda row: million(row.size.multiply_adds if row.size else None),
    "bytes": lambda row: f"{row.manifest['bytes']:,}",
    "int8, ms": lambda row: milliseconds(row.times_ms.get("int8")),
    "fp32, ms": lambda row: milliseconds(row.times_ms.get("fp32")),
    "LFW": lfw,
    "TAR@1e-3": lambda row: tar(row, "1e-3"),
    "TAR@1e-4": lambda row: tar(row, "1e-4"),
    "TAR@1e-5": lambda row: tar(row, "1e-5"),
    "int8 costs, LFW / TAR@1e-4": int8_loss,
    "faces seen": lambda row: faces_seen(row.manifest.get("training", {}))[0],
    "the paper's LFW; parameters; multiply-adds": lambda row: papers_figures(row.paper),
}


def beside_paper(row: Row, paper: Paper, teacher: tuple[float, float] | None) -> str:
    """Return the sentence of one network, all of it from recorded figures."""
    figures = row.figures()
    if not figures:
        return f"{ABSENT}; the paper has {paper.best:.2f}."
    gap = round(paper.best - figures["lfw_accuracy"], 2)
    if gap <= 0:
        return f"{-gap:.2f} points above the paper's {paper.best:.2f}."
    near = ", less than two standard errors" if gap < 2 * figures["lfw_standard_error"] else ""
    seen, beginning = faces_seen(row.manifest["training"])
    reasons = [f"{seen} faces seen here, starting {beginning}, against a training set of {paper.photographs}"]
    if row.size and paper.parameters and row.size.parameters < 0.9 * paper.parameters:
        reasons.append(
            f"{million(row.size.parameters)} parameters{width(row.size)}, {million(paper.parameters)} there"
        )
    if paper.act and row.recipe["act"] != paper.act:
        reasons.append(f"{activation(row.recipe['act'])} in place of {activation(paper.act)}")
    if teacher:
        reasons.append(f"the teacher itself gets {teacher[0]:.2f} on these photographs")
    return f"{gap:.2f} points below the paper's {paper.best:.2f}{near}: {'; '.join(reasons)}."


def teacher_figures(page: Path = TRAIN_PAGE) -> tuple[float, float] | None:
    """Return the teacher's LFW and TAR at 1e-4 from their line of docs/research/train.md, if it is there."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    found = re.search(r"^\| teacher, fp32 PReLU \| ([\d.]+)[^|]*\|[^|]*\| ([\d.]+)", text, re.MULTILINE)
    return (float(found[1]), float(found[2])) if found else None
