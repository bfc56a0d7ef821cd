"""The rows of an open gallery: people, templates, profiles, look-alikes, the self-test. Sealed on the way in, opened on
the way out, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlite_utils import Database

from device.access.profile import Profile, profile_from_json, profile_to_json
from device.access.selftest import SelfTest, SpeciesCount
from device.gallery.lookalike import LookAlike
from device.gallery.seal import GallerySeal

Standing = tuple[Profile | None, tuple[int, ...]]  # profile, and the numbers of the templates


@dataclass(frozen=True, slots=True)
class Subject:
    """An enrolled person; `enrolled_at` is UTC, ISO 8601."""

    subject_id: str
    template_count: int
    enrolled_at: str


@dataclass(frozen=True, slots=True)
class Need:
    """The requirements of a subject with look-alikes: a similarity of their own, and perhaps a challenge."""

    threshold: float
    challenge: bool


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A person who comes from a keeper; `templates` is (n, D), L2-normalized."""

    subject_id: str
    templates: npt.NDArray[np.float32]
    profile: Profile
    look_alikes: Sequence[LookAlike] = ()


class Rows:
    """Read and write rows; `Store` opens the file, checks it and commits."""

    def __init__(self, db: Database, seal: GallerySeal) -> None:
        self._db, self._seal = db, seal

    def subjects(self) -> list[Subject]:
        """Return who is enrolled, by name."""
        rows = self._db.conn.execute(
            "SELECT s.subject_id, count(t.id), s.enrolled_at FROM subjects s"
            " LEFT JOIN templates t USING (subject_id) GROUP BY s.subject_id ORDER BY s.subject_id"
        ).fetchall()
        return [Subject(*row) for row in rows]

    def add_subject(self, name: str) -> None:
        """Add a subject, or leave the one that is there."""
        self._db.execute("INSERT INTO subjects (subject_id) VALUES (?) ON CONFLICT DO NOTHING", [name])

    def remove_subject(self, name: str) -> int:
        """Delete a subject with all rows that refer to it; return how many templates there were."""
        removed = self._db.table("templates").count_where("subject_id = ?", [name])
        self._db.table("subjects").delete_where("subject_id = ?", [name])  # cascades
        return int(removed)

    def templates(self) -> Iterator[tuple[str, bytes]]:
        """Yield subject and embedding of each template; each is opened when it is asked for."""
        opened = self._seal.open_template
        for name, model, sealed in self._db.conn.execute(
            "SELECT subject_id, model_id, sealed FROM templates ORDER BY id"
        ):
            yield name, opened(sealed, name, model)

    def add_templates(self, rows: Iterable[tuple[str, str, int, bytes]]) -> None:
        """Add templates: subject, model, dimension, embedding."""
        seal = self._seal.seal_template
        self._db.table("templates").insert_all(
            {"subject_id": name, "model_id": model, "dimension": dimension, "sealed": seal(blob, name, model)}
            for name, model, dimension, blob in rows
        )

    def remove_templates(self, name: str) -> None:
        self._db.table("templates").delete_where("subject_id = ?", [name])

    def count(self) -> int:
        """Return the number of templates."""
        return int(self._db.table("templates").count)

    def profile(self, name: str) -> Profile | None:
        """Return the profile of one subject, the only one that is opened; None where there is none."""
        row = self._db.conn.execute("SELECT sealed FROM profiles WHERE subject_id = ?", [name]).fetchone()
        return profile_from_json(self._seal.open_profile(row[0], name)) if row is not None else None

    def profiles(self) -> dict[str, Profile]:
        """Return the profiles of all subjects."""
        rows = self._db.conn.execute("SELECT subject_id, sealed FROM profiles").fetchall()
        return {name: profile_from_json(self._seal.open_profile(sealed, name)) for name, sealed in rows}

    def standing(self, name: str) -> Standing:
        """Return what is stored of a subject now, to be compared with what is stored later."""
        templates = self._db.conn.execute("SELECT id FROM templates WHERE subject_id = ? ORDER BY id", [name])
        return self.profile(name), tuple(number for (number,) in templates.fetchall())

    def store_profile(self, name: str, profile: Profile) -> None:
        sealed = self._seal.seal_profile(profile_to_json(profile), name)
        self._db.execute("INSERT OR REPLACE INTO profiles (subject_id, sealed) VALUES (?, ?)", [name, sealed])

    def needs(self, profiles: Mapping[str, Profile] | None = None) -> Mapping[str, Need]:
        """Return what the matches of subjects with look-alikes need: here, and as their keeper found.

        `profiles` are those of all subjects, where they were read already.
        """
        rows = self._db.conn.execute(
            "SELECT subject_id, max(threshold), max(challenge) FROM look_alikes GROUP BY subject_id"
        ).fetchall()
        needs = {name: Need(threshold, bool(challenge)) for name, threshold, challenge in rows}
        for name, profile in (self.profiles() if profiles is None else profiles).items():
            least = profile.least_similarity
            if least is not None or profile.challenge:
                here = needs.get(name, Need(-1.0, False))
                threshold = max(here.threshold, -1.0 if least is None else least)
                needs[name] = Need(threshold, here.challenge or profile.challenge)
        return needs

    def store_look_alikes(self, name: str, look_alikes: Sequence[LookAlike]) -> None:
        """Store whom a subject resembles, in place of what was known."""
        table = self._db.table("look_alikes")
        table.delete_where("subject_id = ? OR other_id = ?", [name, name])
        pairs = [(name, each.subject_id, each.threshold, not each.is_safe) for each in look_alikes]
        pairs += [(each.subject_id, name, each.other_threshold, not each.is_safe) for each in look_alikes]
        columns = ("subject_id", "other_id", "threshold", "challenge")
        table.insert_all(
            dict(zip(columns, (one, other, min(threshold, 1.0), int(challenge)), strict=True))
            for one, other, threshold, challenge in pairs
        )

    def selftest(self) -> SelfTest | None:
        """Return the verdict of the last self-test, None where there was none."""
        rows = self._db.conn.execute(
            "SELECT species, shown, wrong, tested_at, liveness_id, model_id FROM selftest ORDER BY rowid"
        ).fetchall()
        if not rows:
            return None
        tested_at, liveness_id, model_id = rows[0][3:]
        return SelfTest(tested_at, liveness_id, model_id, tuple(SpeciesCount(*row[:3]) for row in rows))

    def store_selftest(self, verdict: SelfTest) -> None:
        """Store a verdict in place of the last one."""
        about = {
            "tested_at": verdict.tested_at,
            "liveness_id": verdict.liveness_id,
            "model_id": verdict.model_id,
        }
        counts = [
            {"species": each.species, "shown": each.shown, "wrong": each.wrong} for each in verdict.counts
        ]
        self._db.table("selftest").delete_where()
        self._db.table("selftest").insert_all({**each, **about} for each in counts)
