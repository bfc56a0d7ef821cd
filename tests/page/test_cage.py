"""The cage of a page that starts as root: it becomes a user who owns nothing, where that user can load it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.page.live.cage import NOBODY, OWN_USER, known_user
from device.page.live.wire import MAX_SAID_BYTES, Wire
from device.page.place import bind
from tests.support.checkout import ROOT
from tests.support.pages import Guest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which a page may have to give up")


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="face-unlock-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def checkout(folder: Path, mode: int) -> Path:
    """Copy the program into a folder of a mode."""
    place = folder / "checkout"
    shutil.copytree(ROOT / "device", place / "device", ignore=shutil.ignore_patterns("__pycache__"))
    place.chmod(mode)
    return place


def interpreters() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield Pythons with the libraries of this one, and their environment: this one, and the system's."""
    libraries = next(each for each in sys.path if each.endswith("site-packages"))
    yield sys.executable, {}
    yield "/usr/bin/python3", {"PYTHONPATH": libraries}


def open_python() -> tuple[str, dict[str, str]] | None:
    """Return one that every user can load whole, None where there is none."""
    program = "import sys, uvicorn, cryptography.x509; print(sys.version_info[:2], *filter(None, sys.path), sep='\\n')"
    for python, more in interpreters():
        command = [python, "-c", program]
        done = subprocess.run(command, cwd="/", env=more, capture_output=True, text=True, check=False)
        version, *folders = done.stdout.splitlines() or [""]
        places = [place for each in map(Path, folders) for place in (each, *each.parents) if place.exists()]
        if version == str(sys.version_info[:2]) and all(each.stat().st_mode & 0o001 for each in places):
            return python, more
    return None


def serve(
    place: Path, python: str = sys.executable, more: dict[str, str] | None = None
) -> tuple[int, str, list[int]]:
    """Start a page from a checkout as `enroll.py` does; return its user, its cage and how each address answers."""
    ours, theirs = socket.socketpair()
    at = bind("127.0.0.1:0")
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}
    with theirs:
        command = [python, "-m", "device.page.live"]
        process = subprocess.Popen(command, cwd=place, env=environment, stdin=theirs.fileno())
    wire = Wire(ours, longest=MAX_SAID_BYTES)
    about = {"host": at.host, "address": at.ip, "is_tls": at.is_tls, "view": "<p>view</p>", "question": ""}
    try:
        wire.send(about, at.socket)
        token = next(wire.packets())["token"]
        said = Path(f"/proc/{process.pid}/status").read_text()
        user = int(said.partition("\nUid:\t")[2].split()[0])
        guest = Guest(at.host)
        answers = [guest.get(path) for path in ("/", "/page.css", "/live.js")]
        answers.append(guest.post("/enter", token=token))
        return user, said, answers
    finally:
        at.socket.close()
        wire.end()
        assert process.wait(60) == 0
        wire.close()


def test_where_all_may_read_the_program_it_becomes_a_user_who_owns_nothing(outside: Path) -> None:
    found = open_python()
    if found is None:
        pytest.skip("the libraries lie where no other user may read them")
    user, said, answers = serve(checkout(outside, 0o755), *found)
    expected = known_user(OWN_USER) or known_user(NOBODY)
    assert expected is not None
    assert user == expected.pw_uid
    assert "\nGroups:\t \n" in said
    assert "\nCapEff:\t0000000000000000\n" in said
    assert answers == [200, 200, 200, 303]


def test_in_a_folder_of_root_alone_it_keeps_its_user_and_works(outside: Path) -> None:
    """As `nobody` it could load nothing any more that is loaded late."""
    user, said, answers = serve(checkout(outside, 0o700))
    assert user == 0
    assert "NoNewPrivs:\t1" in said
    assert answers == [200, 200, 200, 303]


def test_in_a_folder_of_root_alone_the_rest_of_the_cage_holds(outside: Path) -> None:
    place = checkout(outside, 0o700)
    key = outside / "gallery.db.key"
    key.write_text("secret")
    program = f"""
from pathlib import Path
from device.page.live import cage
cage.enter()
import device.page.place  # late, and still there
try:
    print(Path({str(key)!r}).read_text())
except PermissionError:
    print("shut")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == ("shut\n" if has_landlock() else "secret\n")


def has_landlock() -> bool:
    import ctypes

    return ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1
