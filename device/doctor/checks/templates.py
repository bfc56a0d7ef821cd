"""The gallery and its key: whole, of this board and of the configured network, with somebody in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from device.build import build_gallery, build_keys, manifest_path, shortfall, threshold_for
from device.decide.threshold import in_words
from device.doctor.examination import Setup, unseen
from device.doctor.finding import Finding, green, red, split_advice, yellow
from device.errors import FaceUnlockError
from device.gallery.gallery import Gallery
from device.vault.keys import bond_text
from device.vision.embed import Manifest, load_manifest

NAME = "gallery"
ENROLL = "face-unlock enroll NAME"


def check(setup: Setup) -> Iterator[Finding]:
    """Open both as the door does, and say who is enrolled."""
    path = setup.config.gallery_path
    try:
        path.stat()
    except FileNotFoundError:
        yield red(NAME, f"{path}: nobody is enrolled yet", ENROLL)
        return
    except PermissionError:
        yield unseen(NAME, f"{path}: this user may not read it")
        return
    yield from check_key(setup)
    try:
        manifest = load_manifest(manifest_path(setup.config.model))
        with closing(build_gallery(setup.config, manifest, read_only=True)) as gallery:
            yield from check_content(setup, gallery, manifest)
    except FaceUnlockError as error:
        yield split_advice(NAME, error)


def check_key(setup: Setup) -> Iterator[Finding]:
    """Say where the key is and what it is bound to."""
    keys = build_keys(setup.config)
    try:
        ring = keys.read()
    except FaceUnlockError as error:
        yield split_advice("key", error)
        return
    if ring is None:
        missing = f"{keys}: is missing, and the gallery cannot be read without it"
        yield red("key", missing, "put your copy back (docs/owner/secrets.md)")
        return
    yield green("key", f"{keys}: {bond_text(ring, keys)}")


def check_content(setup: Setup, gallery: Gallery, manifest: Manifest) -> Iterator[Finding]:
    """Say who is enrolled and what the door promises with so many templates."""
    people = gallery.everybody()  # reads and checks every template, as the door does
    templates = sum(len(rows) for rows in people.values())
    if not people:
        yield red(NAME, f"{setup.config.gallery_path}: nobody is enrolled", ENROLL)
        return
    who = f"{len(people)} {'person' if len(people) == 1 else 'people'}"
    what = f"{templates} template{'' if templates == 1 else 's'} of {manifest.model_id}"
    yield green(NAME, f"{who}, {what}, sealed and whole")
    expired = gallery.expired_subjects()
    if expired:
        yield yellow(NAME, f"consent expired: {', '.join(expired)}", "face-unlock remove NAME, or ask again")
    short = shortfall(setup.config, templates)
    if short:
        yield yellow(NAME, short, "fewer templates, or a larger decision.k (docs/how/security.md)")
    else:
        promised = threshold_for(setup.config, manifest, templates).promised
        yield green(NAME, f"lets in at most {in_words(promised)}")
