"""The page's process and the program's end of it: whichever dies, the other does not go on alone."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from device.errors import EnrollmentError
from device.page import window as window_module
from device.page.live.cage import is_open_to_others
from device.page.live.wire import AGREED, MAX_SAID_BYTES, Wire
from device.page.place import Place, bind
from device.page.window import EVERY_S, Started, Window
from tests.support.checkout import ROOT
from tests.support.pages import Guest, start_in_thread
from tests.support.waiting import wait_until

PICTURE = np.full((480, 640, 3), 90, np.uint8)


def is_served(place: Place) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(place.host.rpartition(":")[2]))) == 0


@pytest.fixture
def place() -> Iterator[Place]:
    place = bind("127.0.0.1:0")
    yield place
    place.socket.close()


def test_it_is_a_process_of_its_own_that_can_do_nothing_but_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    window = Window(place, view="<p>view</p>", question="<p>agree?</p>")
    process = window._started.process
    assert process is not None
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert b"CREDENTIALS" not in Path(f"/proc/{process.pid}/environ").read_bytes()
        if os.geteuid() == 0 and is_open_to_others():
            assert "Uid:\t0" not in status
        guest = Guest(place.host)
        assert [guest.get("/"), guest.get("/page.css"), guest.get("/live.js")] == [200, 200, 200]
        assert guest.post("/enter", token=window.token) == 303
        assert guest.post("/answer", answer="yes") == 303
        window.wait_for_start(30)
        assert window.has_agreed
        window.show(PICTURE, None, hint="look straight")
        assert guest.get("/look?after=0") == 200
    finally:
        window.close()
    assert process.returncode == 0
    assert not is_served(place)
    assert not window.is_lost


def test_a_page_that_is_killed_is_lost_and_its_address_gone(place: Place) -> None:
    window = Window(place, view="")
    process = window._started.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: window.is_lost)
    assert window.is_ended
    assert "SIGKILL" in window.loss
    assert not is_served(place)
    window.show(PICTURE, None)  # to nobody, and no fault
    window.close()


def test_with_the_program_its_page_dies() -> None:
    program = (
        "import os, time; from device.page.place import bind; from device.page.window import Window; "
        "place = bind('127.0.0.1:0'); window = Window(place, view=''); "
        "print(place.host, window._started.process.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    host, number = process.stdout.readline().split()
    process.kill()
    process.communicate()
    wait_until(lambda: not Path(f"/proc/{number}").exists() or "\nState:\tZ" in status_of(number))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(host.rpartition(":")[2]))) != 0


def status_of(number: str) -> str:
    try:
        return Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return "\nState:\tZ"


def test_a_page_that_hangs_holds_nobody_up_for_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.page.live.wire.SEND_WAIT_S", 0.2)
    monkeypatch.setattr(window_module, "END_S", 0.2)
    window = Window(place, view="")
    process = window._started.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    noise = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    for _ in range(20):
        window.show(noise, None)
    wait_until(lambda: window.is_lost)
    assert "it hangs" in window.loss
    window.close()
    assert process.returncode == -signal.SIGKILL


def test_a_page_that_hangs_and_is_systemds_keeps_no_address(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program cannot kill another user's process; it ends the listening instead."""
    monkeypatch.setattr(window_module, "END_S", 0.2)
    children: list[subprocess.Popen[bytes]] = []

    def start_as_systemd_does() -> Started:
        started = window_module.start_child()
        assert started.process is not None
        children.append(started.process)
        return Started(started.control, None, "the log")

    window = Window(place, view="", start=start_as_systemd_does)
    try:
        os.kill(children[0].pid, signal.SIGSTOP)
        assert is_served(place)
        window.close()
        assert not is_served(place)
    finally:
        children[0].kill()
        children[0].wait()


def test_a_no_that_comes_before_it_is_settled_is_heard(place: Place) -> None:
    window = Window(place, view="", start=start_in_thread)
    guest = Guest(place.host)
    assert guest.post("/enter", token=window.token) == 303
    assert guest.post("/answer", answer="no") == 303
    assert not window.settle()
    assert window.has_declined
    window.close()


def test_a_no_that_comes_after_it_is_settled_changes_nothing(place: Place) -> None:
    window = Window(place, view="", start=start_in_thread)
    guest = Guest(place.host)
    assert guest.post("/enter", token=window.token) == 303
    assert window.settle()
    assert guest.post("/answer", answer="no") == 303
    assert guest.get("/") == 200
    assert not window.has_declined
    window.close()


def test_a_page_that_does_not_answer_settles_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "SETTLE_S", 0.1)
    ours, theirs = socket.socketpair()
    theirs.sendall(b'{"token": "ABC"}\n')
    window = Window(place, view="", start=lambda: Started(ours, None, "the log"))
    assert not window.settle()
    theirs.close()
    window.close()


def test_a_page_that_cannot_start_says_why_in_a_line(place: Place) -> None:
    def start_broken() -> Started:
        ours, theirs = socket.socketpair()
        with theirs:
            return Started(
                ours, subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]), "the lines above"
            )

    with pytest.raises(
        EnrollmentError, match=r"did not start \(exit code 3\): nothing was stored: see the lines"
    ):
        Window(place, view="", start=start_broken)
    assert not is_served(place)


def test_it_is_not_started_by_hand() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "device.page.live"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "run `face-unlock enroll NAME --page`" in done.stderr


def test_systemd_starts_it_where_its_socket_is(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd does with Accept=yes and StandardInput=socket: the connection is the process's stdin."""
    path = tmp_path / "live.sock"
    monkeypatch.setattr(window_module, "UNIT_SOCKET", path)
    monkeypatch.setattr(window_module, "start_child", lambda: pytest.fail("started a child"))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()
        begun: list[subprocess.Popen[bytes]] = []

        def accept() -> None:
            given, _ = bound.accept()
            with given:
                command = [sys.executable, "-m", "device.page.live"]
                begun.append(subprocess.Popen(command, cwd=ROOT, stdin=given.fileno()))

        threading.Thread(target=accept, daemon=True).start()
        window = Window(place, view="", start=window_module.start)
        assert Guest(place.host).get("/") == 200
        window.close()
        assert begun[0].wait(30) == 0
    assert not is_served(place)


@pytest.mark.parametrize(
    "said", [b"{}\n", b"[]\n", b"\xff\n", b"x" * 3 * MAX_SAID_BYTES, b'{"token": "\\u001b[2J"}\n']
)
def test_a_page_in_other_hands_says_nothing_that_counts(place: Place, said: bytes) -> None:
    def start_foreign() -> Started:
        ours, theirs = socket.socketpair()
        theirs.sendall(said)
        theirs.close()
        return Started(ours, None, "the log")

    with pytest.raises(EnrollmentError, match="did not start"):
        Window(place, view="", start=start_foreign)


def test_words_that_are_not_known_are_passed_over(place: Place) -> None:
    ours, theirs = socket.socketpair()
    lines = [
        {"token": "ABC", "fingerprint": ""},
        {"said": ["x"]},
        {"said": "open"},
        {"other": 1},
        {"said": AGREED},
    ]
    theirs.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    window = Window(place, view="", start=lambda: Started(ours, None, "the log"))
    window.wait_for_start(30)
    assert (window.has_agreed, window.has_declined, window.is_lost) == (True, False, False)
    theirs.close()
    window.close()


def test_pictures_are_due_a_few_times_a_second(place: Place) -> None:
    now_s = [100.0]
    window = Window(place, view="", start=start_in_thread, now=lambda: now_s[0])
    shown = 0
    for _ in range(60):  # two seconds of a camera
        if window.is_due():
            window.show(PICTURE, None)
            shown += 1
        now_s[0] += 1 / 30
    window.close()
    assert shown <= 2 / EVERY_S + 1


def test_a_line_comes_whole_however_it_was_cut() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(theirs, longest=1000)
    for part in (b'{"a"', b": 1}\n{", b'"b": 2}\n'):
        ours.sendall(part)
        time.sleep(0.01)
    ours.close()
    assert list(wire.packets()) == [{"a": 1}, {"b": 2}]
    wire.close()


def test_in_its_cage_it_opens_no_file_but_its_own_and_connects_to_nobody(tmp_path: Path) -> None:
    key = tmp_path / "gallery.db.key"
    key.write_text("secret")
    key.chmod(0o644)
    program = f"""
import socket, sys
from pathlib import Path
from device.page.live import cage
cage.enter()
def tried(deed):
    try:
        deed()
    except OSError as fault:
        return type(fault).__name__
    return "done"
print(tried(Path({str(key)!r}).read_text), tried(Path({str(tmp_path / "new")!r}).touch),
      tried(lambda: socket.socket().connect(("127.0.0.1", 9))), tried(Path(cage.__file__).read_text))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    read, made, connected, own = done.stdout.split()
    assert own == "done"
    if has_landlock():
        assert (read, made, connected) == ("PermissionError", "PermissionError", "PermissionError")


def has_landlock() -> bool:
    return ctypes.CDLL(None).syscall(444, None, 0, 1) >= 4


def test_it_loads_neither_camera_nor_numbers_nor_a_gallery() -> None:
    heavy = "{'numpy', 'cv2', 'sqlite3', 'sqlite_utils', 'mediapipe', 'device.build', 'device.gallery', 'device.vault'}"
    program = f"import sys, device.page.live.__main__; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
