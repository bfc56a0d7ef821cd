"""Where the key of the gallery comes from, and what may be wrong with it.

First a systemd credential (`gallery.key` in $CREDENTIALS_DIRECTORY, from LoadCredentialEncrypted=), else a file that
only its owner reads, beside the gallery (`gallery.db.key`) or where `gallery_key` says. Its text:

    face-unlock keys 1
    key 2 <64 hex digits>      the newest key seals, all open
    audit 1 <64 hex digits>    of a retired key: only checks the audit records of its time, opens no template
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from device.errors import GalleryKeyError
from device.private_files import add_private, make_folder, replace_private
from device.sealing import KEY_BYTES, derive

CREDENTIAL = "gallery.key"
TITLE = "face-unlock keys 1"
LINE = re.compile(r"(key|audit) ([1-9][0-9]{0,8}) ([0-9a-f]*)")
MAX_FILE_BYTES = 100_000
AUDIT_PURPOSE = "audit"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys by version, and of those that were retired what checks the audit."""

    keys: Mapping[int, bytes] = field(repr=False)
    retired_audit_keys: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def newest(self) -> int:
        return max(self.keys)

    @property
    def audit_keys(self) -> dict[int, bytes]:
        """The keys of the audit chain, by version."""
        current = {version: derive(key, AUDIT_PURPOSE) for version, key in self.keys.items()}
        return {**self.retired_audit_keys, **current}

    def with_new_key(self) -> KeyRing:
        """Return a ring that seals with a fresh key and still opens what the others sealed."""
        newest = max([0, *self.keys, *self.retired_audit_keys]) + 1
        return KeyRing({**self.keys, newest: secrets.token_bytes(KEY_BYTES)}, self.retired_audit_keys)

    def with_newest_only(self) -> KeyRing:
        """Return a ring that forgot the older keys, all but what checks their audit records."""
        audit = {version: key for version, key in self.audit_keys.items() if version != self.newest}
        return KeyRing({self.newest: self.keys[self.newest]}, audit)


def new_ring() -> KeyRing:
    return KeyRing({}).with_new_key()


def written(ring: KeyRing) -> bytes:
    """Return the text of a key file."""
    lines = [TITLE]
    lines += [f"key {version} {key.hex()}" for version, key in sorted(ring.keys.items())]
    lines += [f"audit {version} {key.hex()}" for version, key in sorted(ring.retired_audit_keys.items())]
    return ("\n".join(lines) + "\n").encode()


def parsed(data: bytes, origin: str) -> KeyRing:
    """Read the text of a key file; `origin` names it in errors, which never show a key."""
    lines = data.decode("ascii", errors="replace").split("\n")
    if lines[0] != TITLE or lines[-1] != "":
        raise _damaged(origin, f"expected {TITLE!r} in its first line and a line feed at its end")
    found: dict[str, dict[int, bytes]] = {"key": {}, "audit": {}}
    for number, line in enumerate(lines[1:-1], 2):
        parts = LINE.fullmatch(line)
        if parts is None:
            raise _damaged(origin, f"line {number} is none of a key file")
        kind, version, digits = parts[1], int(parts[2]), parts[3]
        if len(digits) != 2 * KEY_BYTES:
            raise _damaged(
                origin, f"line {number} has {len(digits)} hex digits, expected {2 * KEY_BYTES} for a key"
            )
        if version in found["key"] or version in found["audit"]:
            raise _damaged(origin, f"line {number} names version {version} a second time")
        found[kind][version] = bytes.fromhex(digits)
    if not found["key"]:
        raise _damaged(origin, "it holds no key")
    return KeyRing(found["key"], found["audit"])


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The place of a gallery's key: a credential that systemd gives, or a file."""

    path: Path
    is_credential: bool

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
            return parsed(os.read(descriptor, MAX_FILE_BYTES), str(self))
        finally:
            os.close(descriptor)

    def create(self) -> KeyRing:
        """Make a first key; where another program was faster, return that one's."""
        ring = new_ring()
        with self._faults():
            make_folder(self.path)
            made = add_private(self.path, written(ring))
        return ring if made else self.read() or ring

    def write(self, ring: KeyRing) -> None:
        """Put these keys in the place of the old ones; a power cut leaves the old or the new file."""
        if self.is_credential:
            raise GalleryKeyError(
                f"{self}: systemd gives it, a program cannot change it: see docs/secrets.md for a new one"
            )
        with self._faults():
            replace_private(self.path, written(ring))

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
                f"{self}: others may read it (mode {state.st_mode & 0o777:04o}, expected 0600): chmod 600 it, and if "
                "others could, rotate the key (scripts/gallery_keys.py rotate)"
            )


def _damaged(origin: str, what: str) -> GalleryKeyError:
    return GalleryKeyError(f"{origin}: is damaged: {what}: restore your copy of it; nothing was changed")
