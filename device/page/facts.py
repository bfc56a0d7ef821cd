"""What a door says of itself on the status page, in words: people, their rules, and the self-test's verdict."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from device.access.keeping import keeping
from device.access.selftest import is_proven
from device.enroll.rules import remarks, rules_of
from device.gallery.gallery import Gallery


def facts_of(
    gallery: Gallery, *, liveness_id: str | None, heartbeat_s: float
) -> Callable[[], dict[str, Any]]:
    """Return what reads the facts, anew where the gallery changed or an hour has passed.

    Args:
        liveness_id: of the passive network, None where liveness is off.
    """
    known: dict[Any, dict[str, Any]] = {}

    def facts() -> dict[str, Any]:
        now = datetime.now(timezone.utc)
        key = gallery.version, now.replace(minute=0, second=0, microsecond=0)
        if key not in known:
            known.clear()
            selftest = selftest_line(gallery, liveness_id)
            known[key] = {
                "people": people(gallery, now),
                "selftest": selftest,
                "keeper": keeper_line(gallery),
                "heartbeat_s": heartbeat_s,
            }
        return known[key]

    return facts


def people(gallery: Gallery, now: datetime) -> list[dict[str, Any]]:
    """Return a row for each person: name, templates, since when, and the rules with what is over of them."""
    profiles = gallery.profiles()
    challenged = {name for name, need in gallery.needs().items() if need.challenge}
    return [
        {
            "name": (name := subject.subject_id),
            "templates": subject.template_count,
            "since": subject.enrolled_at,
            "rules": [
                rules_of(profiles[name]),
                *remarks(profiles[name], None, now),
                *(["challenged: has a look-alike"] if name in challenged else []),
            ],
        }
        for subject in gallery.subjects()
    ]


def keeper_line(gallery: Gallery) -> str:
    """Say whether this door has all that its keeper signed, "" where it has no keeper."""
    profiles = gallery.profiles().values()
    known = keeping(gallery.fleet("member"), {each.fleet_id for each in profiles})
    return known.line if known is not None else ""


def selftest_line(gallery: Gallery, liveness_id: str | None) -> str:
    """Say whether this door has proven that it keeps pictures out."""
    if liveness_id is None:
        return "liveness is off: a photograph opens this door"
    verdict = gallery.selftest()
    if is_proven(verdict, liveness_id):
        assert verdict is not None
        return f"passed on {verdict.tested_at[:10]}"
    if verdict is None:
        return "never run: everybody is asked for a move (face-unlock selftest)"
    cause = "failed" if verdict.liveness_id == liveness_id else "of another network"
    return f"{cause}, on {verdict.tested_at[:10]}: everybody is asked for a move (face-unlock selftest)"
