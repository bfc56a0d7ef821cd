"""A submission: somebody who was enrolled at a door by a second admin, for the keeper to take in.

    face-unlock submission 1 DOOR\\n, then an answer of that door (envelope.py): only the keeper opens it

What the keeper has already is never merged with it: the two are shown, and a person decides.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from device.access.profile import Profile
from device.command import owner_command
from device.errors import UsageError
from device.fleet.envelope import SUBMISSION, EnvelopeBroken, answer, context_of
from device.fleet.keeper import Keeper
from device.fleet.records import Record
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike

HEAD = re.compile(rb"face-unlock submission 1 ([a-z0-9-]{1,32})\n")
Judge = Callable[[npt.NDArray[np.float32], Mapping[str, npt.NDArray[np.float32]]], list[LookAlike]]


def submit(gallery: Gallery, subject_id: str, model_id: str) -> bytes:
    """Return a person of this door, sealed for the keeper."""
    member = gallery.fleet("member")
    if not member:
        raise UsageError(f"this door belongs to no fleet yet: run {owner_command('fleet join FILE')} at it")
    profile = gallery.profile(subject_id)
    if profile.fleet_id is not None:
        raise UsageError(f"{subject_id!r} came from the keeper: there is nothing to submit")
    record = Record(subject_id, model_id, gallery.templates(subject_id), profile)
    secret, other = bytes.fromhex(member["secret"]), bytes.fromhex(member["keeper_box"])
    head = b"face-unlock submission 1 " + member["door"].encode() + b"\n"
    return head + answer(record.text(), context_of(SUBMISSION, member["door"]), secret=secret, other=other)


def read(path: Path) -> bytes:
    """Return the bytes of a submission's file; `-`: of stdin, for a file that the service's user may not read."""
    try:
        return sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}: check the path") from None


def of_here(profile: Profile) -> Profile:
    """Return rules, PINs and consent of a profile; its alias and what it needs are for this gallery to say."""
    kept = {"retain_until", "policy", "pin_hash", "duress_hash"}
    return Profile(**{key: getattr(profile, key) for key in kept})


def take_in(gallery: Gallery, keeper: Keeper, data: bytes, model_id: str, judge: Judge) -> tuple[str, str]:
    """Enroll whom a door submitted, and return the door and the name; a conflict is a UsageError that shows both."""
    head = HEAD.match(data)
    if head is None:
        raise UsageError(
            f"expected a file that {owner_command('fleet submit')} wrote, received another: check the name"
        )
    door = head[1].decode()
    try:
        record = Record.read(keeper.open_submission(door, data[head.end() :]))
    except EnvelopeBroken as fault:
        raise UsageError(f"the submission of door {door!r} {fault}") from None
    name = record.subject_id
    if record.model_id != model_id:
        raise UsageError(
            f"{name!r} was enrolled with model {record.model_id}, the keeper has {model_id}: enroll anew"
        )
    here = {each.subject_id: each for each in gallery.subjects()}
    if name in here:
        raise UsageError(
            f"{name!r} is enrolled here since {here[name].enrolled_at} with {here[name].template_count} templates, and "
            f"door {door!r} submits another with {len(record.templates)}: never merged: remove one, or rename it"
        )
    alike = judge(record.templates, gallery.everybody())
    if unsafe := [each.subject_id for each in alike if not each.is_safe]:
        raise UsageError(
            f"{name!r} looks too much like {', '.join(unsafe)}: enroll both here, with more samples"
        )
    gallery.enroll(name, record.templates, replace=False, look_alikes=alike, profile=of_here(record.profile))
    return door, name
