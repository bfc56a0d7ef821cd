"""The register: who is enrolled and who may enter when; list, show, change and remove, without a camera."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from device.access.policy import Usage
from device.access.profile import Profile
from device.command import owner_command
from device.enroll.output import Output, counted
from device.enroll.rules import Changes, differences, remarks, rules_of, told
from device.enroll.sheet import check_sheet, default_sheet, erase_sheet
from device.errors import FaceUnlockError, GalleryChanged, GalleryError, UsageError
from device.gallery.forget import forget
from device.gallery.gallery import Gallery
from device.gallery.names import check_subject_id
from device.gallery.rows import Standing
from device.journal.trail import AuditTrail
from device.moment import in_local_time


class OpenGallery(Protocol):
    """Open the gallery of a door, of whichever model."""

    def __call__(self, *, read_only: bool) -> Gallery: ...


@dataclass(frozen=True, kw_only=True)
class Register:
    """The people of one gallery.

    Args:
        path: the gallery's file.
        open_audit: opens the audit log for one change.
        usage_of: what the door remembers of a profile, such as a guest's entries.
        ask: goes on where a person says yes to a question, else raises UsageError.
        bystand: lets the last moments run to their end, whatever signal comes.
    """

    path: Path
    output: Output
    open_gallery: OpenGallery
    open_audit: Callable[[], AuditTrail]
    usage_of: Callable[[Gallery, Profile], Usage]
    ask: Callable[[str], None]
    bystand: Callable[[], None]

    def list_all(self) -> None:
        """Print who is enrolled and what goes for them; an absent gallery holds nobody."""
        if not gallery_exists(self.path):
            self.output.say(f"nobody is enrolled: {self.path} does not exist yet", "list", subjects=[])
            return
        lines, fields = [], []
        with self.open_gallery(read_only=True) as gallery:
            challenged = {name for name, need in gallery.needs().items() if need.challenge}
            profiles = gallery.profiles()
            for subject in gallery.subjects():
                name, profile = subject.subject_id, profiles[subject.subject_id]
                notes = self.remarks_of(gallery, profile)
                rules = (
                    [] if profile.policy == Profile().policy and not notes else [rules_of(profile), *notes]
                )
                said = ["challenged: has a look-alike"] if name in challenged else []
                since = f"enrolled {in_local_time(subject.enrolled_at)}"
                head = ", ".join([counted(subject.template_count), since, *said])
                lines += [f"{name}: {head}", *(f"  {line}" for line in rules)]
                fields.append(
                    {
                        "subject_id": name,
                        "templates": subject.template_count,
                        "enrolled_at": subject.enrolled_at,
                        "challenged": name in challenged,
                        **told(profile),
                        "notes": notes,
                    }
                )
        self.output.say("\n".join(lines) or "nobody is enrolled", "list", subjects=fields)

    def show(self, text: str) -> None:
        """Print what is kept of a person, but the PIN."""
        name = check_subject_id(text)
        with self.open_gallery(read_only=True) as gallery:
            check_enrolled(gallery, name)
            profile = gallery.profile(name)
            notes = self.remarks_of(gallery, profile)
            (subject,) = (each for each in gallery.subjects() if each.subject_id == name)
        about = {"templates": subject.template_count, "enrolled_at": subject.enrolled_at}
        head = f"{name}: {counted(subject.template_count)}, enrolled {in_local_time(subject.enrolled_at)}"
        lines = [head, rules_of(profile), *notes]
        self.output.say("\n  ".join(lines), "show", subject_id=name, **about, **told(profile), notes=notes)

    def change(self, text: str, changes: Changes) -> None:
        """Change when an enrolled person may enter."""
        name = check_subject_id(text)
        if not gallery_exists(self.path):
            raise UsageError(f"{name!r} is not enrolled: {self.path} does not exist")
        self.forget_expired()
        with self.open_gallery(read_only=False) as gallery:
            check_enrolled(gallery, name)
            standing = gallery.standing(name)
            before = gallery.profile(name)
            check_own(before, name)
            profile = changes(before)
            self.bystand()

            def store(at_change: int) -> None:
                with self.recording("policy", subject=profile.alias):
                    gallery.set_profile(name, profile, at_change=at_change)

            store_as_it_stands(gallery, name, standing, store)
            notes = self.remarks_of(gallery, profile)
        different = differences(before, profile)
        said = [f"{key}: {now}, was {was}" for key, (was, now) in different.items()] or [
            "nothing is different"
        ]
        lines = [f"changed {name}: {'; '.join(said)}", f"now: {rules_of(profile)}", *notes]
        fields = {"different": list(different), **told(profile), "notes": notes}
        self.output.say("\n  ".join(lines), "changed", subject_id=name, **fields)

    def remove(self, text: str, *, sheet: Path | None, no_sheet: bool) -> None:
        """Delete a person's templates, and the contact sheet where enrollment put it."""
        name = check_subject_id(text)
        check_sheet(sheet)
        if not gallery_exists(self.path):
            raise UsageError(f"{name!r} is not enrolled: {self.path} does not exist")
        with self.open_gallery(read_only=False) as gallery:
            tell_sealed(gallery, self.output)
            gallery.scrub()  # what an earlier removal could not, because a program was reading
            check_enrolled(gallery, name)
            known = known_of(gallery, name)
            self.ask(f"remove {name}, {counted(known['templates'])}, for good?")
            self.bystand()
            with self.recording("removed", **known):
                receipt = forget(gallery, self.path, name)
        path = None if no_sheet else sheet or default_sheet(name)
        erased = path is not None and erase_sheet(path, self.output)
        head = f"removed {name}: {counted(receipt.templates)}{f', and {path}' if erased else ''}"
        self.output.say(
            "\n  ".join([head, *receipt.lines()]),
            "removed",
            subject_id=name,
            templates=receipt.templates,
            sheet=str(path) if erased else None,
            purged=list(receipt.purged),
            not_purged=list(receipt.left),
        )

    def forget_expired(self) -> None:
        """Forget those whose consent has ended, as --remove does."""
        if not gallery_exists(self.path) or not self.path.stat().st_size:
            return
        with self.open_gallery(read_only=False) as gallery:
            tell_sealed(gallery, self.output)
            for name in gallery.expired_subjects():
                with self.recording("expired", **known_of(gallery, name)):
                    receipt = forget(gallery, self.path, name)
                self.output.warn("\n  ".join([f"forgot {name}, whose consent expired", *receipt.lines()]))

    @contextmanager
    def recording(self, event: str, **fields: Any) -> Iterator[None]:
        """Write the audit record of a change, then let it happen; it happens too where the record cannot be written.

        So a power cut in between leaves a record too many, never a change without one; a fault says that it failed.
        """
        audit = self.open_audit()
        audit.tell = lambda written, cause: self.output.warn(f"warning: not in the audit log: {cause}")
        audit.record(event, **fields)
        try:
            yield
        except FaceUnlockError:
            audit.record("fault", subject=fields["subject"], reason=f"{event}_failed")
            raise

    def remarks_of(self, gallery: Gallery, profile: Profile) -> list[str]:
        """Say what of a person's rules is over, used up, or never or always true."""
        try:
            usage = self.usage_of(gallery, profile) if profile.policy.entries is not None else None
        except FaceUnlockError as fault:
            return [f"entries cannot be read: {fault}", *remarks(profile, None, datetime.now(timezone.utc))]
        return remarks(profile, usage, datetime.now(timezone.utc))


def gallery_exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise GalleryError(
            f"gallery {str(path)[:120]}: {error.strerror}: check the path and the rights"
        ) from error
    return True


def check_enrolled(gallery: Gallery, name: str) -> None:
    known = [subject.subject_id for subject in gallery.subjects()]
    if name not in known:
        raise UsageError(f"{name!r} is not enrolled: enrolled are {', '.join(known) or 'nobody'}"[:300])


def store_as_it_stands(gallery: Gallery, name: str, standing: Standing, store: Callable[[int], None]) -> None:
    """Store something of a subject that was checked against the gallery, and check anew where others change that.

    Args:
        standing: what was stored of the subject when it was asked for; where another program changed that, nothing is
            stored, and it is a GalleryChanged.
        store: checks and stores at a change of the gallery; a GalleryChanged calls it again, at the next one.
    """
    while True:
        at_change = gallery.change
        if gallery.standing(name) != standing:
            show = owner_command(f"show {shlex.quote(name)}")
            raise GalleryChanged(
                f"another program changed {name!r} meanwhile: nothing was stored: {show}, and try again"
            )
        with suppress(GalleryChanged):
            store(at_change)
            return


def check_own(profile: Profile, name: str) -> None:
    """Refuse to change who came from a keeper: the next push would undo it."""
    if profile.fleet_id is not None:
        raise UsageError(
            f"{name!r} came from the keeper of this fleet: change them there, or keep them out here: "
            f"face-unlock fleet switch-off {name}"
        )


def known_of(gallery: Gallery, name: str) -> dict[str, Any]:
    """Return what is recorded about an enrolled person."""
    (subject,) = (each for each in gallery.subjects() if each.subject_id == name)
    return {"subject": gallery.profile(name).alias, "templates": subject.template_count}


def tell_sealed(gallery: Gallery, output: Output) -> None:
    """Tell that a gallery of an older release was sealed when it was opened."""
    if gallery.newly_sealed:
        output.warn(
            f"note: the gallery was of an older release: its {counted(gallery.newly_sealed)} are sealed now; "
            "copies made before hold them in the clear: delete those"
        )
