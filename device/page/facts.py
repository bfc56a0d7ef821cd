"""What a door says of itself on the status page, in words: people, their rules, and the self-test's verdict."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from device.access.selftest import is_proven
from device.enroll.rules import remarks, rules_of
from device.gallery.gallery import Gallery
from device.moment import in_local_time


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
    known = gallery.fleet("member")
    if not known:
        return ""
    if not known.get("renewed"):
        return "nothing came from the keeper yet"
    why = why_not_in_sync(gallery, known)
    said = f"not in sync ({why})" if why else "in sync"
    return f"{said}, with what the keeper signed at {in_local_time(str(known['renewed']))}"


def why_not_in_sync(gallery: Gallery, known: dict[str, Any]) -> str:
    """Say why a door does not have what its keeper signed, "" where it does; as it answers the keeper."""
    if known.get("sequence") != known.get("seen"):
        return "a newer set is not here as a whole"
    if known.get("left_out"):
        return "a name is taken here"
    here = {profile.fleet_id for profile in gallery.profiles().values()}
    return "" if here.issuperset(known.get("people", {})) else "somebody of the keeper was removed here"


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
