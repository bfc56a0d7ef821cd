"""An enrollment in a real browser: a clip is the camera, the poses fill, and the page is gone afterwards."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scripts.stage.chromium import REBOUND, Chromium
from scripts.stage.paged import Paged
from scripts.stage.posing import write_posing
from tests.support.pages import Guest

PORTRAIT = Path("tests/data/astronaut.jpg")
AGREE = "[...document.querySelectorAll('button')].find(each => each.value === 'yes')"
HINT = "document.getElementById('hint')?.textContent"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def posing_clip(tmp_path_factory: pytest.TempPathFactory, real_model: None, chromium: Chromium) -> Path:
    return write_posing(tmp_path_factory.mktemp("clips") / "posing.mp4", PORTRAIT, rounds=4)


class Enrollment(Paged):
    """enroll.py with a page, as a process of its own, in a folder of its own."""

    def __init__(self, clip: Path, folder: Path, config: Path, *options: str) -> None:
        self.gallery = folder / "gallery.db"
        whom = ("--name", "alice", "--camera", str(clip))
        super().__init__(
            "enroll.py",
            *whom,
            "--gallery",
            str(self.gallery),
            "--config",
            str(config),
            *options,
            folder=folder,
        )

    def people(self) -> int:
        with closing(sqlite3.connect(self.gallery)) as database:
            return int(database.execute("select count(*) from templates").fetchone()[0])


@pytest.fixture
def enroll(tmp_path: Path, posing_clip: Path, empty_config: Path) -> Iterator[Callable[..., Enrollment]]:
    begun: list[Enrollment] = []

    def start(*options: str) -> Enrollment:
        folder = tmp_path / "door"
        folder.mkdir()
        begun.append(Enrollment(posing_clip, folder, empty_config, *options))
        return begun[-1]

    yield start
    for each in begun:
        each.close()


def agree(browser: Chromium, address: str) -> None:
    assert browser.go(address) == ""
    browser.wait(f"!!({AGREE})")
    assert browser.evaluate("location.hash + location.search") == ""  # the token is not left in the address
    browser.evaluate(f"({AGREE}).click()")
    browser.wait(
        "document.getElementById('view')?.src.startsWith('data:image/')"
    )  # one sample may be over already


def test_the_poses_fill_the_enrollment_ends_and_the_page_is_gone(enroll, browser: Chromium) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0", "--samples", "5")
    agree(browser, enrollment.address)
    browser.wait("document.querySelectorAll('li.done').length >= 1")
    assert browser.wait("document.querySelector('li[aria-current=step]')?.id").startswith("pose-")
    assert browser.wait(f"/degrees|Good|Look|Turn|Lift|Lower/.test({HINT}) && {HINT}")
    browser.wait(f"{HINT}.startsWith('Enrolled alice: 5 templates')")
    assert browser.complaints == []  # nothing is blocked, no script fails
    assert browser.evaluate("document.querySelectorAll('li.done').length") == 5
    assert browser.evaluate("document.getElementById('view').src").startswith(
        "data:image/png"
    )  # the contact sheet
    assert browser.evaluate("document.getElementById('spoken').textContent").startswith("Enrolled alice")
    code, out, err = enrollment.end()
    assert (code, "enrolled alice: 5 templates" in out) == (0, True), err
    assert enrollment.people() == 5
    assert not enrollment.is_served
    assert browser.go(enrollment.address.partition("#")[0]) != ""
    left = {path.name.split(".")[0] for path in enrollment.folder.iterdir()}
    assert left == {"gallery"}  # no picture, no sheet, no certificate


def test_over_tls_with_the_boards_own_address(enroll, browser: Chromium) -> None:
    from device.page.place import own_address

    if own_address().startswith("127."):
        pytest.skip("this machine has no network: no address but the loopback")
    enrollment = enroll("--page", "--samples", "1")
    assert enrollment.address.startswith("https://")
    assert "█" in enrollment.said
    assert "SHA-256" in enrollment.process.stderr.readline() + enrollment.process.stderr.readline()
    agree(browser, enrollment.address)
    browser.wait(f"{HINT}.startsWith('Enrolled alice: 1 template')")
    assert enrollment.end()[0] == 0


def test_a_tab_that_is_closed_in_mid_enrollment_stores_nothing(enroll, browser: Chromium) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0", "--samples", "50")
    agree(browser, enrollment.address)
    browser.wait("document.querySelectorAll('li.now').length === 1")
    browser.close_tab()
    code, _, err = enrollment.end()
    assert code == 8
    assert "the page was closed" in err
    assert "nothing was stored" in err
    assert enrollment.people() == 0
    assert not enrollment.is_served


def test_a_page_that_is_killed_in_mid_enrollment_ends_it_in_a_line(enroll) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0", "--samples", "50")
    guest = Guest(f"127.0.0.1:{enrollment.port}")
    assert guest.post("/enter", token=enrollment.address.rpartition("#")[2]) == 303
    assert guest.post("/answer", answer="yes") == 303
    assert guest.get("/look?after=0") == 200  # the camera runs
    os.kill(enrollment.page_process, signal.SIGKILL)
    code, _, err = enrollment.end()
    assert code == 8
    assert err.count("the page's process is gone (SIGKILL): nothing was stored: try again\n") == 1
    assert enrollment.people() == 0
    assert not enrollment.is_served


def test_it_works_by_keyboard_alone_and_no_ends_it(enroll, browser: Chromium) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0")
    assert browser.go(enrollment.address) == ""
    browser.wait(f"!!({AGREE})")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.value") == "yes"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.value") == "no"
    browser.press("Enter")
    code, _, err = enrollment.end()
    assert (code, "said no" in err, enrollment.people()) == (8, True, 0)


def test_five_wrong_codes_that_are_typed_end_it(enroll, browser: Chromium) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0")
    plain = enrollment.address.partition("#")[0]
    for number in range(1, 6):
        assert browser.go(plain) == ""
        browser.wait("!!document.getElementById('token')")
        browser.evaluate(f"document.getElementById('token').value = 'WRONG-CODE-{number}'")
        browser.evaluate("document.querySelector('#entry button').click()")
        browser.wait(
            f"document.querySelector('[role=alert]')?.innerText.includes('{'wrong' if number < 5 else 'ended'}')"
        )
    code, _, err = enrollment.end()
    assert (code, "five wrong codes were tried" in err, enrollment.people()) == (8, True, 0)
    assert not enrollment.is_served


def test_a_name_that_was_bound_anew_shows_nothing(enroll, browser: Chromium) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0", "--samples", "50")
    agree(browser, enrollment.address)
    assert browser.go(f"http://{REBOUND}:{enrollment.port}/") == ""
    assert "another address" in browser.wait("document.body.innerText")
    asked = "fetch('/look?after=0').then(answer => { window.got = answer.status })"
    browser.evaluate(asked)
    assert browser.wait("window.got") == 421


def test_a_second_browser_with_the_same_address_is_refused(enroll, browser: Chromium) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0", "--samples", "50")
    agree(browser, enrollment.address)
    browser.open_tab()
    browser.go(enrollment.address)
    browser.wait("document.body.innerText.includes('good once')")
    assert browser.evaluate("document.getElementById('view') === null")


def test_a_client_that_sends_and_reads_nothing_holds_nobody_up(enroll, browser: Chromium) -> None:
    enrollment = enroll("--page-at", "127.0.0.1:0", "--samples", "1")
    idle = [socket.create_connection(("127.0.0.1", enrollment.port)) for _ in range(5)]
    try:
        idle[0].sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0")
        began_s = time.monotonic()
        agree(browser, enrollment.address)
        browser.wait(f"{HINT}.startsWith('Enrolled alice')")
        code, _, err = enrollment.end()
        assert code == 0, err
        assert time.monotonic() - began_s < 120
    finally:
        for each in idle:
            each.close()


def test_the_cameras_page_shows_what_is_measured_and_ends_with_its_button(
    browser: Chromium, posing_clip: Path, tmp_path: Path, empty_config: Path
) -> None:
    options = ("--camera", str(posing_clip), "--config", str(empty_config), "--page-at", "127.0.0.1:0")
    program = Paged("scripts/aim.py", *options, folder=tmp_path)
    try:
        browser.go(program.address)
        browser.wait("document.getElementById('value-size')?.textContent.includes('px wide')")
        browser.wait("document.getElementById('view').src.startsWith('data:image/jpeg')")
        browser.evaluate("document.querySelector('button[value=no]').click()")
        code, _, err = program.end()
        assert (code, program.is_served) == (0, False), err
    finally:
        program.close()
