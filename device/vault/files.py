"""Private files, written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOLD_TIMEOUT_S = 2.0  # how long to wait for another program: a door must not hang


def create_private(path: Path) -> None:
    """Make an empty file, 0600, and its folder, 0700, where they are missing; its name survives a power cut."""
    make_folder(path)
    with suppress(FileExistsError):
        os.close(_open_private(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        sync_folder(path)  # a file whose content alone was synced may be gone, name and all


def make_folder(path: Path) -> None:
    """Make the folder of a file, 0700, where it is missing."""
    folder = path.absolute().parent
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)  # a umask may have taken away even the owner's rights


def replace_private(path: Path, data: bytes) -> None:
    """Put a new private file in the place of an old one; a power cut leaves the one or the other, whole."""
    with _draft(path, lambda: data) as draft:
        draft.replace(path)


def update_private(path: Path, change: Callable[[], bytes]) -> None:
    """Do the same with what `change` makes of the old one, while other programs that use this module wait."""
    with _draft(path, change) as draft:
        draft.replace(path)


def add_private(path: Path, data: bytes) -> bool:
    """Make a private file where there is none, at once and whole; False where there is one."""
    with _draft(path, lambda: data) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
    return True


@contextmanager
def _draft(path: Path, make: Callable[[], bytes]) -> Iterator[Path]:
    """Yield a whole file beside `path`; the folder is held, so that two programs do not share the draft."""
    draft, folder = path.with_name(f"{path.name}.new"), os.open(path.absolute().parent, os.O_RDONLY)
    try:
        hold(folder, path.absolute().parent)
        data = make()
        with suppress(FileNotFoundError):
            draft.unlink()
        descriptor = _open_private(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        except BaseException:
            draft.unlink()
            raise
        finally:
            os.close(descriptor)
        yield draft
        os.fsync(folder)
    finally:
        os.close(folder)


def hold(descriptor: int, path: Path, timeout_s: float = HOLD_TIMEOUT_S) -> None:
    """Keep other programs out of an open file or folder until it is closed; OSError where one does not let go."""
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise OSError(f"another program holds {path} for more than {timeout_s:g} s") from None
            time.sleep(0.01)


def sync_folder(path: Path) -> None:
    """Sync a folder, so that a new, renamed or deleted file stays so after a power cut."""
    descriptor = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def erase(path: Path) -> None:
    """Write zeros over a file, then delete it; a card's controller may keep old cells all the same."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        write_all(descriptor, bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync_folder(path)


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _open_private(path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    if os.geteuid() == 0:  # enrolled with sudo, read by the service: its folder's owner owns the file
        owner = path.absolute().parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor
