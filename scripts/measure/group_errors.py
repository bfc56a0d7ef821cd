"""Error by group: how a network's errors differ with light, with size, and with where the faces come from.

Used by compare_models.py. Every interval is a 95 % percentile bootstrap over subjects: a pair counts as often as its
subjects were drawn together. Where no error was seen a bootstrap would claim certainty, so the upper end is Wilson's.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from device.errors import UsageError
from device.types import Image
from device.vision.embed import LiteRTEmbedder
from scripts.evaluate import Embedded

RESAMPLES = 500
Z_95 = 1.96
BLOCK = 512  # rows of a similarity matrix that are held at once

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """The share of `pairs` in which a network errs, with its 95 % interval; NaN where there are no pairs."""

    value: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class GroupErrors:
    """What one network does in the three groups of a split: FNMR of mated and FMR of non-mated pairs."""

    fnmr: list[Share]
    fmr: list[Share]


@dataclass(frozen=True)
class LfwGroups:
    """Errors on LFW by `(name, split, FMR of the threshold)`, and the bounds between the groups of each split."""

    photographs: int
    without_face: int
    bounds: dict[str, tuple[float, float]]
    errors: dict[tuple[str, str, str], GroupErrors]


@dataclass(frozen=True)
class Origin:
    """Held-out faces of one source, and per network the share of pairs of different ones that would match.

    `people` counts the identities; where these are unknown (`labeled` is false) every face counts as one.
    """

    source: str
    faces: int
    people: int
    labeled: bool
    shares: dict[str, Share]


def draw_subjects(subjects: int, seed: int = 0) -> Floats:
    """Return how often each subject is drawn, (1 + RESAMPLES, S); the first row is the set as it is."""
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(0, subjects, subjects), minlength=subjects) for _ in range(RESAMPLES)]
    return np.array([np.ones(subjects), *drawn], np.float64)


def share(errors: Floats, pairs: Floats) -> Share:
    """Return errors over pairs; both are (1 + RESAMPLES,), the set as it is first."""
    if not pairs[0]:
        return Share(np.nan, np.nan, np.nan, 0)
    drawn = pairs[1:] > 0
    rates = errors[1:][drawn] / pairs[1:][drawn] if drawn.any() else errors[:1] / pairs[:1]
    low, high = np.percentile(rates, [2.5, 97.5])
    if not errors[0]:
        high = Z_95**2 / (pairs[0] + Z_95**2)
    return Share(float(errors[0] / pairs[0]), float(low), float(high), int(pairs[0]))


def mated_pairs(subjects: Rows) -> Rows:
    """Return the (M, 2) rows of all pairs of one subject."""
    found = [np.empty((0, 2), np.int64)]
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        first, second = np.triu_indices(len(rows), k=1)
        found.append(np.column_stack([rows[first], rows[second]]))
    return np.concatenate(found)


def non_mated_total(draws: Floats, faces: Floats) -> Floats:
    """Return how many non-mated pairs there are in each draw; `faces` (S,) counts those of each subject."""
    drawn = draws * faces
    return (drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)) / 2


def non_mated_errors(draws: Floats, subjects: Rows, pairs: Rows) -> Floats:
    """Return how often (K, 2) false matches count in each draw."""
    first, second = subjects[pairs].T
    return np.array([(times[first] * times[second]).sum() for times in draws])


def false_matches(embeddings: npt.NDArray[np.float32], subjects: Rows, threshold: float) -> Rows:
    """Return the (K, 2) rows of the non-mated pairs at or above `threshold`, block by block."""
    pairs = []
    for start in range(0, len(embeddings), BLOCK):
        block = embeddings[start : start + BLOCK] @ embeddings.T
        rows, columns = np.nonzero(block >= threshold)
        wanted = (rows + start < columns) & (subjects[rows + start] != subjects[columns])
        pairs.append(np.column_stack([rows[wanted] + start, columns[wanted]]))
    return np.concatenate(pairs)


class Split:
    """Pairs in three groups by the smaller value of their two photographs; a third of the mated pairs in each."""

    def __init__(self, values: Floats, subjects: Rows, mated: Rows, draws: Floats) -> None:
        self.subjects, self.mated, self.draws = subjects, mated, draws
        low, high = np.quantile(values[mated].min(axis=1), (1 / 3, 2 / 3))
        self.bounds = (float(low), float(high))
        self.groups = np.searchsorted(
            self.bounds, values, side="right"
        )  # of a photograph; a pair has the lower

    def fnmr(self, accepted: npt.NDArray[np.bool_]) -> list[Share]:
        """Return the share of mated pairs, (M,), that were not accepted, of each group."""
        groups, owners = self.groups[self.mated].min(axis=1), self.subjects[self.mated[:, 0]]

        def count(chosen: npt.NDArray[np.bool_]) -> Floats:
            return self.draws @ np.bincount(owners[chosen], minlength=self.draws.shape[1])

        return [share(count((groups == k) & ~accepted), count(groups == k)) for k in range(3)]

    def fmr(self, matches: Rows) -> list[Share]:
        """Return the share of non-mated pairs that are among the (K, 2) `matches`, of each group."""
        groups, totals = self.groups[matches].min(axis=1), self.non_mated_totals()
        errors = [non_mated_errors(self.draws, self.subjects, matches[groups == k]) for k in range(3)]
        return [share(*group) for group in zip(errors, totals, strict=True)]

    def non_mated_totals(self) -> list[Floats]:
        """Count the pairs of group k: those of photographs from k on, less those from k + 1 on."""
        people = self.draws.shape[1]
        from_k_on = [
            non_mated_total(self.draws, np.bincount(self.subjects[self.groups >= k], minlength=people))
            for k in range(4)
        ]
        return [from_k_on[k] - from_k_on[k + 1] for k in range(3)]


def lfw_groups(
    embedded: Embedded, subjects: Rows, thresholds: dict[str, dict[str, float]], fmrs: Sequence[str]
) -> LfwGroups:
    """Measure every network, in the order of `thresholds` (name, then FMR), on photographs with a face."""
    seen = ~np.isnan(embedded.width_px)
    people = np.unique(subjects[seen], return_inverse=True)[1]
    mated, draws = mated_pairs(people), draw_subjects(int(people.max(initial=0)) + 1)
    if not len(mated):
        raise UsageError(f"{len(subjects)} photographs hold no two of one subject: take more with --limit")
    splits = {
        name: Split(values[seen], people, mated, draws)
        for name, values in (("brightness", embedded.brightness), ("width", embedded.width_px))
    }
    errors = {}
    for name, rows in zip(thresholds, embedded.embeddings, strict=True):
        rows, similarity = rows[seen], (rows[seen][mated[:, 0]] * rows[seen][mated[:, 1]]).sum(axis=1)
        for fmr in fmrs:
            threshold = thresholds[name][fmr]
            matches = false_matches(rows, people, threshold)
            for kind, split in splits.items():
                errors[name, kind, fmr] = GroupErrors(split.fnmr(similarity >= threshold), split.fmr(matches))
    bounds = {name: split.bounds for name, split in splits.items()}
    return LfwGroups(len(subjects), int((~seen).sum()), bounds, errors)


def held_out_rows(folder: Path, one_in: int) -> dict[str, list[dict[str, str]]]:
    """Return the held-out rows of the index by source, as `models.training.data.load_crops` marks them.

    The key `subject` of a row is its identity, or a number of its own where that is unknown.
    """
    try:
        with (folder / "index.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        raise UsageError(f"{folder} has no index.csv: expected the folder of the training faces") from None
    found: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(rows):
        identity = int(row["identity"])
        if (identity if identity >= 0 else number) % one_in == 0:
            subject = f"identity {identity}" if identity >= 0 else f"face {number}"
            found.setdefault(row.get("source") or "faces", []).append(row | {"subject": subject})
    return found


def read_faces(folder: Path, rows: list[dict[str, str]]) -> list[Image]:
    """Decode (112, 112, 3) uint8 RGB faces."""
    try:
        with ExitStack() as opened:
            archives = {
                name: opened.enter_context(zipfile.ZipFile(folder / "train" / name))
                for name in {row["zip"] for row in rows}
            }
            found = [archives[row["zip"]].read(row["name"]) for row in rows]
    except (OSError, KeyError, zipfile.BadZipFile) as fault:
        raise UsageError(
            f"{folder}: expected the faces that index.csv lists, received {fault}: copy the folder again"
        ) from fault
    pictures = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in found)
    return [cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in pictures]


def embed_faces(embedder: LiteRTEmbedder, faces: list[Image]) -> npt.NDArray[np.float32]:
    """Embed aligned faces, resized to what the network takes as in training."""
    side = embedder.manifest.side_px
    fitting = (cv2.resize(face, (side, side)) if len(face) != side else face for face in faces)
    return np.stack([embedder.embed(face) for face in fitting])


def by_origin(
    folder: Path, one_in: int, embedders: dict[str, LiteRTEmbedder], thresholds: dict[str, float]
) -> list[Origin]:
    """Measure how often different held-out faces of one source match, at each network's threshold."""
    origins = []
    for source, rows in tqdm(sorted(held_out_rows(folder, one_in).items()), unit="source", desc="faces"):
        subjects = np.unique([row["subject"] for row in rows], return_inverse=True)[1]
        draws = draw_subjects(int(subjects.max()) + 1)
        pairs = non_mated_total(draws, np.bincount(subjects).astype(np.float64))
        faces = read_faces(folder, rows)
        shares = {}
        for name, embedder in embedders.items():
            matches = false_matches(embed_faces(embedder, faces), subjects, thresholds[name])
            shares[name] = share(non_mated_errors(draws, subjects, matches), pairs)
        labeled = all(row["subject"].startswith("identity") for row in rows)
        origins.append(Origin(source, len(rows), draws.shape[1], labeled, shares))
    return origins
