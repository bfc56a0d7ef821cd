"""unlock.py with galleries that are refused, rules that say no, and what it writes down."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.access.policy import Policy
from device.gallery.gallery import Gallery
from device.journal.verify import verify
from device.vault.keys import KeyStore, format_ring, new_ring
from tests.support.checkout import unlock
from tests.support.doors.running import Door, events, names, own_gallery
from tests.support.galleries import plain


def test_a_grant_and_the_programs_life_are_in_the_audit(
    door: Door, person_clip: Path, tmp_path: Path
) -> None:
    gallery = own_gallery(door, tmp_path)
    door.start("--camera", str(person_clip), "--once")
    code, _, err = door.end()
    assert (code, err) == (0, "")
    assert events(gallery) == ["started", "granted", "stopped"]
    ring = KeyStore.of(gallery, environ={}).read()
    assert ring is not None
    log = gallery.with_name(f"{gallery.name}.audit")
    assert verify(log, ring.audit_keys).problems == []
    assert b"Eileen" not in log.read_bytes()


def test_a_face_whose_rules_say_no_never_moves_the_pin(door: Door, person_clip: Path, tmp_path: Path) -> None:
    gallery = own_gallery(door, tmp_path)
    with Gallery(gallery, model_id=None, dimension=1, read_only=False) as opened:
        profile = opened.profile("Eileen")
        opened.set_profile("Eileen", replace(profile, policy=Policy(access="disabled")))
    door.start("--camera", str(person_clip), "--once")
    code, lines, _ = door.end()
    assert code == 1
    assert 1 not in door.levels()
    assert "disabled" in {line.get("reason") for line in lines}
    assert "granted" not in events(gallery)
    assert "refused" in events(gallery, ".audit-outside")


@pytest.mark.parametrize("what", ["no key", "another key", "older gallery", "a row changed", "in the clear"])
def test_a_gallery_that_is_refused_keeps_the_door_locked(
    door: Door, person_clip: Path, tmp_path: Path, what: str
) -> None:
    gallery = own_gallery(door, tmp_path)
    key = gallery.with_name(f"{gallery.name}.key")
    if what == "no key":
        key.unlink()
    elif what == "another key":
        key.write_bytes(format_ring(new_ring()))
    elif what == "older gallery":
        older = gallery.read_bytes()
        with Gallery(gallery, model_id=None, dimension=1, read_only=False) as opened:
            opened.set_profile("Eileen", opened.profile("Eileen"))
        gallery.write_bytes(older)
    elif what == "a row changed":
        with contextlib.closing(sqlite3.connect(gallery)) as db:
            db.execute("UPDATE subjects SET enrolled_at = 'x'")
            db.commit()
    else:
        gallery.unlink()
        plain(gallery, np.eye(16, dtype=np.float32))
    content = gallery.read_bytes()
    door.start("--camera", str(person_clip), "--once")
    code, lines, err = door.end()
    assert code == 5
    assert 1 not in door.levels()
    assert err.startswith("unlock: ")
    assert err.count("\n") == 1
    assert lines[-1]["reason"] == "fault"
    assert gallery.read_bytes() == content


def test_a_full_card_does_not_lock_the_owner_out_unless_asked_to(
    door: Door, person_clip: Path, tmp_path: Path
) -> None:
    gallery = own_gallery(door, tmp_path)
    gallery.with_name(f"{gallery.name}.audit").mkdir()  # nothing can be appended to it
    door.start("--camera", str(person_clip), "--once")
    code, lines, err = door.end()
    assert (code, err) == (0, "")
    assert door.levels() == [1, 0]
    # Once for each time that it is lost: a refusal on the way, recorded elsewhere, may bring it back.
    assert names(lines).count("audit_lost") == 1 + names(lines).count("audit_back")
    door.pins.unlink()
    door.config.write_text(door.config.read_text() + "[audit]\nrequired = true\n")
    door.start("--camera", str(person_clip), "--once")
    code, lines, _ = door.end()
    assert code == 1
    assert 1 not in door.levels()
    assert "not_recorded" in {line.get("reason") for line in lines}


@pytest.mark.parametrize(("asked", "told"), [("1e-6", 1), ("1e-2", 0)])
def test_a_promise_that_cannot_be_kept_is_said_at_the_start(
    asked: str, told: int, tmp_path: Path, enrolled_gallery: Path, empty_clip: Path
) -> None:
    """In one line, before anybody stands there; the door goes on with the strictest threshold that was measured."""
    config = tmp_path / "config.toml"
    config.write_text(f"false_accepts_per_approach = {asked}\n")
    options = ["--config", str(config), "--gallery", str(enrolled_gallery), "--camera", str(empty_clip)]
    done = unlock("--demo", "--json", "--max-seconds", "20", *options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    warnings = [line["error"] for line in lines if line["event"] == "warning"]
    assert (done.returncode, len(warnings)) == (0, told)
    assert all(
        "at most one stranger in 1,000,000 tries cannot be promised with 1 templates" in line
        for line in warnings
    )
    assert any(line["event"] == "ready" for line in lines)
