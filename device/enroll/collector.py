"""Collect good samples of exactly one person, or report the check that failed.

A `Collector` looks at one image at a time and either keeps its embedding or says in one line what to do about it. It
holds no image but the small aligned faces of the kept samples, for the contact sheet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device.numeric.similarity import l2_normalize
from device.protocols import Embedder
from device.types import Embedding, HeadPose, Image, Match, Stop
from device.vision.finder import Finder, Found
from device.vision.turn_search import NoSearch, TurnSearch

PATIENCE_FRAMES = 60  # a pose that is not shown within so many good frames is given up: necks differ
STRAIGHT_DEG, TURNED_DEG = 8.0, 10.0


@dataclass(frozen=True, slots=True)
class WantedPose:
    """A pose that the guide asks for: its word, what the guide says, and the angle that it is measured by.

    It is shown by an angle above `limit_deg`, below it where it `is_most`.
    """

    key: str
    instruction: str
    angle_deg: Callable[[HeadPose], float]
    limit_deg: float
    is_most: bool = False

    def is_shown(self, pose: HeadPose) -> bool:
        angle_deg = self.angle_deg(pose)
        return angle_deg < self.limit_deg if self.is_most else angle_deg > self.limit_deg

    def measured(self, pose: HeadPose) -> str:
        """Say how far a head is from it: "3 of 10 degrees"."""
        most = "at most " if self.is_most else ""
        return f"{max(0.0, self.angle_deg(pose)):.0f} of {most}{self.limit_deg:g} degrees"


POSES = (
    WantedPose("straight", "look straight", lambda pose: abs(pose.yaw_deg), STRAIGHT_DEG, is_most=True),
    WantedPose("left", "turn a little left", lambda pose: pose.yaw_deg, TURNED_DEG),
    WantedPose("right", "turn a little right", lambda pose: -pose.yaw_deg, TURNED_DEG),
    WantedPose("up", "lift your chin a little", lambda pose: pose.pitch_deg, STRAIGHT_DEG),
    WantedPose("down", "lower your chin a little", lambda pose: -pose.pitch_deg, STRAIGHT_DEG),
)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One accepted look: its embedding becomes a template, its face stands on the contact sheet."""

    embedding: Embedding
    face: Image  # (S, S, 3) uint8 RGB, S the embedder's
    pose: HeadPose


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one image: kept, or the line that tells the person what to do.

    `box` is that of the nearest face, of no area where there is nobody; `pose` is how a good face was turned.
    """

    accepted: bool
    hint: str
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    pose: HeadPose | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """How new looks of a subject compare with the stored templates."""

    looks: int
    matching: int
    lowest: float
    highest: float
    threshold: float  # the similarity that her or his matches need
    taken_for: str | None  # another subject in whose name a look would open the door
    serves: bool


class Collector:
    """Look at images until enough different samples of one person are kept.

    Args:
        same_person: similarity that a sample needs to one kept before; below it somebody else stepped in.
        duplicate: above this similarity to a kept sample, a new one teaches nothing.
        samples: how many to keep.
        search: finds out whether the camera hangs on its side; None for photographs.
        guided: ask for poses, one after the other; else take every good sample that is no duplicate.
    """

    def __init__(
        self,
        *,
        finder: Finder,
        embedder: Embedder,
        same_person: float,
        duplicate: float,
        samples: int,
        guided: bool,
        search: TurnSearch | NoSearch | None = None,
    ) -> None:
        self._finder, self._search = finder, search or NoSearch()
        self._embedder = embedder
        self._same_person = same_person
        self._duplicate = duplicate
        self._wanted = samples
        self._guided = guided
        self._good_frames = 0  # since the last kept sample
        self._failures: Counter[str] = Counter()
        self._stored: list[Embedding] = []
        self.samples: list[Sample] = []

    @property
    def is_complete(self) -> bool:
        return len(self.samples) >= self._wanted

    @property
    def most_common_failure(self) -> str:
        """The hint that was given most often, "" where there was none."""
        return self._failures.most_common(1)[0][0] if self._failures else ""

    def offer(self, image: Image) -> Verdict:
        """Look at an (H, W, 3) uint8 RGB image; keep its face, or say why not."""
        found = self._finder.find(image)
        pose = None if isinstance(found.face, Stop) else found.face.pose
        sample, kind, hint = self._look(image, found)
        if sample is None:
            self._failures[kind] += 1
            return Verdict(False, hint, found.box, pose)
        self.samples.append(sample)
        self._good_frames = 0
        return Verdict(True, self._instruction(), found.box, pose)

    def remember(self, templates: npt.NDArray[np.float32]) -> None:
        """Refuse what is nearly the same as one of these (n, D) templates, stored for the subject before."""
        self._stored = list(templates)

    def templates(self) -> npt.NDArray[np.float32]:
        """Return the kept embeddings, (n, D) float32."""
        return np.stack([sample.embedding for sample in self.samples])

    def close(self) -> None:
        self._finder.close()

    def _look(self, image: Image, found: Found) -> tuple[Sample | None, str, str]:
        """Return a new sample, or the kind of failure and a hint with this image's own numbers."""
        face = found.face
        self._search.see(image, found)
        if isinstance(face, Stop):
            advice = self._search.advice
            return None, advice or str(face.reason).replace("_", " "), advice or face.hint
        sample = Sample(template(self._embedder, face.image), face.image, face.pose)
        kind, hint = self._objection(sample)
        return (None, kind, hint) if kind else (sample, "", "")

    def _objection(self, sample: Sample) -> tuple[str, str]:
        """Say why a good face does not become a sample: another person, a wrong pose, nothing new."""
        nearest = max((float(kept.embedding @ sample.embedding) for kept in self.samples), default=None)
        if nearest is not None and nearest < self._same_person:
            return "another person", "this is not the person of the earlier samples"
        self._good_frames += 1
        wanted = self._wanted_pose()
        if wanted and not wanted.is_shown(sample.pose) and self._good_frames <= PATIENCE_FRAMES:
            return "pose not shown", wanted.instruction
        earlier = [*self._stored, *(kept.embedding for kept in self.samples)]
        if any(float(embedding @ sample.embedding) > self._duplicate for embedding in earlier):
            return (
                "nearly the same as an earlier sample",
                f"nearly the same as an earlier sample{': move a little' if self._guided else ''}",
            )
        return "", ""

    def _wanted_pose(self) -> WantedPose | None:
        return POSES[len(self.samples) % len(POSES)] if self._guided and not self.is_complete else None

    def _instruction(self) -> str:
        wanted = self._wanted_pose()
        return wanted.instruction if wanted else ""


def template(embedder: Embedder, face: Image) -> Embedding:
    """Return the mean embedding of a face and its mirror image: what is stored varies less than one look.

    Only enrollment does it; the door embeds each face once.
    """
    return l2_normalize(embedder.embed(face) + embedder.embed(np.ascontiguousarray(face[:, ::-1])))


def check_looks(
    subject_id: str, own: npt.NDArray[np.float32], matches: list[Match], *, k: int, n: int
) -> Check:
    """Judge looks by the door's own measure: they serve when at least k of n match the subject.

    Args:
        own: (looks,) similarity of each look to the nearest template of the subject.
        matches: the gallery's best match of each look, with the threshold that it needs.
    """
    needed = [1.0 if match.threshold is None else match.threshold for match in matches]
    reached = [match for match, least in zip(matches, needed, strict=True) if match.similarity >= least]
    others = [match.subject_id for match in reached if match.subject_id != subject_id]
    matching = len(reached) - len(others)
    return Check(
        looks=len(matches),
        matching=matching,
        lowest=float(own.min()),
        highest=float(own.max()),
        threshold=max(needed),
        taken_for=next(iter(others), None),
        serves=matching * n >= k * len(matches),
    )


def contact_sheet(samples: list[Sample], columns: int = 5, gap_px: int = 8) -> Image:
    """Lay the aligned faces of an enrollment out on white; (H, W, 3) uint8 RGB."""
    side = samples[0].face.shape[0]
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    step = side + gap_px
    sheet = np.full((rows * step + gap_px, columns * step + gap_px, 3), 255, np.uint8)
    for number, sample in enumerate(samples):
        top, left = gap_px + number // columns * step, gap_px + number % columns * step
        sheet[top : top + side, left : left + side] = sample.face
    return sheet
