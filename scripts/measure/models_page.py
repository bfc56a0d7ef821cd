"""The page that compare_models.py makes, docs/research/networks.md: prose around the tables of what was measured."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.measure.group_errors import RESAMPLES, LfwGroups, Origin, Share
from scripts.measure.models_table import COLUMNS, Row, beside_paper, table, teacher_figures

LINE = 124  # characters of a line of prose
GROUP_FMRS = ("1e-4", "1e-3")  # thresholds of the error by group, the door's default first
ORIGIN_FMR = "1e-3"
MANY_PEOPLE = 100  # a source with fewer is in the table but not in the sentence
SOURCES = {
    "aaf": "All-Age-Faces, mostly East Asian",
    "celeb10k": "CelebA, small faces, mostly European",
    "celeb299": "CelebA, mostly European",
    "celeba": "CelebA, mostly European",
    "trung": "CelebA, mostly European",
    "fake": "synthetic",
    "faker": "synthetic",
    "youth": "synthetic",
    "ffhq": "FFHQ, mixed",
    "nomask": "web photographs",
    "scut": "SCUT-FBP5500, East Asian and European",
    "utk": "UTKFace, mixed",
    "vote": "members of a parliament",
}
SPLITS = {
    "brightness": ("brightness of the darker face", ("darkest third", "middle", "brightest third"), ""),
    "width": ("width of the smaller face", ("narrowest third", "middle", "widest third"), " px"),
}


@dataclass(frozen=True)
class Comparison:
    """Everything that was measured: the rows, the errors by group, and how."""

    rows: list[Row]
    processor: str
    rounds: int
    command: str
    groups: LfwGroups | None = None
    origins: list[Origin] | None = None

    def lead(self, default: str) -> str:
        """Return the network that sentences are about: the door's default, where it is there."""
        names = [row.name for row in self.rows if row.figures()]
        return default if default in names else names[0]


def write_page(comparison: Comparison, default: str, path: Path, picture: Path) -> None:
    """Write the page; the picture is linked from where the page lies."""
    link = Path(os.path.relpath(picture.resolve(), path.resolve().parent)).as_posix()
    blocks = [*introduction(comparison, link), main_table(comparison.rows), *beside_papers(comparison.rows)]
    if comparison.groups:
        blocks += by_group(comparison, comparison.groups, default)
    if comparison.origins:
        blocks += by_origin(comparison, comparison.origins, default)
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def prose(text: str) -> str:
    """Wrap a paragraph."""
    return textwrap.fill(" ".join(text.split()), LINE, break_long_words=False, break_on_hyphens=False)


def introduction(comparison: Comparison, link: str) -> list[str]:
    how = f"""
        Times are the medians of {comparison.rounds} rounds of one run, all networks interleaved, one thread, one
        core ({comparison.processor}), with their 95 % intervals; the fp32 files have random weights, which cost
        the same time. Accuracy is what `scripts/evaluate.py` measured and the manifests hold: from LFW
        photographs through the board's detector and alignment, in percent, LFW with its standard error and TAR at
        a false match rate with its 95 % interval, of the int8 file ([how](train.md))."""
    return [
        "# Networks compared",
        prose(
            "Every embedder here, by the same faces on the same machine. This page and its picture are made by"
        ),
        f"    {comparison.command}",
        prose(how),
        f"![Accuracy over latency, one dot for each network and precision]({link})",
    ]


def main_table(rows: list[Row]) -> str:
    return table([[cell(row) for cell in COLUMNS.values()] for row in rows], list(COLUMNS))


def beside_papers(rows: list[Row]) -> list[str]:
    """Say of every network how far it is from its paper, and what is known of why."""
    what = """
        Every network here learned from a teacher, a MobileFaceNet that was trained on refined MS-Celeb-1M, and
        the LFW photographs here are recompressed ([a harder LFW](train.md#lfw-here-is-a-harder-lfw)). MobileNetV1
        and V2 stand beside the runs of them in MobileFaceNet's paper, FaceNet beside the larger network of its
        own (NN1). The reasons below are what was recorded, not what was tried: no run was repeated without one of
        them."""
    teacher = teacher_figures()
    lines = [f"- **{row.name}**: {beside_paper(row, row.paper, teacher)}" for row in rows if row.paper]
    return ["## Beside the papers", prose(what), "\n".join(lines)] if lines else []


def by_group(comparison: Comparison, groups: LfwGroups, default: str) -> list[str]:
    """Write the errors on LFW by light and by size."""
    seen = groups.photographs - groups.without_face
    without = f", {groups.without_face} without a face left out" if groups.without_face else ""
    how = f"""
        All pairs of {seen:,} LFW photographs{without}, at the thresholds of the manifests, which were set on
        every second LFW subject. A pair belongs to the third of the worse of its two faces; the bounds part the
        mated pairs in three. FNMR is in percent, FMR in multiples of the rate that the threshold was set for,
        both with the 95 % interval of a bootstrap over subjects ({RESAMPLES} draws; where no error was
        seen, the upper end is Wilson's)."""
    limits = """
        What this does not tell: brightness is that of the face in the picture, so light, camera and skin
        together; LFW has no label of skin, age or sex, and none of its photographs was taken at a door."""
    blocks = [block for split in SPLITS for block in split_blocks(comparison, groups, split, default)]
    return ["## Error by group", prose(how), *blocks, prose(limits)]


def split_blocks(comparison: Comparison, groups: LfwGroups, split: str, default: str) -> list[str]:
    """Write one split: a sentence, and a table for each threshold."""
    what, names, unit = SPLITS[split]
    low, high = (f"{bound:.0f}" for bound in groups.bounds[split])
    sentence = spread_sentence(groups, comparison.lead(default), split)
    blocks = [
        f"### By the {what}",
        prose(f"Under {low}, {low} to {high}, and over {high}{unit}. {sentence}"),
    ]
    for fmr in GROUP_FMRS:
        head = [
            f"threshold of {fmr}",
            *(f"FNMR, {name}" for name in names),
            *(f"FMR, {name}" for name in names),
        ]
        cells = []
        for name in [row.name for row in comparison.rows if (row.name, split, fmr) in groups.errors]:
            found = groups.errors[name, split, fmr]
            refused = [scaled(each, 100) for each in found.fnmr]
            cells.append([name, *refused, *(scaled(each, 1 / float(fmr)) for each in found.fmr)])
        blocks.append(table(cells, head))
    return blocks


def spread_sentence(groups: LfwGroups, name: str, split: str) -> str:
    """Say how far the groups are apart for one network at the door's threshold."""
    fmr, names = GROUP_FMRS[0], SPLITS[split][1]
    found = groups.errors[name, split, fmr]
    refused = np.array([each.value for each in found.fnmr])
    matched = np.array([each.value for each in found.fmr]) / float(fmr)
    if np.isnan(refused).any() or np.isnan(matched).any():
        return ""
    worst, best = int(refused.argmax()), int(refused.argmin())
    return (
        f"With {name} at {fmr}, {100 * refused[worst]:.1f} % of the mated pairs are refused in the "
        f"{names[worst]} and {100 * refused[best]:.1f} % in the {names[best]}; false matches run from "
        f"{matched.min():.1f} times the rate asked for ({names[int(matched.argmin())]}) to "
        f"{matched.max():.1f} times ({names[int(matched.argmax())]})."
    )


def scaled(found: Share, factor: float) -> str:
    """Write a share times `factor` with its interval, or a dash where there were no pairs."""
    if not found.pairs:
        return "-"
    return f"{found.value * factor:.2f} [{found.low * factor:.2f}, {found.high * factor:.2f}]"


def by_origin(comparison: Comparison, origins: list[Origin], default: str) -> list[str]:
    """Write how often different held-out faces of one source would match."""
    sentence = origin_sentence(origins, comparison.lead(default))
    how = f"""
        Pairs of different held-out faces of one source at or above the threshold of {ORIGIN_FMR}, in multiples of
        {ORIGIN_FMR}: 1 is what the threshold was set for, on LFW. Intervals as above, over people where
        identities are known, else over faces. {sentence}"""
    limits = """
        A source whose people are unknown may hold one person twice, and a right match then counts as a false one: such
        a figure is too high rather than too low. Of its people other pictures may have been learned from. The
        labels name the source, not a person's origin, age or sex, and sources differ in cameras, crops and
        compression as well: the table shows that rates differ, not why. Synthetic faces are nobody's; how alike
        they are is their generator's doing."""
    names = list(origins[0].shares)
    head = ["source", "what it is", "people", "faces", "pairs", *names]
    cells = [
        [*described(origin), *(scaled(origin.shares[name], 1 / float(ORIGIN_FMR)) for name in names)]
        for origin in origins
    ]
    return ["## By origin", prose(how), table(cells, head), prose(limits)]


def described(origin: Origin) -> list[str]:
    pairs = next(iter(origin.shares.values())).pairs
    people = f"{origin.people:,}" if origin.labeled else "unknown"
    return [f"`{origin.source}`", SOURCES.get(origin.source, ""), people, f"{origin.faces:,}", f"{pairs:,}"]


def origin_sentence(origins: list[Origin], name: str) -> str:
    """Name the sources with the most and the fewest matches of one network."""
    rates = {
        origin.source: origin.shares[name].value / float(ORIGIN_FMR)
        for origin in origins
        if origin.people >= MANY_PEOPLE and origin.shares[name].pairs
    }
    if len(rates) < 2:
        return ""
    most, fewest = max(rates, key=rates.__getitem__), min(rates, key=rates.__getitem__)
    return (
        f"With {name}, of the sources with {MANY_PEOPLE} people or more, `{most}` is highest at {rates[most]:.1f} "
        f"times the rate asked for, `{fewest}` lowest at {rates[fewest]:.1f}."
    )
