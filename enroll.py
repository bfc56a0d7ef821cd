"""Enroll a person: store templates of the face in the gallery, never a picture.

    python enroll.py --name alice                       at the camera, guided
    python enroll.py --name alice --images a.jpg b.jpg  from photographs
    python enroll.py --check alice                      do the stored templates still serve? changes nothing
    python enroll.py --list
    python enroll.py --name alice --hours "Mon-Fri 08:00-18:00" --until 2027-01-31 --pin
    python enroll.py --change alice --access disabled
    python enroll.py --show alice
    python enroll.py --remove alice

Exit codes stand in device/errors.py; --check ends with 1 where the templates do not serve; an enrollment that SIGTERM
interrupts stores nothing and exits with 143.
"""

from __future__ import annotations

import os
import signal
import sys

from device.programs import guard_start

if __name__ == "__main__":
    guard_start("enroll")

import argparse
import getpass
import io
import json
import stat
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

# Before cv2 is loaded, which reads it once: a "photograph" that unpacks to gigabytes must not fill a board's memory.
MAX_IMAGE_PIXELS = 64_000_000
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))

import cv2
import numpy as np
import numpy.typing as npt

from device.access.profile import Profile
from device.build import (
    SAME_PERSON_FMR,
    build_audit,
    build_camera,
    build_collector,
    build_embedder,
    build_gallery,
    build_keys,
    look_alike_margin,
    open_any_gallery,
    threshold_for,
)
from device.config import Config, load_config
from device.enroll.collector import Check, Collector, check_looks, contact_sheet
from device.enroll.rules import add_policy_options, changed, told
from device.errors import EnrollmentError, FaceUnlockError, GalleryError, UsageError
from device.gallery.forget import forget
from device.gallery.gallery import Gallery, check_subject_id
from device.gallery.lookalike import LookAlike, look_alikes
from device.numeric.similarity import cosine_matrix
from device.types import Image
from device.vault.keys import bond_text
from device.vision.embed import LiteRTEmbedder, Manifest

MAX_FILE_BYTES = 64_000_000
MAX_SIDE_PX = 2048  # a larger photograph is scaled down: a face needs no more
MAX_SAMPLES = 50
SUFFIXES = "a photograph such as .jpg, .png or .webp"
SHEET_TITLE = b"tEXtTitle\0face-unlock contact sheet"  # a PNG's text chunk
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Output:
    """What enroll.py says: lines for a person, or JSON objects, one a line; live hints go to stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._last_hint = ""

    def say(self, text: str, event: str, **fields: Any) -> None:
        """Print one result to stdout."""
        print(json.dumps({"event": event, **fields}) if self._as_json else text, flush=True)

    def warn(self, text: str) -> None:
        """Print one line to stderr, past the bar."""
        tqdm.write(text, file=sys.stderr)

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int, str], None]]:
        """Yield what shows the number of samples and the hint; a log file gets a line for each new hint."""
        live = sys.stderr.isatty()
        with tqdm(total=total, unit="sample", file=sys.stderr, disable=not live, leave=False) as bar:

            def show(count: int, hint: str) -> None:
                bar.update(count - bar.n)
                bar.set_postfix_str(hint)
                line = f"{count}/{total}{': ' if hint else ''}{hint}"
                if not live and line != self._last_hint:
                    print(line, file=sys.stderr, flush=True)
                self._last_hint = line

            yield show


def main(arguments: list[str] | None = None) -> int:
    """Enroll, check, list or remove, and return the exit code."""
    args = parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter of somebody's name
    try:
        with stop_signals_raise():
            config = load_config(args.config)
            config = replace(config, gallery=args.gallery) if args.gallery else config
            config = replace(config, model=args.model) if args.model is not None else config
            output = Output(args.json)
            if args.list:
                list_subjects(config, output)
            elif args.show is not None:
                show_subject(config, args.show, output)
            elif args.change is not None:
                change_subject(args, config, output)
            elif args.remove is not None:
                remove_subject(config, args.remove, args.sheet, output)
            elif args.check is not None:
                return check(args, config, output)
            else:
                enroll(args, config, output)
            return 0
    except FaceUnlockError as error:
        print(f"enroll: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("enroll: interrupted: nothing was changed", file=sys.stderr)
        return 130


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="enroll.py", description="Enroll a person for the door.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--name", help="enroll this person; once more adds templates")
    what.add_argument("--check", metavar="NAME", help="say whether a person's templates still serve")
    what.add_argument("--change", metavar="NAME", help="change who may enter when, without a camera")
    what.add_argument("--show", metavar="NAME", help="print what is kept of a person")
    what.add_argument("--list", action="store_true", help="list who is enrolled")
    what.add_argument("--remove", metavar="NAME", help="delete a person's templates for good")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--camera", metavar="SRC", help="auto, picamera2, an index, a device, a clip or rtsp://"
    )
    source.add_argument(
        "--images", nargs="+", type=Path, metavar="FILE", help="photographs instead of a camera"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="good samples to collect; photographs: at most"
    )
    parser.add_argument("--replace", action="store_true", help="drop the templates that the person had")
    parser.add_argument(
        "--allow-lookalike",
        action="store_true",
        help="enroll somebody whom no threshold parts from another; the door then challenges both",
    )
    parser.add_argument("--sheet", type=Path, metavar="PATH", help="contact sheet (default enroll-NAME.png)")
    parser.add_argument("--no-sheet", action="store_true", help="write no contact sheet")
    parser.add_argument("--gallery", metavar="PATH", help="file of the enrolled templates")
    parser.add_argument("--model", metavar="NAME", help="network of the embeddings: a name or a manifest")
    parser.add_argument("--config", type=Path, metavar="PATH", help="TOML file (docs/owner/tune.md)")
    parser.add_argument("--json", action="store_true", help="results as JSON, one object a line")
    add_policy_options(parser)
    return parser.parse_args(arguments)


def enroll(args: argparse.Namespace, config: Config, output: Output) -> None:
    """Collect samples of one person, check them against the gallery and store them."""
    name, samples = check_subject_id(args.name), wanted_samples(args, config)
    sheet = None if args.no_sheet else args.sheet or default_sheet(name)
    embedder = build_embedder(config)
    forget_who_is_over(config, output)
    # The gallery before the camera: who stood still for a minute should not hear then that it cannot be written.
    with build_gallery(config, embedder, read_only=False) as gallery:
        tell_sealed(gallery, output)
        tell_bond(gallery, config, output)
        check_writable(config.gallery_path)
        profile = profile_of(gallery, name, args)
        check_sheet(sheet)  # the gallery's own files exist by now
        known = gallery.templates(name)[: 0 if args.replace else None]
        collector = collect(args, config, embedder, known, samples, output)
        check_same_person(name, collector, known, embedder.manifest.threshold(SAME_PERSON_FMR))
        templates = np.concatenate([known, collector.templates()])
        alike = compare_with_everybody(name, templates, gallery, config, embedder.manifest)
        check_look_alikes(name, alike, args.allow_lookalike)
        ignore_stop_signals()
        with recording(config, output, "enrolled", subject=profile.alias, templates=len(collector.samples)):
            gallery.enroll(
                name, collector.templates(), replace=args.replace, look_alikes=alike, profile=profile
            )
        shortfall = threshold_for(config, embedder.manifest, gallery.count()).shortfall
    finish(sheet, name, [each for each in alike if not each.is_parted], collector, output)
    if shortfall:
        output.warn(f"note: {shortfall} (docs/how/security.md)")


def check(args: argparse.Namespace, config: Config, output: Output) -> int:
    """Compare new looks of a person with the stored templates, print the verdict, and change nothing."""
    name, samples = check_subject_id(args.check), wanted_samples(args, config)
    embedder = build_embedder(config)
    with build_gallery(config, embedder, read_only=True) as gallery:
        known = [subject.subject_id for subject in gallery.subjects()]
        if name not in known:
            raise UsageError(f"{name!r} is not enrolled: enrolled are {', '.join(known) or 'nobody'}"[:300])
        nobody = gallery.templates(name)[:0]  # what is nearly the same as a template is welcome here
        collector = collect(args, config, embedder, nobody, samples, output)
        # As the door sees them: one look, without the mirror image that a template has in it.
        looks = np.stack([embedder.embed(sample.face) for sample in collector.samples])
        matches = [match for match in map(gallery.match, looks) if match]
        own = (looks @ gallery.templates(name).T).max(axis=1)
    found = check_looks(name, own, matches, k=config.decision.k, n=config.decision.n)
    tell_check(name, found, output)
    return 0 if found.serves else 1


def tell_check(name: str, found: Check, output: Output) -> None:
    """Print a verdict with its numbers: to the owner at this terminal, never to the status log."""
    similar = f"similarity {found.lowest:.2f} to {found.highest:.2f}, needed {found.threshold:.2f}"
    if found.serves:
        verdict = "the templates serve"
    elif found.taken_for is not None:
        verdict = f"the templates do not serve: the door takes this face for {found.taken_for!r}"
    else:
        verdict = f"the templates do not serve: enroll again with --name {name!r} --replace"
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


def wanted_samples(args: argparse.Namespace, config: Config) -> int:
    """Return how many samples to collect: as asked, else as configured, or of photographs all."""
    if args.samples is not None and not 1 <= args.samples <= MAX_SAMPLES:
        raise UsageError(f"--samples: expected 1 to {MAX_SAMPLES}, received {args.samples}")
    usual = min(len(args.images), MAX_SAMPLES) if args.images else config.enrollment.samples
    return args.samples or usual


def collect(
    args: argparse.Namespace,
    config: Config,
    embedder: LiteRTEmbedder,
    known: npt.NDArray[np.float32],
    samples: int,
    output: Output,
) -> Collector:
    """Take samples from the photographs or at the camera, none nearly the same as a known template."""
    collector = build_collector(config, embedder, samples=samples, guided=not args.images)
    collector.remember(known)
    with closing(collector):
        if args.images:
            look_at(args.images, collector, samples, output)
        else:
            watch_camera(args.camera, config, collector, samples, output)
    return collector


def look_at(paths: list[Path], collector: Collector, samples: int, output: Output) -> None:
    """Take every usable photograph; name those that are not, and fail when none is."""
    with output.progress(samples) as show:
        for path in paths:
            # After the last sample too: a bad file is named before anything is stored.
            image = read_image(path)
            if collector.is_complete:
                continue
            verdict = collector.offer(image)
            show(len(collector.samples), "")
            if not verdict.accepted:
                output.warn(f"{path}: not used: {verdict.hint}")
    if not collector.samples:
        raise EnrollmentError(
            f"none of {len(paths)} photographs can be used ({collector.most_common_failure}): nothing was stored: "
            "take others"
        )


def watch_camera(
    source: str | None, config: Config, collector: Collector, samples: int, output: Output
) -> None:
    """Guide the person before the camera until the samples are complete."""
    if source is not None:
        config = replace(config, camera=replace(config.camera, source=source))
    until_s = time.monotonic() + config.enrollment.timeout_s
    with closing(build_camera(config)) as camera, output.progress(samples) as show:
        show(0, "look straight")
        for frame in camera.frames():
            verdict = collector.offer(frame.image)
            show(len(collector.samples), verdict.hint)
            if collector.is_complete or time.monotonic() > until_s:
                break
    if not collector.is_complete:
        raise EnrollmentError(
            f"{len(collector.samples)} of {samples} samples collected "
            f"({collector.most_common_failure or 'no frames'}): nothing was stored: try again in better light, "
            "or with fewer --samples"
        )


def check_same_person(
    name: str, collector: Collector, known: npt.NDArray[np.float32], threshold: float
) -> None:
    """Refuse to add a stranger's face to an enrolled name: it would open the door in that name."""
    if len(known) and not (cosine_matrix(known, collector.templates()) >= threshold).any():
        raise EnrollmentError(
            f"this is not the face that is enrolled as {name!r}: nothing was stored: choose another --name, "
            "or --replace"
        )


def compare_with_everybody(
    name: str, templates: npt.NDArray[np.float32], gallery: Gallery, config: Config, manifest: Manifest
) -> list[LookAlike]:
    """Return the enrolled people whom the door could take the newcomer for."""
    others = {other: theirs for other, theirs in gallery.everybody().items() if other != name}
    count = len(templates) + sum(map(len, others.values()))
    return look_alikes(
        templates,
        others,
        threshold=threshold_for(config, manifest, count).threshold,
        floor=manifest.threshold(max(manifest.thresholds)),
        margin=look_alike_margin(manifest),
    )


def check_look_alikes(name: str, alike: list[LookAlike], allowed: bool) -> None:
    """Refuse somebody whom no threshold parts from another, unless that was asked for."""
    unsafe = [each.subject_id for each in alike if not each.is_safe]
    if unsafe and not allowed:
        raise EnrollmentError(
            f"{name!r} looks like {unsafe[0]!r}, who is enrolled, and no threshold parts them: nothing was stored: "
            "try more different --samples of both, or take --allow-lookalike, which challenges both at the door"
        )


def finish(
    sheet: Path | None, name: str, alike: list[LookAlike], collector: Collector, output: Output
) -> None:
    """Tell what was stored, warn of look-alikes, and write the contact sheet."""
    for each in alike:
        output.warn(
            f"warning: {name!r} looks like {each.subject_id!r}, who is enrolled: the door "
            + ("asks more of both" if each.is_safe else "may take one for the other, and challenges both")
        )
    sheet = write_sheet(sheet, collector, output) if sheet else None
    count = len(collector.samples)
    where = f"; contact sheet {sheet} (private to you; delete it once you have looked)" if sheet else ""
    output.say(
        f"enrolled {name}: {counted(count)}, no picture in the gallery{where}",
        "enrolled",
        subject_id=name,
        templates=count,
        looks_like=[each.subject_id for each in alike],
        challenged=not all(each.is_safe for each in alike),
        sheet=str(sheet) if sheet else None,
    )


def list_subjects(config: Config, output: Output) -> None:
    """Print who is enrolled; an absent gallery holds nobody."""
    if not gallery_exists(config.gallery_path):
        output.say(f"nobody is enrolled: {config.gallery_path} does not exist yet", "list", subjects=[])
        return
    with open_any_gallery(config, read_only=True) as gallery:
        subjects, needs = gallery.subjects(), gallery.needs()
        challenged = {name for name, need in needs.items() if need.challenge}
    lines, fields = [], []
    for s in subjects:
        said = ", challenged: has a look-alike" if s.subject_id in challenged else ""
        lines.append(f"{s.subject_id}: {counted(s.template_count)}, enrolled {s.enrolled_at}{said}")
        about = {"subject_id": s.subject_id, "templates": s.template_count, "enrolled_at": s.enrolled_at}
        fields.append({**about, "challenged": s.subject_id in challenged})
    output.say("\n".join(lines) or "nobody is enrolled", "list", subjects=fields)


def remove_subject(config: Config, text: str, sheet: Path | None, output: Output) -> None:
    """Delete a person's templates, and the contact sheet where enrollment put it."""
    name = check_subject_id(text)
    check_sheet(sheet)
    if not gallery_exists(config.gallery_path):
        raise UsageError(f"{name!r} is not enrolled: {config.gallery_path} does not exist")
    with open_any_gallery(config, read_only=False) as gallery:
        tell_sealed(gallery, output)
        gallery.scrub()  # what an earlier removal could not, because a program was reading
        check_enrolled(gallery, name)
        ignore_stop_signals()
        with recording(config, output, "removed", **known_of(gallery, name)):
            receipt = forget(gallery, config.gallery_path, name)
    path = sheet or default_sheet(name)
    erased = erase_sheet(path, output)
    head = f"removed {name}: {counted(receipt.templates)}{f', and {path}' if erased else ''}"
    output.say(
        "\n  ".join([head, *receipt.lines()]),
        "removed",
        subject_id=name,
        templates=receipt.templates,
        sheet=str(path) if erased else None,
        purged=list(receipt.purged),
        not_purged=list(receipt.left),
    )


def forget_who_is_over(config: Config, output: Output) -> None:
    """Forget those whose consent has ended, as --remove does."""
    if not gallery_exists(config.gallery_path) or not config.gallery_path.stat().st_size:
        return
    with open_any_gallery(config, read_only=False) as gallery:
        tell_sealed(gallery, output)
        for name in gallery.expired_subjects():
            with recording(config, output, "expired", **known_of(gallery, name)):
                receipt = forget(gallery, config.gallery_path, name)
            output.warn("\n  ".join([f"forgot {name}, whose time is over", *receipt.lines()]))


def change_subject(args: argparse.Namespace, config: Config, output: Output) -> None:
    """Change when an enrolled person may enter."""
    name = check_subject_id(args.change)
    if not gallery_exists(config.gallery_path):
        raise UsageError(f"{name!r} is not enrolled: {config.gallery_path} does not exist")
    forget_who_is_over(config, output)
    with open_any_gallery(config, read_only=False) as gallery:
        check_enrolled(gallery, name)
        profile = profile_of(gallery, name, args)
        with recording(config, output, "policy", subject=profile.alias):
            gallery.set_profile(name, profile)
    output.say(f"changed {name}: {rules_of(profile)}", "changed", subject_id=name, **told(profile))


def show_subject(config: Config, text: str, output: Output) -> None:
    """Print what is kept of a person, but the PIN."""
    name = check_subject_id(text)
    with open_any_gallery(config, read_only=True) as gallery:
        check_enrolled(gallery, name)
        profile = gallery.profile(name)
        (subject,) = (each for each in gallery.subjects() if each.subject_id == name)
    about = {"templates": subject.template_count, "enrolled_at": subject.enrolled_at}
    head = f"{name}: {counted(subject.template_count)}, enrolled {subject.enrolled_at}"
    output.say(f"{head}\n  {rules_of(profile)}", "show", subject_id=name, **about, **told(profile))


def rules_of(profile: Profile) -> str:
    """Say a profile in one line."""
    rules = {key.replace("_", " "): value for key, value in told(profile).items()}
    return ", ".join(
        key if value is True else f"{key} {value}"
        for key, value in rules.items()
        if value not in (None, False)
    )


def check_enrolled(gallery: Gallery, name: str) -> None:
    known = [subject.subject_id for subject in gallery.subjects()]
    if name not in known:
        raise UsageError(f"{name!r} is not enrolled: enrolled are {', '.join(known) or 'nobody'}"[:300])


def profile_of(gallery: Gallery, name: str, args: argparse.Namespace) -> Profile:
    """Return the person's profile with what the flags set, a new one for a newcomer."""
    known = {subject.subject_id for subject in gallery.subjects()}
    profile = gallery.profile(name) if name in known else Profile()
    return changed(args, profile, datetime.now(timezone.utc), ask_pin)


def ask_pin(what: str) -> str:
    """Read a PIN: twice at a terminal, unseen, else one line of stdin."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    first, second = getpass.getpass(f"{what}: "), getpass.getpass(f"{what} again: ")
    if first != second:
        raise UsageError(f"{what}: expected the same digits twice, received others: try again")
    return first


def known_of(gallery: Gallery, name: str) -> dict[str, Any]:
    """Return what a record says of an enrolled person."""
    (subject,) = (each for each in gallery.subjects() if each.subject_id == name)
    return {"subject": gallery.profile(name).alias, "templates": subject.template_count}


@contextmanager
def recording(config: Config, output: Output, event: str, **fields: Any) -> Iterator[None]:
    """Write the audit record of a change, then let it happen; it happens too where the record cannot be written.

    So a power cut in between leaves a record too many, never a change without one; a fault says that it failed.
    """
    audit = build_audit(config, demo=False)
    audit.tell = lambda written, cause: output.warn(f"warning: not in the audit log: {cause}")
    audit.record(event, **fields)
    try:
        yield
    except FaceUnlockError:
        audit.record("fault", subject=fields["subject"], reason=f"{event}_failed")
        raise


def tell_sealed(gallery: Gallery, output: Output) -> None:
    if gallery.newly_sealed:
        output.warn(
            f"note: the gallery was of an older release: its {counted(gallery.newly_sealed)} are sealed now; "
            "copies made before hold them in the clear: delete those"
        )


def tell_bond(gallery: Gallery, config: Config, output: Output) -> None:
    """Say at the first enrollment what a copy of the card is worth, and what a dead board costs."""
    if not gallery.subjects():
        output.warn(f"note: {bond_text(gallery.seal.ring, build_keys(config))}")


def read_image(path: Path) -> Image:
    """Read a photograph, upright, as (H, W, 3) uint8 RGB of at most MAX_SIDE_PX; anything else is a UsageError."""
    try:
        size = path.stat().st_size if path.is_file() else -1
        if size < 0:
            raise UsageError(
                f"{path}: expected {SUFFIXES}, received {'a folder' if path.is_dir() else 'no such file'}"
            )
        if size == 0:
            raise UsageError(f"{path}: the file is empty: expected {SUFFIXES}")
        if size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: {size:,} bytes, expected at most {MAX_FILE_BYTES:,}: scale it down")
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UsageError(f"{str(path)[:120]}: {error.strerror or error}: expected {SUFFIXES}") from error
    return shrink(decode(path, data))


def decode(path: Path, data: Any) -> Image:
    """Decode the bytes of a photograph."""
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise UsageError(
                f"{path}: more than {MAX_IMAGE_PIXELS // 1_000_000} million pixels: scale it down"
            ) from error
        image = None
    if image is None:
        raise UsageError(f"{path}: the content is no picture that can be read: expected {SUFFIXES}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def shrink(image: Image) -> Image:
    """Scale an image down to MAX_SIDE_PX."""
    factor = MAX_SIDE_PX / max(image.shape[:2])
    if factor >= 1:
        return image
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


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


def check_writable(path: Path) -> None:
    """Fail before anybody stands before the camera when the gallery cannot be written."""
    if not (os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK)):
        raise GalleryError(
            f"gallery {path} is read-only: allow writing to the file and its folder; nothing was changed"
        )


def counted(templates: int) -> str:
    return f"{templates} template{'' if templates == 1 else 's'}"


def default_sheet(name: str) -> Path:
    return Path(f"enroll-{name}.png")


def check_sheet(path: Path | None) -> None:
    """Refuse a path where anything but a contact sheet lies: it would be written over, or deleted."""
    if path is not None and os.path.lexists(path) and not is_sheet(path):
        raise UsageError(
            f"--sheet {path}: expected a new file or a contact sheet, received another: name another path"
        )


def is_sheet(path: Path) -> bool:
    """Say whether a file is a contact sheet of this program."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # a link's target, a folder, a pipe
            return False
        with path.open("rb") as file:
            return SHEET_TITLE in file.read(100)
    except OSError:
        return False


def write_sheet(path: Path, collector: Collector, output: Output) -> Path | None:
    """Write the faces that became templates, readable by the owner only; an enrollment does not fail over it."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".enroll-") as folder:
            draft = Path(folder) / "sheet.png"
            draft.write_bytes(encode_sheet(contact_sheet(collector.samples)))
            draft.chmod(0o600)
            draft.replace(path)
    except OSError as error:
        output.warn(f"warning: no contact sheet: {path}: {error.strerror}: choose --sheet PATH or --no-sheet")
        return None
    return path


def encode_sheet(image: Image) -> bytes:
    """Encode an (H, W, 3) uint8 RGB image as PNG with the title that tells a contact sheet from other files."""
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    size, check = (
        len(SHEET_TITLE) - 4,
        zlib.crc32(SHEET_TITLE),
    )  # the size is that of the text, without "tEXt"
    return png[:33] + struct.pack(">I", size) + SHEET_TITLE + struct.pack(">I", check) + png[33:]


def erase_sheet(path: Path, output: Output) -> bool:
    """Delete a contact sheet, if there is one, and say whether that was done."""
    if not is_sheet(path):
        return False
    try:
        path.unlink()
    except OSError as error:
        output.warn(f"warning: {path} is still there: {error.strerror}: delete it")
        return False
    return True


@contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP unwind the program, so that camera and gallery are closed.

    The exit code of the last two is 128 + n. What is ignored already (nohup) stays so.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    try:
        for each in STOP_SIGNALS:
            if before[each] is not signal.SIG_IGN:
                signal.signal(each, stop)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def ignore_stop_signals() -> None:
    """Let the last moments run to their end: what is stored is then told as stored."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
