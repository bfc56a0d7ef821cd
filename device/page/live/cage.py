"""The cage of a page's process: what it may still do once it has all that it needs.

Where systemd starts it (systemd/face-unlock-live@.service) most of this is done already, and more. Elsewhere this is
the cage: from root it becomes a user who owns nothing, no call gives it more rights, and where the kernel has Landlock
(5.13, as Debian 12) it opens no file but the program's own, connects to nobody and listens nowhere else. So it reaches
neither gallery nor key nor camera, also as the same user.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import struct
import sys
from pathlib import Path

OWN_USER, NOBODY = "face-unlock-live", "nobody"
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h
LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = (
    444,
    445,
    446,
)  # the numbers are those of every machine
RULE_PATH_BENEATH = 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
# What is asked for first, with the version of Landlock that knows it: all of files, files and TCP.
HANDLED = ((4, 0x7FFF, 0x3), (3, 0x7FFF, 0), (2, 0x3FFF, 0), (1, 0x1FFF, 0))
PROGRAM = Path(__file__).resolve().parents[2]


def enter() -> None:
    """Give up what is not needed; what this kernel cannot take away stays."""
    leave_root()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no other process of this user reads the token from its memory
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (0, 0))
    shut_files(libc)


def leave_root() -> None:
    """Become the page's own user, or nobody, where this is root and the program lies where others may read it."""
    if os.geteuid() != 0 or not is_open_to_others():
        return
    user = next(filter(None, map(known_user, (OWN_USER, NOBODY))), None)
    if user is not None:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)


def is_open_to_others() -> bool:
    """Say whether every user can load the program: a checkout in a folder of mode 0700 nobody else can."""
    places = [place for folder in map(Path, program_folders()) for place in (folder, *folder.parents)]
    return all(place.stat().st_mode & 0o001 for place in places if place.exists())


def known_user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def shut_files(libc: ctypes.CDLL) -> None:
    """Let this thread, and those that it starts, open nothing but the program and its libraries, for reading."""
    version = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    handled = next(((files, tcp) for least, files, tcp in HANDLED if version >= least), None)
    if handled is None:
        return
    attributes = struct.pack("=QQ", *handled)[: 16 if handled[1] else 8]
    rules = libc.syscall(LANDLOCK_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return
    for folder in program_folders():
        with contextlib.suppress(OSError):
            number = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", READ_FILE | READ_DIR, number)
            libc.syscall(LANDLOCK_ADD_RULE, rules, RULE_PATH_BENEATH, rule, 0)
            os.close(number)
    libc.syscall(LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


def program_folders() -> set[str]:
    """Return where modules are loaded from, also late; not the checkout, which may hold a gallery."""
    return {str(PROGRAM), *(each for each in sys.path if each and Path(each) != PROGRAM.parent)}
