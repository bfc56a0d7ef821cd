"""Enroll a person, or check that the stored templates still match: collect looks, compare them, store them."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from device.access.profile import Profile
from device.command import owner_command
from device.decide.threshold import DoorThreshold
from device.enroll.audience import Audience, NoAudience
from device.enroll.collector import Check, Collector, check_looks
from device.enroll.output import Output, counted
from device.enroll.photographs import look_at
from device.enroll.register import (
    OpenGallery,
    Register,
    check_enrolled,
    check_own,
    store_as_it_stands,
    tell_sealed,
)
from device.enroll.rules import Changes
from device.enroll.sheet import check_sheet, default_sheet, write_sheet
from device.errors import EnrollmentError, GalleryError, UsageError
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike, look_alikes
from device.gallery.names import check_subject_id
from device.numeric.similarity import cosine_matrix
from device.protocols import Camera
from device.vision.embed import LiteRTEmbedder

MAX_SAMPLES = 50


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where looks come from: photographs, or the camera where there are none."""

    images: list[Path]
    samples: int | None


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What was asked of an enrollment."""

    changes: Changes
    replace: bool
    allow_lookalike: bool
    sheet: Path | None
    no_sheet: bool

    def sheet_of(self, name: str, audience: Audience) -> Path | None:
        """Return where the contact sheet goes, None for nowhere."""
        usual = default_sheet(name) if audience.writes_sheet else None
        return None if self.no_sheet else self.sheet or usual


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What an enrollment looks through and compares with.

    Args:
        open_gallery: opens the gallery of the embedder's model.
        new_collector: makes a collector of so many samples, guided or not.
        open_camera: opens the configured camera.
        threshold_for: the door's threshold with so many templates.
        same_person: similarity that two looks of one person have.
        margin: by how much a look-alike's look may be nearer than the templates are.
        samples: how many a camera collects where nothing else is said.
        timeout_s: an enrollment at a camera gives up after this long.
        needed: (k, n), so many of so many looks have to match.
        bond: what a copy of the card is worth, said at the first enrollment.
        audience: who watches beside the terminal.
    """

    register: Register
    embedder: LiteRTEmbedder
    open_gallery: OpenGallery
    new_collector: Callable[[int, bool], Collector]
    open_camera: Callable[[], Camera]
    threshold_for: Callable[[int], DoorThreshold]
    same_person: float
    margin: float
    samples: int
    timeout_s: float
    needed: tuple[int, int]
    bond: Callable[[Gallery], str]
    audience: Audience = field(default_factory=NoAudience)

    @property
    def output(self) -> Output:
        return self.register.output

    def enroll(self, text: str, source: Source, wishes: Wishes) -> None:
        """Collect samples of one person, check them against the gallery and store them."""
        name, samples = check_subject_id(text), self._samples(source)
        sheet = wishes.sheet_of(name, self.audience)
        self.register.forget_expired()
        # The gallery before the camera: who stood still for a minute should not hear then that it cannot be written.
        with self.open_gallery(read_only=False) as gallery:
            tell_sealed(gallery, self.output)
            if not gallery.subjects():
                self.output.warn(f"note: {self.bond(gallery)}")
            check_writable(self.register.path)
            standing = gallery.standing(name)
            before = profile_of(gallery, name)
            check_own(before, name)
            profile = wishes.changes(before)
            check_sheet(sheet)  # the gallery's own files exist by now
            stored = gallery.templates(name)
            known = stored[: 0 if wishes.replace else None]
            self.audience.welcome(name, samples, profile.retain_until)
            collector = self._collect(source, samples, known)
            self._check_same_person(name, collector, stored, wishes.replace)
            templates = np.concatenate([known, collector.templates()])
            alike: list[LookAlike] = []

            def store(at_change: int) -> None:
                alike[:] = self._compare_with_everybody(name, templates, gallery)
                check_look_alikes(name, alike, wishes.allow_lookalike)
                self.audience.settle()
                self.register.bystand()
                about = {"subject": profile.alias, "templates": len(collector.samples)}
                with self.register.recording("enrolled", **about):
                    gallery.enroll(
                        name,
                        collector.templates(),
                        replace=wishes.replace,
                        look_alikes=alike,
                        profile=profile,
                        at_change=at_change,
                    )

            store_as_it_stands(gallery, name, standing, store)
            shortfall = self.threshold_for(gallery.count()).shortfall
            notes = self.register.remarks_of(gallery, profile)
        self._finish(sheet, name, [each for each in alike if not each.is_parted], collector)
        for note in notes:
            self.output.warn(f"note: {note}")
        if shortfall:
            self.output.warn(f"note: {shortfall} (docs/how/security.md)")

    def check(self, text: str, source: Source) -> bool:
        """Compare new looks of a person with the stored templates, print the verdict, and change nothing."""
        name, samples = check_subject_id(text), self._samples(source)
        with self.open_gallery(read_only=True) as gallery:
            check_enrolled(gallery, name)
            nobody = gallery.templates(name)[:0]  # what is nearly the same as a template is welcome here
            collector = self._collect(source, samples, nobody)
            # As the door sees them: one look, without the mirror image that a template has in it.
            looks = np.stack([self.embedder.embed(sample.face) for sample in collector.samples])
            matches = [match for match in map(gallery.match, looks) if match]
            own = (looks @ gallery.templates(name).T).max(axis=1)
        k, n = self.needed
        found = check_looks(name, own, matches, k=k, n=n)
        tell_check(name, found, self.output)
        return found.serves

    def _samples(self, source: Source) -> int:
        """Return how many samples to collect: as asked, else as configured, or of photographs all."""
        if source.samples is not None and not 1 <= source.samples <= MAX_SAMPLES:
            raise UsageError(f"--samples: expected 1 to {MAX_SAMPLES}, received {source.samples}")
        usual = min(len(source.images), MAX_SAMPLES) if source.images else self.samples
        return source.samples or usual

    def _collect(self, source: Source, samples: int, known: npt.NDArray[np.float32]) -> Collector:
        """Take samples from the photographs or at the camera, none nearly the same as a known template."""
        collector = self.new_collector(samples, not source.images)
        collector.remember(known)
        with closing(collector):
            if source.images:
                look_at(source.images, collector, samples, self.output)
            else:
                self._watch_camera(collector, samples)
        return collector

    def _watch_camera(self, collector: Collector, samples: int) -> None:
        """Guide the person before the camera until the samples are complete."""
        until_s = time.monotonic() + self.timeout_s
        with closing(self.open_camera()) as camera, self.output.progress(samples) as show:
            show(0, "look straight")
            for frame in camera.frames():
                verdict = collector.offer(frame.image)
                show(len(collector.samples), verdict.hint)
                self.audience.see(frame.image, verdict, len(collector.samples))
                if collector.is_complete or time.monotonic() > until_s:
                    break
        if not collector.is_complete:
            raise EnrollmentError(
                f"{len(collector.samples)} of {samples} samples collected "
                f"({collector.most_common_failure or 'no frames'}): nothing was stored: try again in better light, "
                "or with fewer --samples"
            )

    def _check_same_person(
        self, name: str, collector: Collector, stored: npt.NDArray[np.float32], is_replaced: bool
    ) -> None:
        """Refuse to add a stranger's face to an enrolled name: it would open the door in that name; ask to replace."""
        if not len(stored) or (cosine_matrix(stored, collector.templates()) >= self.same_person).any():
            return
        if not is_replaced:
            raise EnrollmentError(
                f"this is not the face that is enrolled as {name!r}: nothing was stored: choose another --name, "
                "or --replace"
            )
        self.register.ask(
            f"this is not the face that is enrolled as {name!r}: replace her or his {counted(len(stored))}?"
        )

    def _compare_with_everybody(
        self, name: str, templates: npt.NDArray[np.float32], gallery: Gallery
    ) -> list[LookAlike]:
        """Return the enrolled people whom the door could take the newcomer for."""
        others = {other: theirs for other, theirs in gallery.everybody().items() if other != name}
        count = len(templates) + sum(map(len, others.values()))
        manifest = self.embedder.manifest
        return look_alikes(
            templates,
            others,
            threshold=self.threshold_for(count).threshold,
            floor=manifest.threshold(max(manifest.thresholds)),
            margin=self.margin,
        )

    def _finish(self, sheet: Path | None, name: str, alike: list[LookAlike], collector: Collector) -> None:
        """Tell what was stored, warn of look-alikes, and write the contact sheet."""
        for each in alike:
            self.output.warn(
                f"warning: {name!r} looks like {each.subject_id!r}, who is enrolled: the door "
                + ("asks more of both" if each.is_safe else "may take one for the other, and challenges both")
            )
        sheet = write_sheet(sheet, collector.samples, self.output) if sheet else None
        count = len(collector.samples)
        where = f"; contact sheet {sheet} (private to you; delete it once you have looked)" if sheet else ""
        self.output.say(
            f"enrolled {name}: {counted(count)}, no picture in the gallery{where}",
            "enrolled",
            subject_id=name,
            templates=count,
            looks_like=[each.subject_id for each in alike],
            challenged=not all(each.is_safe for each in alike),
            sheet=str(sheet) if sheet else None,
        )
        self.audience.thank(f"Enrolled {name}: {counted(count)}, no picture.", collector.samples)


def tell_check(name: str, found: Check, output: Output) -> None:
    """Print a verdict with its numbers: to the owner at this terminal, never to the status log."""
    similar = f"similarity {found.lowest:.2f} to {found.highest:.2f}, needed {found.threshold:.2f}"
    if found.serves:
        verdict = "the templates serve"
    elif found.taken_for is not None:
        verdict = f"the templates do not serve: the door takes this face for {found.taken_for!r}"
    else:
        again = owner_command(f"enroll {shlex.quote(name)} --replace")
        verdict = f"the templates do not serve: {again}"
    output.say(
        f"{name}: {found.matching} of {found.looks} looks match ({similar}): {verdict}",
        "check",
        subject_id=name,
        looks=found.looks,
        matching=found.matching,
        lowest=round(found.lowest, 4),
        highest=round(found.highest, 4),
        threshold=round(found.threshold, 4),
        taken_for=found.taken_for,
        serves=found.serves,
    )


def check_look_alikes(name: str, alike: list[LookAlike], allowed: bool) -> None:
    """Refuse somebody whom no threshold parts from another, unless that was asked for."""
    unsafe = [each.subject_id for each in alike if not each.is_safe]
    if unsafe and not allowed:
        raise EnrollmentError(
            f"{name!r} looks like {unsafe[0]!r}, who is enrolled, and no threshold parts them: nothing was stored: "
            "try more different --samples of both, or take --allow-lookalike, which challenges both at the door"
        )


def profile_of(gallery: Gallery, name: str) -> Profile:
    """Return the person's profile, a new one for a newcomer."""
    known = {subject.subject_id for subject in gallery.subjects()}
    return gallery.profile(name) if name in known else Profile()


def check_writable(path: Path) -> None:
    """Fail before anybody stands before the camera when the gallery cannot be written."""
    if not (os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK)):
        raise GalleryError(
            f"gallery {path} is read-only: allow writing to the file and its folder; nothing was changed"
        )
