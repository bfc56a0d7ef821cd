"""Care for the key of the gallery.

    python scripts/gallery_keys.py show                    where the key is, what it seals, and whether all is whole
    python scripts/gallery_keys.py seal                    make a key, or bring a gallery of an older release up to date
    python scripts/gallery_keys.py rotate                  seal everything with a new key, forget the old one
    python scripts/gallery_keys.py bind                    the same, with a key that opens on this board only
    python scripts/gallery_keys.py unbind                  the same, with a key that opens on any board
    python scripts/gallery_keys.py accept                  take gallery, audit and counts as they are now
    python scripts/gallery_keys.py extend --output FILE    for systemd credentials: the keys and a new one
    python scripts/gallery_keys.py retire --output FILE    for systemd credentials: the newest key alone

--config and --gallery as for enroll.py. Exit code 5 where the gallery or its key is wrong; nothing is changed then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.build import build_audit, build_kept, build_keys, open_any_gallery, open_audit, open_outside_audit
from device.config import Config
from device.errors import FaceUnlockError, GalleryKeyError, UsageError
from device.gallery.backup import rewrap
from device.gallery.gallery import Gallery
from device.gallery.seal import generation_path
from device.programs import Parser, check_told, configured, run
from device.vault.anchor import Anchor, anchor_path
from device.vault.board import Identity
from device.vault.files import add_private
from device.vault.kept import NAMES, KeptFile, KeptLost
from device.vault.keys import KeyRing, KeyStore, bond_text, format_ring
from device.vault.sealing import Sealer


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    return run(
        "gallery_keys", lambda: act(parse(arguments)), interrupted="interrupted: the next call goes on"
    )


def command_line() -> Parser:
    parser = Parser(prog="gallery_keys.py", description="Care for the key of the gallery.")
    purposes = "; ".join(f"{name}: {purpose}" for name, (purpose, _) in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, help=purposes)
    parser.add_argument("--output", type=Path, metavar="FILE", help="extend, retire: a new file for the keys")
    parser.share("--gallery", "--config")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line()
    args = parser.parse_args(arguments)
    takes = {"output"} if COMMANDS[args.command][1] is None else set()
    parser.refuse_others(args, args.command, {"command", "gallery", "config", *takes})
    if takes and args.output is None:
        parser.error(f"{args.command}: expected --output FILE, received none")
    return args


def act(args: argparse.Namespace) -> int:
    config, (_, command) = configured(args), COMMANDS[args.command]
    if command is None:
        export(config, args.command, args.output)
    else:
        command(config)
    if args.command == "show":
        check_told()
    return 0


def show(config: Config) -> None:
    """Say where the key is and what it seals; the key itself is never printed."""
    keys = build_keys(config)
    ring = ring_of(keys)
    with open_any_gallery(config, read_only=True) as gallery:
        state = gallery.state()
        print(
            f"{keys}: key {ring.newest} seals, {len(ring.keys)} open, {len(ring.retired_audit_keys)} retired"
        )
        print(bond_text(ring, keys))
        print(f"gallery {config.gallery_path}: whole, change {state.generation}, {gallery.count()} templates")
    for backup in state.backups:
        print(f"backup {backup}{'' if Path(backup).exists() else ' (not here now)'}")


def seal(config: Config) -> None:
    """Seal what is in the clear, and leave nothing of it in the files; without a gallery make its key."""
    if not config.gallery_path.exists():
        keys = build_keys(config)
        known = keys.read() is not None
        print(
            f"{keys}: {'there already' if known or not keys.create() else 'made, readable by its owner only'}"
        )
        print(bond_text(ring_of(keys), keys))
        return
    with open_any_gallery(config, read_only=False) as gallery:
        gallery.scrub()
        print(f"{gallery.newly_sealed} templates sealed now" if gallery.newly_sealed else "sealed already")
    if gallery.newly_sealed:
        build_audit(config, demo=False).record("sealed", count=gallery.newly_sealed)


def rotate(config: Config) -> None:
    """Seal everything with a new key, bound as the old one; interrupted anywhere, the next call goes on."""
    keys = build_keys(config)
    ring = ring_of(keys)
    if keys.is_credential and len(ring.keys) < 2:
        raise GalleryKeyError(
            f"{keys}: systemd gives it: make a longer one first (extend --output FILE), give it to systemd, and "
            "rotate again (docs/owner/secrets.md)"
        )
    kind = ring.bound_to
    turn_over(config, keys, ring, keys.board.of_kind(kind) if kind else None)


def turn_over(config: Config, keys: KeyStore, ring: KeyRing, identity: Identity | None) -> None:
    """Seal everything with the newest of two keys, a new one where there is one yet, and forget the older."""
    both = ring if len(ring.keys) > 1 else ring.with_new_key(identity)
    with open_any_gallery(config, read_only=True):
        pass  # whole, before anything is written
    if not keys.is_credential:
        keys.write(both)
    with open_any_gallery(config, read_only=False) as gallery:
        gallery.reseal()
        renew_others(config, gallery, both)
    if not keys.is_credential:
        keys.write(both.with_newest_only())
    build_audit(config, demo=False).record("key_rotated", count=both.newest)
    print(f"everything is sealed with key {both.newest}")


def bind(config: Config) -> None:
    """Seal everything with a key that opens on this board only."""
    board = build_keys(config).board
    identity = next(iter(board.identities()), None)
    if identity is None:
        raise GalleryKeyError(
            f"bind: expected an OTP key or a serial number that may be read below {board.root}, received none: "
            "keep the key elsewhere (docs/owner/secrets.md)"
        )
    rebind(config, identity)


def unbind(config: Config) -> None:
    """Seal everything with a key that opens on any board."""
    rebind(config, None)


def rebind(config: Config, identity: Identity | None) -> None:
    """Let the newest key be bound to this, or to nothing; what an interruption left is ended first."""
    keys = build_keys(config)
    if keys.is_credential:
        raise GalleryKeyError(
            f"{keys}: systemd gives it, bound to what it was encrypted with: see docs/owner/secrets.md"
        )
    if not config.gallery_path.exists():
        keys.write(ring_of(keys).with_new_key(identity).with_newest_only())  # nothing is sealed yet
    elif len(ring_of(keys).keys) > 1:
        rotate(config)
    ring = ring_of(keys)
    if ring.bound_to != (identity.kind if identity else None):
        turn_over(config, keys, ring, identity)
    print(bond_text(ring_of(keys), keys))


def renew_others(config: Config, gallery: Gallery, ring: KeyRing) -> None:
    """Seal the door's counts with the newest key, and let it open the backups that are here."""
    sealer = Sealer(ring.keys, "gallery")
    for kept in kept_files(config):
        with suppress(KeptLost):  # it stays lost until the owner accepts that
            if (known := kept.read()) is not None:
                kept.write(known)
    for backup in gallery.state().backups:
        try:
            rewrap(Path(backup), sealer, sealer)
        except FaceUnlockError as error:
            print(f"gallery_keys: only its passphrase opens it from now on: {error}", file=sys.stderr)


def kept_files(config: Config) -> list[KeptFile]:
    return [build_kept(config, name) for name in NAMES]


def accept(config: Config) -> None:
    """Take gallery, audit and counts as they are for the newest; rows must be whole. Without a gallery forget them."""
    if not config.gallery_path.exists():
        generation = generation_path(config.gallery_path, build_keys(config))
        for file in (generation, anchor_path(generation)):
            file.unlink(missing_ok=True)
        print("accepted: there is no gallery, and the next one counts anew")
        return
    begun = begin_anew(config)
    with open_any_gallery(config, read_only=True, any_generation=True) as gallery:
        generation_now = gallery.state().generation
        gallery.seal.accept(anchor_of_now(config, generation_now))
    build_audit(config, demo=False).record("accepted", count=generation_now)
    print(f"accepted: {config.gallery_path} as it is, change {generation_now}")
    for name in begun:
        print(f"accepted: {name} begins anew")


def begin_anew(config: Config) -> list[str]:
    """Delete counts that do not open, and name all that are lost."""
    lost = []
    for kept in kept_files(config):
        with suppress(GalleryKeyError):  # the anchor is lost as well: what opens is taken as it is
            try:
                kept.read()
            except KeptLost:
                lost.append(kept.path.name)
        if kept.count() is None:
            kept.path.unlink()
    return lost


def anchor_of_now(config: Config, generation: int) -> Anchor:
    """Return the marks of what is there."""
    ring = ring_of(build_keys(config))
    logs = {
        audit.path.name: (end.n, end.code)
        for audit in (open_audit(config, ring), open_outside_audit(config, ring))
        if (end := audit.end()) is not None
    }
    writes = {kept.name: count for kept in kept_files(config) if (count := kept.count())}
    return Anchor(generation, logs, writes)


def export(config: Config, command: str, output: Path) -> None:
    """Write a key file for systemd-creds; `retire` only where nothing needs the older keys any more."""
    keys = build_keys(config)
    ring = ring_of(keys)
    new = ring.with_new_key() if command == "extend" else ring.with_newest_only()
    if not add_private(output, format_ring(new)):
        raise UsageError(
            f"--output {output}: expected a new file, received one that is there: choose another"
        )
    print(f"{output}: key {new.newest} of {len(new.keys)}; encrypt it with systemd-creds and delete it")


def ring_of(keys: KeyStore) -> KeyRing:
    ring = keys.read()
    if ring is None:
        raise GalleryKeyError(
            f"{keys}: there is none yet: the first enrollment makes it, or put your copy back"
        )
    return ring


COMMANDS: dict[str, tuple[str, Callable[[Config], None] | None]] = {
    "show": ("where the key is, what it seals, and whether all is whole", show),
    "seal": ("make a key, or bring a gallery of an older release up to date", seal),
    "rotate": ("seal everything with a new key, forget the old one", rotate),
    "bind": ("the same, with a key that opens on this board only", bind),
    "unbind": ("the same, with a key that opens on any board", unbind),
    "accept": ("take this gallery for the newest, whatever was counted before", accept),
    "extend": ("for systemd credentials, with --output: the keys and a new one", None),
    "retire": ("for systemd credentials, with --output: the newest key alone", None),
}

if __name__ == "__main__":
    sys.exit(main())
