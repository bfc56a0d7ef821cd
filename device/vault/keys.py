"""Find, read and write the key of the gallery.

First a systemd credential (`gallery.key` in $CREDENTIALS_DIRECTORY, from LoadCredentialEncrypted=), else a file that
only its owner reads, beside the gallery (`gallery.db.key`) or where `gallery_key` says. Its text:

    face-unlock keys 1
    key 2 <64 hex digits>      the newest key seals, all open
    bound 3 serial <salt, 32> <mark, 16> <64 hex digits>    a key that opens nothing but on its board (board.py)
    audit 1 <64 hex digits>    of a retired key: only checks the audit records of its time, opens no template

A bound key is made of the digits here and of what the board gives for the salt; the mark tells another board.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from device.command import owner_command
from device.errors import GalleryBoardError, GalleryKeyError
from device.vault.board import NAMES, Board, Identity
from device.vault.files import add_private, make_folder, replace_private
from device.vault.sealing import KEY_BYTES, derive

CREDENTIAL = "gallery.key"
TITLE = "face-unlock keys 1"
BOND = rf" (?P<by>{'|'.join(NAMES)}) (?P<salt>[0-9a-f]{{32}}) (?P<mark>[0-9a-f]{{16}})"
LINE = re.compile(
    rf"(?P<kind>key|audit|bound) (?P<version>[1-9][0-9]{{0,8}})(?:{BOND})? (?P<digits>[0-9a-f]*)"
)
SALT_BYTES, MARK_BYTES = 16, 8
MAX_FILE_BYTES = 100_000
AUDIT_PURPOSE = "audit"


@dataclass(frozen=True, slots=True)
class Bond:
    """What the file holds of a key that is bound to a board."""

    kind: str
    salt: bytes
    mark: bytes
    part: bytes = field(repr=False)

    @classmethod
    def new(cls, identity: Identity, salt: bytes | None = None) -> Bond:
        """Bind a fresh part; the salt of another bond saves stretching twice."""
        salt = salt or secrets.token_bytes(SALT_BYTES)
        mark = _mark(identity.material(salt))
        return cls(identity.kind, salt, mark, secrets.token_bytes(KEY_BYTES))

    def key(self, identity: Identity) -> bytes | None:
        """Return the key, None on another board."""
        material = identity.material(self.salt)
        if not hmac.compare_digest(self.mark, _mark(material)):
            return None
        return derive(self.part + material, "bound key")


def _mark(material: bytes) -> bytes:
    return derive(material, "board mark")[:MARK_BYTES]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys by version, of those that were retired what checks the audit, and which are bound to this board."""

    keys: Mapping[int, bytes] = field(repr=False)
    retired_audit_keys: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    bonds: Mapping[int, Bond] = field(default_factory=dict, repr=False)

    @property
    def newest(self) -> int:
        return max(self.keys)

    @property
    def bound_to(self) -> str | None:
        """The kind of what the newest key is bound to, None where it is not."""
        bond = self.bonds.get(self.newest)
        return bond.kind if bond is not None else None

    @property
    def audit_keys(self) -> dict[int, bytes]:
        """The keys of the audit chain, by version."""
        current = {version: derive(key, AUDIT_PURPOSE) for version, key in self.keys.items()}
        return {**self.retired_audit_keys, **current}

    def with_new_key(self, identity: Identity | None = None) -> KeyRing:
        """Return a ring that seals with a fresh key, bound to what the board has, and opens what the others sealed."""
        newest = max([0, *self.keys, *self.retired_audit_keys]) + 1
        if identity is None:
            keys = {**self.keys, newest: secrets.token_bytes(KEY_BYTES)}
            return KeyRing(keys, self.retired_audit_keys, self.bonds)
        salts = [bond.salt for bond in self.bonds.values() if bond.kind == identity.kind]
        bond = Bond.new(identity, *salts[:1])
        key = derive(bond.part + identity.material(bond.salt), "bound key")
        return KeyRing({**self.keys, newest: key}, self.retired_audit_keys, {**self.bonds, newest: bond})

    def with_newest_only(self) -> KeyRing:
        """Return a ring that forgot the older keys, all but what checks their audit records."""
        audit = {version: key for version, key in self.audit_keys.items() if version != self.newest}
        bonds = {version: bond for version, bond in self.bonds.items() if version == self.newest}
        return KeyRing({self.newest: self.keys[self.newest]}, audit, bonds)


def new_ring(identity: Identity | None = None) -> KeyRing:
    return KeyRing({}).with_new_key(identity)


def format_ring(ring: KeyRing) -> bytes:
    """Return the text of a key file."""
    lines = [TITLE]
    lines += [_line(version, key, ring.bonds.get(version)) for version, key in sorted(ring.keys.items())]
    lines += [f"audit {version} {key.hex()}" for version, key in sorted(ring.retired_audit_keys.items())]
    return ("\n".join(lines) + "\n").encode()


def _line(version: int, key: bytes, bond: Bond | None) -> str:
    if bond is None:
        return f"key {version} {key.hex()}"
    return f"bound {version} {bond.kind} {bond.salt.hex()} {bond.mark.hex()} {bond.part.hex()}"


def parse_ring(data: bytes, origin: str, board: Board | None = None) -> KeyRing:
    """Read the text of a key file on a board; `origin` names it in errors, which never show a key."""
    lines = data.decode("ascii", errors="replace").split("\n")
    if lines[0] != TITLE or lines[-1] != "":
        raise _damaged(origin, f"expected {TITLE!r} in its first line and a line feed at its end")
    found: dict[str, dict[int, bytes]] = {"key": {}, "audit": {}, "bound": {}}
    bonds: dict[int, Bond] = {}
    for number, line in enumerate(lines[1:-1], 2):
        parts = LINE.fullmatch(line)
        if parts is None or (parts["kind"] == "bound") != (parts["by"] is not None):
            raise _damaged(origin, f"line {number} is none of a key file")
        kind, version, digits = parts["kind"], int(parts["version"]), parts["digits"]
        if len(digits) != 2 * KEY_BYTES:
            raise _damaged(
                origin, f"line {number} has {len(digits)} hex digits, expected {2 * KEY_BYTES} for a key"
            )
        if any(version in versions for versions in found.values()):
            raise _damaged(origin, f"line {number} names version {version} a second time")
        found[kind][version] = bytes.fromhex(digits)
        if kind == "bound":
            salt, mark = bytes.fromhex(parts["salt"]), bytes.fromhex(parts["mark"])
            bonds[version] = Bond(parts["by"], salt, mark, found[kind][version])
    if not found["key"] and not bonds:
        raise _damaged(origin, "it holds no key")
    opened = {version: _opened(bond, origin, board or Board.here()) for version, bond in bonds.items()}
    return KeyRing({**found["key"], **opened}, found["audit"], bonds)


def _opened(bond: Bond, origin: str, board: Board) -> bytes:
    """Return a bound key, or say that this is not its board."""
    identity, name = board.of_kind(bond.kind), NAMES[bond.kind]
    key = bond.key(identity) if identity is not None else None
    if key is None:
        mark = _mark(identity.material(bond.salt)).hex() if identity else None
        received = f"with mark {mark}" if mark else "that can be read: none"
        raise GalleryBoardError(
            f"{origin}: was bound to another board: expected its {name}, with mark {bond.mark.hex()}, received one "
            f"{received}: put the card back into its board, restore a backup ({owner_command('backup restore')}), or "
            "move key and gallery away and enroll again"
        )
    return key


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The place of a gallery's key: a credential that systemd gives, or a file."""

    path: Path
    is_credential: bool
    board: Board = field(default_factory=Board.here)

    @classmethod
    def of(
        cls, gallery: Path, key_file: Path | None = None, environ: Mapping[str, str] = os.environ
    ) -> KeyStore:
        """Find the place of a gallery's key; the credential goes before a file."""
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if folder and (Path(folder) / CREDENTIAL).exists():
            return cls(Path(folder) / CREDENTIAL, True)
        return cls(key_file or gallery.with_name(f"{gallery.name}.key"), False)

    def __str__(self) -> str:
        return f"{'credential' if self.is_credential else 'key file'} {str(self.path)[:120]}"

    def read(self) -> KeyRing | None:
        """Return the keys, None where there is no such file."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or error
            raise GalleryKeyError(f"{self}: cannot be read: {cause}: check the path and the rights") from None
        try:
            self._check(os.fstat(descriptor))
            return parse_ring(os.read(descriptor, MAX_FILE_BYTES), str(self), self.board)
        finally:
            os.close(descriptor)

    def create(self) -> KeyRing:
        """Make a first key, bound to this board; where another program was faster, return that one's."""
        ring = new_ring(self.board.unasked())
        with self._faults():
            make_folder(self.path)
            made = add_private(self.path, format_ring(ring))
        return ring if made else self.read() or ring

    def write(self, ring: KeyRing) -> None:
        """Put these keys in the place of the old ones; a power cut leaves the old or the new file."""
        if self.is_credential:
            raise GalleryKeyError(
                f"{self}: systemd gives it, a program cannot change it: see docs/owner/secrets.md for a new one"
            )
        with self._faults():
            replace_private(self.path, format_ring(ring))

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise GalleryKeyError(
                f"{self}: cannot be written: {error.strerror or error}: check the path and the rights"
            ) from error

    def _check(self, state: os.stat_result) -> None:
        if not stat.S_ISREG(state.st_mode):
            raise GalleryKeyError(f"{self}: expected a file, received something else: name a file")
        # systemd itself guards its credentials; with an access control list their group bits are only its mask.
        if not self.is_credential and state.st_mode & 0o077:
            raise GalleryKeyError(
                f"{self}: others may read it (mode {state.st_mode & 0o777:04o}, expected 0600): chmod 600 {self.path}, "
                f"and if others could, rotate the key ({owner_command('keys rotate')})"
            )


class LatestKeys:
    """The keys as they are now; those of before while they cannot be read: a key on a stick that was pulled out."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._known: KeyRing | None = None

    def __call__(self) -> KeyRing | None:
        """Return the keys, None where there never were any."""
        with suppress(GalleryKeyError):
            self._known = self._store.read() or self._known
        return self._known


def check_bond(store: KeyStore) -> None:
    """Refuse a key that is bound to nothing on a board that has something to bind to: anybody may have made it."""
    identity = store.board.unasked()
    if store.is_credential or identity is None:
        return
    ring = store.read()
    if ring is not None and ring.bound_to is None:
        raise GalleryKeyError(
            f"{store}: is bound to nothing, and this board has its {NAMES[identity.kind]}: anybody could have put key "
            f"and gallery here: if they are yours, bind them ({owner_command('keys bind')}), or set unbound_key = true"
        )


def bond_text(ring: KeyRing, store: KeyStore) -> str:
    """Say what a thief of the card would need besides."""
    if store.is_credential:
        return "the key is kept by systemd"
    if ring.bound_to is None:
        return (
            f"the key is bound to nothing: whoever has {store.path} and the gallery can read it "
            "(docs/owner/secrets.md)"
        )
    return (
        f"the key is bound to this board, by its {NAMES[ring.bound_to]}: on another one only a backup with a "
        f"passphrase brings everybody back ({owner_command('backup create FILE')})"
    )


def _damaged(origin: str, what: str) -> GalleryKeyError:
    return GalleryKeyError(f"{origin}: is damaged: {what}: restore your copy of it; nothing was changed")
