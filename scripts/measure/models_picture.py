"""The picture that compare_models.py makes: accuracy over latency, one dot for each network and precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.measure.models_table import Row, teacher_figures

PRECISIONS = {"int8": None, "fp32": "white"}  # what fills a dot, None: its network's color
LABEL_GAP = 12.0  # points between two names


@dataclass(frozen=True)
class Label:
    """A name and the dot that it stands beside."""

    x: float
    y: float
    name: str
    color: str


def draw(rows: list[Row], path: Path) -> None:
    """Draw TAR at 1e-4 and LFW accuracy over latency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    teacher_lfw, teacher_tar = teacher_figures() or (None, None)
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    panels = (
        ("TAR at a false match rate of 1e-4, %", lambda found: found["tar_at_1e-4"]["value"], teacher_tar),
        ("LFW accuracy, %", lambda found: found["lfw_accuracy"], teacher_lfw),
    )
    drawn = []
    for panel, (title, value, reference) in zip(axes, panels, strict=True):
        panel.set(title=title, xlabel="one embedding, one thread, ms", xscale="log")
        drawn.append([draw_dots(panel, row, f"C{i}", value) for i, row in enumerate(rows)])
        draw_frame(panel, reference)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(PRECISIONS), frameon=False)
    figure.draw_without_rendering()  # only now it is known where the dots are, in points
    for panel, labels in zip(axes, drawn, strict=True):
        write_labels(panel, [label for label in labels if label])
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_dots(panel: Any, row: Row, color: str, value: Callable[[dict[str, Any]], float]) -> Label | None:
    """Draw a dot for each precision that was measured and timed, and join them; return the name and its place."""
    dots = [
        (row.times_ms[kind]["median"], value(figures), kind)
        for kind in PRECISIONS
        if (figures := row.figures(kind)) and kind in row.times_ms
    ]
    panel.plot([x for x, _, _ in dots], [y for _, y, _ in dots], color=color, linewidth=1, zorder=1)
    for x, y, kind in dots:
        panel.scatter(
            x, y, 55, facecolors=PRECISIONS[kind] or color, edgecolors=color, linewidths=1.6, zorder=2
        )
    return Label(*min(dots)[:2], row.name, color) if dots else None


def draw_frame(panel: Any, reference: float | None) -> None:
    """Leave room for the names on the left, tick at 1, 2 and 5, and draw the teacher's line."""
    from matplotlib import ticker

    panel.margins(0.12)
    panel.grid(alpha=0.3, which="both")
    left, right = panel.get_xlim()
    panel.set_xlim(left * (left / right) ** 0.35, right)
    for set_formatter in (panel.xaxis.set_major_formatter, panel.xaxis.set_minor_formatter):
        set_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "125" else ""))
    if reference is not None:
        panel.axhline(reference, color="gray", linewidth=1, linestyle=":")
        style = {"textcoords": "offset points", "ha": "right", "color": "gray", "fontsize": 8}
        panel.annotate("teacher, fp32", (right, reference), (-4, 3), **style)
    for kind, fill in PRECISIONS.items():
        panel.scatter([], [], 55, facecolors=fill or "gray", edgecolors="gray", linewidths=1.6, label=kind)


def write_labels(panel: Any, labels: list[Label]) -> None:
    """Write each name left of its first dot, moved up or down where two would touch."""
    from matplotlib.patheffects import withStroke

    ordered = sorted(labels, key=lambda label: label.y)
    heights = [
        float(panel.transData.transform((label.x, label.y))[1]) * 72 / panel.figure.dpi for label in ordered
    ]
    for label, height, place in zip(ordered, heights, spread(heights, LABEL_GAP), strict=True):
        style = {"textcoords": "offset points", "ha": "right", "va": "center", "fontsize": 9}
        text = panel.annotate(
            label.name, (label.x, label.y), (-9, place - height), color=label.color, **style
        )
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])  # readable across lines


def spread(values: list[float], gap: float) -> list[float]:
    """Move rising values as little as needed to be at least `gap` apart, neighbors alike."""
    groups = [[value] for value in values]
    i = 0
    while i + 1 < len(groups):
        if fanned(groups[i], gap)[-1] + gap > fanned(groups[i + 1], gap)[0]:
            groups[i : i + 2] = [groups[i] + groups[i + 1]]
            i = max(0, i - 1)  # the wider group may touch the one below
        else:
            i += 1
    return [place for group in groups for place in fanned(group, gap)]


def fanned(group: list[float], gap: float) -> list[float]:
    """Return places `gap` apart around the mean of a group."""
    first = sum(group) / len(group) - gap * (len(group) - 1) / 2
    return [first + gap * i for i in range(len(group))]
