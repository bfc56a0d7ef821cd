"""Encrypted backups of the gallery.

    python scripts/backup.py create FILE       asks for a passphrase; --no-passphrase: only this gallery's key opens it
    python scripts/backup.py restore FILE      in place of what is enrolled; who was removed since stays removed
    python scripts/backup.py purge FILE NAME   takes a person out of a backup that was not here when they were removed

`restore` sets a gallery that is refused aside as gallery.db.refused, and never writes into it. Where its key is bound
to another board, all that was made with that key goes along, and this board gets a key of its own.

A backup that was made here is remembered, and `enroll.py --remove` takes the person out of it too. `restore` also takes
an older copy of the gallery's own file, beside its key. --config and --gallery as for enroll.py.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.build import audit_head, build_audit, build_keys, open_any_gallery, outside_audit_path
from device.config import Config
from device.errors import GalleryBoardError, GalleryError, UsageError
from device.gallery import backup
from device.gallery.dump import Dump
from device.gallery.gallery import Gallery
from device.gallery.seal import generation_path
from device.journal.audit import full_files
from device.moment import in_local_time
from device.programs import (
    Parser,
    ask_secret,
    ask_yes,
    configured,
    ignore_stop_signals,
    run,
    stop_signals_raise,
)
from device.vault.anchor import anchor_path
from device.vault.kept import NAMES
from device.vault.sealing import Sealer

# What each command takes beside the file, --gallery and --config, by `dest`.
TAKEN: dict[str, set[str]] = {
    "create": {"passphrase_file", "no_passphrase"},
    "restore": {"passphrase_file", "no_passphrase", "yes"},
    "purge": {"name"},
}
NAMED = 10  # of those who would be lost; the rest is counted
SQLITE = b"SQLite format 3\0"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    return run("backup", lambda: act(parse(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="backup.py", description="Encrypted backups of the gallery.")
    purposes = (
        "create: write a backup; restore: put one in place of what is enrolled, asking first where somebody would be "
        "lost; purge: take a person out of a backup that was not here when they were removed"
    )
    parser.add_argument("command", choices=TAKEN, help=purposes)
    parser.add_argument("file", type=Path, help="the backup")
    parser.add_argument("name", nargs="?", help="purge: whom to take out")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--passphrase-file", type=Path, metavar="FILE", help="its first line is the passphrase")
    how.add_argument("--no-passphrase", action="store_true", help="the gallery's own key alone")
    parser.share("--yes", "--gallery", "--config")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line()
    args = parser.parse_args(arguments)
    common = {"command", "file", "gallery", "config"}
    parser.refuse_others(args, args.command, common | TAKEN[args.command])
    if args.command == "purge" and args.name is None:
        parser.error("purge: expected FILE NAME, received no name")
    return args


def act(args: argparse.Namespace) -> int:
    config = configured(args)
    if args.command == "create":
        create(config, args.file, passphrase_of(args, twice=True))
    elif args.command == "restore":
        restore(config, args.file, args)
    else:
        purge(config, args.file, args.name)
    return 0


def create(config: Config, file: Path, passphrase: str | None) -> None:
    """Write a backup, and remember where it is."""
    with open_any_gallery(config, read_only=False) as gallery:
        dump = gallery.dump()
        backup.create(file, dump, gallery.seal.sealer, passphrase)
        remember(gallery, file, dump)
    count = len(dump["tables"]["templates"])
    build_audit(config, demo=False).record("backed_up", templates=count)
    print(f"{file}: {count} templates of {len(dump['tables']['subjects'])} subjects")


def restore(config: Config, file: Path, args: argparse.Namespace) -> None:
    """Put a backup in the place of what is enrolled; a board without a gallery gets one, and a key."""
    dump = copy_of_gallery(config, file) if is_gallery(file) else read(config, file, args)
    set_aside(config.gallery_path, config)
    with stop_signals_raise(), open_any_gallery(config, read_only=False) as gallery:
        if not args.yes:
            ask_for_whom_it_lacks(gallery, dump, file)
        ignore_stop_signals()
        kept = keep(config.gallery_path, gallery)
        left_out = gallery.restore(dump)
        count = gallery.count()
    build_audit(config, demo=False).record("restored", templates=count)
    print(f"restored {count} templates, as of {in_local_time(dump['created_at'])}")
    if kept is not None:
        print(f"what was there before: {kept} (restore it with --no-passphrase, or delete it)")
    if left_out:
        print(f"left out, because they were removed since: {len(left_out)}")


def ask_for_whom_it_lacks(gallery: Gallery, dump: Dump, file: Path) -> None:
    """Name who is enrolled and not in a backup, and ask whether they are to be lost."""
    there = {row["subject_id"] for row in dump["tables"]["subjects"]}
    lost = [each.subject_id for each in gallery.subjects() if each.subject_id not in there]
    if lost:
        named = ", ".join(lost[:NAMED]) + (f" and {len(lost) - NAMED} more" if len(lost) > NAMED else "")
        ask_yes(f"{file} is without {named}, who would be lost: restore it?")


def keep(path: Path, gallery: Gallery) -> Path | None:
    """Back up what a restore takes the place of, and remember the file, so that `--remove` purges it too."""
    if not gallery.subjects():
        return None
    kept = free_name(path.with_name(f"{path.name}.before-restore"))
    dump = gallery.dump()
    backup.create(kept, dump, gallery.seal.sealer, None)
    remember(gallery, kept, dump)
    return kept


def remember(gallery: Gallery, file: Path, dump: Dump) -> None:
    """Remember where a backup is, and take out of it who was removed while it was written: nobody else would."""
    gallery.add_backup(str(file.absolute()))
    there = {each.subject_id for each in gallery.subjects()}
    for row in dump["tables"]["subjects"]:
        if row["subject_id"] not in there:
            backup.purge(file, row["subject_id"], gallery.seal.sealer)


def free_name(path: Path) -> Path:
    """Return a name that no file has: the path, or with a number behind it."""
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())


def read(config: Config, file: Path, args: argparse.Namespace) -> Dump:
    """Open a backup before anything is changed."""
    passphrase = passphrase_of(args, twice=False)
    ring = build_keys(config).read() if passphrase is None else None
    return backup.read(file, Sealer(ring.keys, "gallery") if ring is not None else None, passphrase)


def set_aside(path: Path, config: Config) -> None:
    """Move a gallery that is refused out of the way; a whole one stays, and knows who was removed."""
    error = refusal_of_key(config) or (refusal_of_gallery(config) if path.exists() else None)
    if error is None:
        return
    print(f"backup: the gallery of now is set aside as {path}.refused: {error}", file=sys.stderr)
    files = files_of_key(config) if isinstance(error, GalleryBoardError) else []
    for file in [path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")), *files]:
        if file.exists():
            file.replace(refused(file, config))


def refusal_of_key(config: Config) -> GalleryBoardError | None:
    """Return why the key is of no use here, where it is bound to another board."""
    try:
        build_keys(config).read()
    except GalleryBoardError as error:
        return error
    except GalleryError:
        return None  # named with the gallery, or by whoever opens the new one
    return None


def refusal_of_gallery(config: Config) -> GalleryError | None:
    """Return why the gallery is refused, None for a whole one."""
    try:
        with open_any_gallery(config, read_only=False):
            return None
    except GalleryError as error:
        return error


def files_of_key(config: Config) -> list[Path]:
    """List what opens with the key of now alone: of no use beside a new one."""
    keys, path = build_keys(config), config.gallery_path
    generation = generation_path(path, keys)
    counts = [path.with_name(f"{path.name}.{name}") for name in NAMES]
    own = [] if keys.is_credential else [keys.path]
    logs = [
        file
        for audit in (config.audit_path, outside_audit_path(config))
        for file in (audit, audit_head(config, keys, audit), *full_files(audit))
    ]
    return [generation, anchor_path(generation), *counts, *logs, *own]


def refused(file: Path, config: Config) -> Path:
    """Name a file that is set aside: after its stem, so that its log and its numbers go on belonging to it."""
    for stem in (config.gallery_path, config.audit_path):
        if file.name.startswith(stem.name):
            return file.with_name(f"{stem.name}.refused{file.name.removeprefix(stem.name)}")
    return file.with_name(f"{file.name}.refused")


def purge(config: Config, file: Path, name: str) -> None:
    with open_any_gallery(config, read_only=True) as gallery:
        done = backup.purge(file, name, gallery.seal.sealer)
    print(f"{file}: {'purged' if done else 'nothing in it'} of {name}")


def is_gallery(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(SQLITE)) == SQLITE
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}: check the name") from None


def copy_of_gallery(config: Config, file: Path) -> Dump:
    """Read an older copy of the gallery's file, whole and sealed with the key that is here, whatever its number."""
    with tempfile.TemporaryDirectory(prefix="face-unlock-") as folder:
        copy = Path(shutil.copyfile(file, Path(folder) / "gallery.db"))  # opening adds files beside it
        keys = build_keys(config)
        with Gallery(
            copy, model_id=None, dimension=1, read_only=True, keys=keys, any_generation=True
        ) as gallery:
            return gallery.dump()


def passphrase_of(args: argparse.Namespace, *, twice: bool) -> str | None:
    """Return the passphrase of the file or the terminal, None for the gallery's own key."""
    if args.no_passphrase:
        return None
    if args.passphrase_file is not None:
        try:
            return args.passphrase_file.read_text(encoding="utf-8").splitlines()[0]
        except (OSError, ValueError, IndexError):
            raise UsageError(
                f"--passphrase-file {args.passphrase_file}: expected a text file with a passphrase in its first line"
            ) from None
    return ask_secret("passphrase", twice=twice, instead="--passphrase-file")


if __name__ == "__main__":
    sys.exit(main())
