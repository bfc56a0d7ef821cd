"""Draw demo.png: annotated frames above similarity, threshold and the lock's pin over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from device.types import Decision, Image, Reason

GREEN, RED, GRAY, BLUE, INK = "#1a9850", "#d6453d", "#8a8f98", "#2b6cb0", "#1f2933"
SHADES = {"nobody": "#f3f4f6", "stranger": "#fdecea", "attack": "#fbe3d6", "subject": "#e8f5ec"}
FRAMES = 8
HEIGHT = 12.4
EDGE = 1.6  # of the grant's line and of the pin's: a wider one would seem to rise before the grant


@dataclass(frozen=True)
class Act:
    """A part of the clip: who stands there ("nobody", or a name)."""

    who: str
    starts_s: float
    ends_s: float


@dataclass(frozen=True, eq=False)
class Step:
    """A frame, its decision and its time; `at_s` counts from the beginning of the clip."""

    at_s: float
    image: Image
    decision: Decision


@dataclass(frozen=True, eq=False)
class PassiveLook:
    """What the passive look alone says of somebody: a frame, the face's box in it, the fused score, and the verdict."""

    who: str
    image: Image
    box: tuple[float, float, float, float]
    score: float
    live: bool


@dataclass(frozen=True, eq=False)
class Play:
    """All that happened: the acts, the frames, each change of the pin as (seconds, high), the passive looks."""

    acts: list[Act]
    steps: list[Step]
    pin: list[tuple[float, bool]]
    threshold: float
    looks: list[PassiveLook] = field(default_factory=list)


def draw(play: Play, path: Path) -> None:
    """Write the picture."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": "#c5cad1"})
    figure = plt.figure(figsize=(13, HEIGHT), dpi=100, facecolor="white")
    sides = {"left": 0.065, "right": 0.985}
    sheet = figure.add_gridspec(2, 4, top=0.945, bottom=0.565, hspace=0.04, wspace=0.03, **sides)
    graphs = figure.add_gridspec(2, 1, top=0.545, bottom=0.255, height_ratios=[4.2, 1], hspace=0.12, **sides)
    looks = figure.add_gridspec(1, 4, top=0.18, bottom=0.015, wspace=0.03, **sides)
    figure.text(
        0.065, 0.972, "face-unlock: camera to lock", fontsize=17, weight="bold", color=INK, va="center"
    )
    figure.text(
        0.985,
        0.972,
        "make demo: real detector, real int8 network, real gallery, mock pin",
        fontsize=10,
        color=GRAY,
        ha="right",
        va="center",
    )
    for number, step in enumerate(chosen(play)):
        tile(figure.add_subplot(sheet[number // 4, number % 4]), step, play)
    plot = figure.add_subplot(graphs[0])
    similarity(plot, play)
    lock(figure.add_subplot(graphs[1], sharex=plot), play)
    figure.text(
        0.065, 0.2, "The passive look alone, without a challenge", fontsize=12, weight="bold", color=INK
    )
    for number, look in enumerate(play.looks[:4]):
        passive_tile(figure.add_subplot(looks[0, number]), look)
    figure.savefig(path)
    plt.close(figure)


def chosen(play: Play) -> list[Step]:
    """Pick the frames of the contact sheet: every act, the grant and the relock among them, in order."""
    _, stranger, paper, screen, subject, end = play.acts
    grant_s = next((step.at_s for step in play.steps if step.decision.granted), subject.starts_s + 1.5)
    at = [(stranger.starts_s + stranger.ends_s) / 2, furthest_turn_s(play, paper), refused_s(play, paper)]
    at += [furthest_turn_s(play, screen), asked_s(play, subject), furthest_turn_s(play, subject), grant_s]
    at += [(end.starts_s + end.ends_s) / 2]
    return [min(play.steps, key=lambda step, s=s: abs(step.at_s - s)) for s in at[:FRAMES]]


def asked_s(play: Play, act: Act) -> float:
    """Return when an act is first asked for a move, else its middle."""
    steps = [step for step in play.steps if act.starts_s <= step.at_s < act.ends_s]
    return next((s.at_s for s in steps if s.decision.challenge), (act.starts_s + act.ends_s) / 2)


def refused_s(play: Play, act: Act) -> float:
    """Return when an act is refused as an attack, else its end."""
    steps = [step for step in play.steps if act.starts_s <= step.at_s < act.ends_s]
    refused = (Reason.CHALLENGE_FAILED, Reason.SPOOF_SUSPECTED)
    return next((s.at_s for s in steps if s.decision.reason in refused), act.ends_s)


def furthest_turn_s(play: Play, act: Act) -> float:
    """Return a time within an act at which the move that it was asked for is well under way."""
    return min(asked_s(play, act) + 1.1, act.ends_s - 0.2)


def color_of(decision: Decision) -> str:
    if decision.granted or decision.reason in (Reason.COOLDOWN, Reason.CONFIRMING):
        return GREEN
    if decision.reason is Reason.CHALLENGE:
        return BLUE
    return GRAY if decision.reason is Reason.NO_FACE else RED


def caption(decision: Decision) -> str:
    """Say a frame's decision in two or three words."""
    if decision.granted:
        return f"granted: {decision.subject_id}"
    words = {
        Reason.NO_FACE: "nobody",
        Reason.COOLDOWN: "granted before",
        Reason.CONFIRMING: "match, confirming",
        Reason.CHALLENGE: decision.hint.partition(",")[0],
    }
    return words.get(decision.reason, f"refused: {str(decision.reason).replace('_', ' ')}")


def tile(axes: Any, step: Step, play: Play) -> None:
    """Show one frame with its face box, time and decision."""
    color = color_of(step.decision)
    axes.imshow(step.image)
    axes.set(xticks=[], yticks=[], xlim=(0, step.image.shape[1]), ylim=(step.image.shape[0], 0))
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=2.5)
    if step.decision.detection is not None:
        x, y, width, height = step.decision.detection.box
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=2.2))
    label = {"facecolor": color, "edgecolor": "none", "boxstyle": "square,pad=0.35"}
    axes.text(
        14, 462, caption(step.decision), color="white", fontsize=9.5, weight="bold", va="bottom", bbox=label
    )
    clock = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "boxstyle": "square,pad=0.25"}
    axes.text(626, 18, f"{step.at_s:.1f} s", color=INK, fontsize=9, ha="right", va="top", bbox=clock)
    if is_open(play, step.at_s):
        axes.text(
            14,
            18,
            "UNLOCKED",
            color="white",
            fontsize=9.5,
            weight="bold",
            va="top",
            bbox={**label, "facecolor": BLUE},
        )


def passive_tile(axes: Any, look: PassiveLook) -> None:
    """Show a frame and what the passive look alone says of it."""
    color = GREEN if look.live else RED
    height, width = look.image.shape[:2]
    axes.imshow(look.image)
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=2.5)
    x, y, w, h = look.box
    axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=color, linewidth=2.2))
    said = f"{look.who}: {'live' if look.live else 'refused'} ({look.score:.2f})"
    label = {"facecolor": color, "edgecolor": "none", "boxstyle": "square,pad=0.35"}
    place = (0.02 * width, 0.96 * height)
    axes.text(*place, said, color="white", fontsize=8.5, weight="bold", va="bottom", bbox=label)


def is_open(play: Play, at_s: float) -> bool:
    """Say whether the pin was high at a time; a grant's own frame counts, the pin follows within it."""
    state = False
    for changed_s, high in play.pin:
        if changed_s > at_s + 0.07:
            break
        state = high
    return state


def similarity(axes: Any, play: Play) -> None:
    """Plot each compared frame's similarity against the threshold."""
    names = [act.who for act in play.acts]
    for act in play.acts:
        kind = {"nobody": "nobody", names[1]: "stranger", names[4]: "subject"}.get(act.who, "attack")
        axes.axvspan(act.starts_s, act.ends_s, color=SHADES[kind], linewidth=0)
        said = {"stranger": ",\na stranger", "subject": ", enrolled"}.get(kind, "")
        middle_s = (act.starts_s + act.ends_s) / 2
        axes.text(middle_s, 1.13, f"{act.who}{said}", ha="center", va="center", color=INK, fontsize=10)
    for act in play.acts:
        compared = [
            s for s in play.steps if act.starts_s <= s.at_s < act.ends_s and s.decision.similarity is not None
        ]
        color = GREEN if act.who == names[4] else RED
        times, values = [s.at_s for s in compared], [s.decision.similarity for s in compared]
        axes.plot(times, values, ".-", color=color, linewidth=1.4, markersize=5)
    axes.axhline(play.threshold, color=INK, linestyle="--", linewidth=1.1)
    end_s = play.acts[-1].ends_s
    axes.text(
        0.08, play.threshold + 0.02, f"threshold {play.threshold:.2f}", color=INK, fontsize=9, va="bottom"
    )
    for step in play.steps:
        if step.decision.granted:
            axes.axvline(step.at_s, color=BLUE, linewidth=EDGE)
            axes.text(step.at_s + 0.06, 0.02, "granted", color=BLUE, fontsize=9, weight="bold")
    axes.set(xlim=(0, end_s), ylim=(-0.1, 1.25), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1], ylabel="similarity")
    axes.tick_params(labelbottom=False, length=0)
    axes.grid(axis="y", color="white", linewidth=1)
    axes.set_axisbelow(True)


def lock(axes: Any, play: Play) -> None:
    """Plot the lock's pin as a step."""
    times, levels = [at for at, _ in play.pin], [float(high) for _, high in play.pin]
    axes.step(times, levels, where="post", color=BLUE, linewidth=EDGE)
    axes.fill_between(times, levels, step="post", color=BLUE, alpha=0.18, linewidth=0)
    axes.set(ylim=(-0.15, 1.2), yticks=[0, 1], yticklabels=["locked", "unlocked"], xlabel="seconds")
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
