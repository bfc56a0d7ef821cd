"""The audience of an enrollment: what it shows, how it ends, and where a page can be."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import cv2
import numpy as np
import pytest

from device.enroll.collector import POSES, Verdict
from device.errors import EnrollmentError, UsageError
from device.page.invitation import qr_code
from device.page.live.tokens import MAX_WRONG
from device.page.place import bind, own_address
from device.page.visitor import PageAudience, hint_of, pages_of, states_of
from device.page.window import Window
from device.types import HeadPose
from tests.support.checkout import run_program
from tests.support.pages import Guest, start_in_thread

IMAGE = np.full((480, 640, 3), 90, np.uint8)
BOX = (200.0, 100.0, 150.0, 150.0)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def audience(said: list[str]) -> Iterator[PageAudience]:
    with PageAudience(
        bind("127.0.0.1:0"), tell=said.append, start_page=start_in_thread, start_wait_s=30.0, away_s=0.5
    ) as audience:
        yield audience


def welcome(audience: PageAudience) -> tuple[threading.Thread, list[BaseException]]:
    """Let an enrollment wait for its visitor in another thread."""
    faults: list[BaseException] = []

    def wait() -> None:
        try:
            audience.welcome("alice", 5, None)
        except EnrollmentError as fault:
            faults.append(fault)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, faults


def token_of(said: list[str]) -> str:
    while not said:
        time.sleep(0.01)
    return said[0].partition("#")[2][:12]


def test_five_wrong_codes_end_the_enrollment(audience: PageAudience, said: list[str]) -> None:
    thread, faults = welcome(audience)
    token_of(said)
    guest = Guest(audience.place.host)
    assert [guest.post("/enter", token="WRONG") for _ in range(MAX_WRONG)] == [403] * MAX_WRONG
    thread.join(20)
    assert "five wrong codes" in str(faults[0])
    assert "nothing was stored" in str(faults[0])


def test_who_agrees_is_waited_for_and_whoever_goes_away_then_ends_it(
    audience: PageAudience, said: list[str]
) -> None:
    thread, faults = welcome(audience)
    guest = Guest(audience.place.host)
    assert guest.post("/enter", token=token_of(said)) == 303
    assert thread.is_alive()  # consent comes before the camera
    time.sleep(0.6)  # whoever reads the question for long is not away
    assert guest.post("/answer", answer="yes") == 303
    thread.join(20)
    assert faults == []
    audience.see(IMAGE, Verdict(False, "look straight", BOX), 0)
    time.sleep(0.6)  # longer than it may be away
    with pytest.raises(EnrollmentError, match="the page was closed"):
        audience.see(IMAGE, Verdict(False, "look straight", BOX), 0)


def test_who_says_no_ends_it(audience: PageAudience, said: list[str]) -> None:
    thread, faults = welcome(audience)
    guest = Guest(audience.place.host)
    guest.post("/enter", token=token_of(said))
    guest.post("/answer", answer="no")
    thread.join(20)
    assert "said no" in str(faults[0])


def test_whoever_says_no_after_the_last_look_is_heard_before_anything_is_stored(
    audience: PageAudience, said: list[str]
) -> None:
    """A question at the terminal may stand between the last pose and the gallery."""
    thread, _ = welcome(audience)
    guest = Guest(audience.place.host)
    guest.post("/enter", token=token_of(said))
    guest.post("/answer", answer="yes")
    thread.join(20)
    audience.see(IMAGE, Verdict(True, "", BOX), 5)
    guest.post("/answer", answer="no")
    with pytest.raises(EnrollmentError, match="said no on the page: nothing was stored"):
        audience.settle()


def test_what_fails_after_it_was_settled_is_not_said_to_have_stored_nothing(
    audience: PageAudience, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Window, "end", lambda self, **told: shown.append(told["hint"]))
    thread, _ = welcome(audience)
    guest = Guest(audience.place.host)
    guest.post("/enter", token=token_of(said))
    guest.post("/answer", answer="yes")
    thread.join(20)
    fault = OSError("the disk is full")
    audience.__exit__(OSError, fault, None)
    audience._is_settled = True
    audience.__exit__(OSError, fault, None)
    assert ["nothing was stored" in each for each in shown] == [True, False]


def test_a_second_ctrl_c_leaves_no_address_either(
    audience: PageAudience, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Window, **told: object) -> None:
        raise KeyboardInterrupt

    thread, _ = welcome(audience)
    guest = Guest(audience.place.host)
    guest.post("/enter", token=token_of(said))
    guest.post("/answer", answer="yes")
    thread.join(20)
    monkeypatch.setattr(Window, "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audience.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(audience.place.host.rpartition(":")[2]))) != 0


def test_nobody_comes() -> None:
    with PageAudience(
        bind("127.0.0.1:0"), tell=lambda line: None, start_page=start_in_thread, start_wait_s=0.1
    ) as audience:
        with pytest.raises(EnrollmentError, match=r"nobody agreed .* nothing was stored"):
            audience.welcome("alice", 5, None)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(audience.place.host.rpartition(":")[2]))) != 0


def test_the_question_names_the_person_and_what_is_kept_for_how_long() -> None:
    view, question = pages_of("Zoë <b>", 3, datetime(2027, 1, 31, tzinfo=timezone.utc))
    for page in (view, question):
        assert "Zoë &lt;b&gt;" in page
        assert "<b>" not in page
    assert "3 looks" in question
    assert "on 2027-01-31" in question
    assert "No picture is stored" in question
    assert view.count("<li ") == 3


@pytest.mark.parametrize(
    ("kept", "samples", "states"),
    [
        (0, 5, ["now", "", "", "", ""]),
        (2, 5, ["done", "done", "now", "", ""]),
        (5, 5, ["done"] * 5),
        (1, 2, ["done", "now"]),
        (5, 7, ["now", "", "done", "done", "done"]),
        (6, 7, ["done", "now", "done", "done", "done"]),
    ],
)
def test_the_ring_shows_which_poses_are_done(kept: int, samples: int, states: list[str]) -> None:
    assert list(states_of(kept, samples).values()) == states


def test_a_hint_has_the_measured_angle_and_its_limit() -> None:
    left = POSES[1].instruction
    assert hint_of(Verdict(False, left, BOX, HeadPose(4.2, 0, 0)), 1) == "Turn a little left: 4 of 10 degrees"
    assert (
        hint_of(Verdict(False, left, BOX, HeadPose(-9.0, 0, 0)), 1) == "Turn a little left: 0 of 10 degrees"
    )
    straight = Verdict(False, "look straight", BOX, HeadPose(20.0, 0, 0))
    assert hint_of(straight, 0) == "Look straight: 20 of at most 8 degrees"
    assert hint_of(Verdict(False, "too dark: signal 1.0, needs 2", BOX), 1) == "Too dark: signal 1.0, needs 2"
    assert hint_of(Verdict(True, left, BOX, HeadPose(0, 0, 0)), 1) == "Good. Turn a little left"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("evil.example", "an address of this machine"),
        ("203.0.113.9", "Cannot assign requested address: expected"),
        ("0.0.0.0", "not one address"),
        ("::", "not one address"),
        ("127.0.0.1:99999", "port"),
        ("127.0.0.1:x", "port"),
    ],
)
def test_a_place_where_no_page_can_be_is_named(text: str, cause: str) -> None:
    with pytest.raises(UsageError, match=f"--page-at {text}.*{cause}"):
        bind(text)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="in use"):
        bind(f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.parametrize("text", ["127.0.0.1", "[::1]"])
def test_on_the_loopback_it_is_plain(text: str) -> None:
    place = bind(text)
    place.socket.close()
    assert not place.is_tls
    assert place.address.startswith(f"http://{text}:")


def test_a_camera_reads_the_address_from_the_terminal() -> None:
    address = "https://192.168.1.7:41234/#K7QF2MXRB4TN"
    pair = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}  # what is lit, above and below
    rows = []
    for line in qr_code(address).splitlines():
        rows += [[pair[each][half] for each in line] for half in (0, 1)]
    picture = np.kron(np.array(rows, np.uint8) * 255, np.ones((8, 8), np.uint8))
    assert cv2.QRCodeDetector().detectAndDecode(picture)[0] == address


def test_this_machine_has_an_address() -> None:
    assert own_address().count(".") == 3


def test_photographs_have_no_page() -> None:
    done = run_program("enroll.py", "--name", "alice", "--images", "tests/data/astronaut.jpg", "--page")
    assert (done.returncode, "--page: shows a camera" in done.stderr) == (2, True)
