"""What a real browser makes of the pages: read aloud, on a narrow phone, in the dark, and with no foreign script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from device.journal.status import make_line
from device.page.crowd import spoken
from device.page.guard import LIMITS
from device.page.place import bind
from device.page.snapshot import Snapshot
from device.page.status import status_app
from device.page.visitor import pages_of, states_of
from device.page.window import Window
from scripts.stage.chromium import Chromium
from tests.support.pages import start_in_thread

IMAGE = np.full((480, 640, 3), 90, np.uint8)
NARROW = (320, 560)
IS_WIDER = "document.documentElement.scrollWidth > innerWidth"
GROUND = "getComputedStyle(document.body).backgroundColor"
SMALL = """[...document.querySelectorAll('button, input')].filter(
    each => each.getBoundingClientRect().height < 44).map(each => each.innerText)"""  # for a finger
LINES = (
    ("ready", {"is_locked": True}),
    (
        "approach",
        {
            "stage": "seen",
            "reason": "too_dark",
            "measured": 1.4,
            "limit": 2.0,
            "advice": "a lamp before the face",
        },
    ),
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def window() -> Iterator[Window]:
    """A page of an enrollment, without the enrollment."""
    place = bind("127.0.0.1:0")
    view, question = pages_of("alice", 5, None)
    window = Window(place, view=view, question=question, start=start_in_thread)
    window.host = place.host  # type: ignore[attr-defined]
    yield window
    window.close()


@pytest.fixture
def status(tmp_path: Path) -> Iterator[str]:
    """The address of a status page with a person and a refusal."""
    facts = {"people": [{"name": "Zoë", "since": "2026-02-01T10:00:00Z", "rules": ["access face"]}]}
    snapshot = Snapshot(tmp_path / "status.json", lambda: facts)
    for name, fields in LINES:
        snapshot.put(make_line(name, fields, at=datetime.now(timezone.utc), demo=False))
    snapshot.close(10.0)
    app = status_app(tmp_path / "status.json")
    server = uvicorn.Server(uvicorn.Config(app, http=spoken(), **LIMITS))  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join(30)


def address(window: Window) -> str:
    return f"http://{window.host}/"  # type: ignore[attr-defined]


def agree(browser: Chromium, window: Window) -> None:
    browser.go(f"{address(window)}#{window.token}")
    browser.wait("!!document.querySelector('button[value=yes]')")
    browser.evaluate("document.querySelector('button[value=yes]').click()")
    browser.wait("!!document.getElementById('view')")
    window.show(IMAGE, None, hint="Turn a little left: 4 of 10 degrees", poses=states_of(1, 5))
    browser.wait("document.querySelectorAll('li.done').length === 1")


def test_the_whole_address_serves_in_a_tab_that_has_the_page_already(
    browser: Chromium, window: Window
) -> None:
    """Only what stands behind the mark changes then, and a browser loads nothing anew."""
    browser.go(address(window))
    browser.wait("!!document.getElementById('token')")
    browser.evaluate(f"location.href = '{address(window)}#{window.token}'")
    browser.wait("!!document.querySelector('button[value=yes]')")


def test_a_screen_reader_meets_every_part_of_an_enrollment(browser: Chromium, window: Window) -> None:
    browser.go(address(window))
    browser.wait("!!document.getElementById('token')")
    heard = browser.heard()
    assert ("textbox", "The code that the terminal shows") in heard
    assert ("button", "Enter") in heard
    browser.go(f"{address(window)}#{window.token}")
    browser.wait("!!document.querySelector('button[value=yes]')")
    heard = browser.heard()
    assert ("heading", "Enrollment of alice") in heard
    assert ("button", "I am alice, and I agree") in heard
    assert ("button", "No, store nothing") in heard
    agree(browser, window)
    heard = browser.heard()
    roles = [role for role, _ in heard]
    assert ("image", "What the door's camera sees, mirrored") in heard
    assert ("button", "Stop, store nothing") in heard
    assert ("list", "Poses") in heard
    assert roles.count("listitem") == 5
    assert roles.count("status") == 1
    assert "Turn a little left: 4 of 10 degrees" in [name for role, name in heard if role == "StaticText"]
    assert browser.evaluate("document.querySelector('li[aria-current=step]').innerText.startsWith('Turn')")


def test_a_hint_is_said_once_and_not_for_each_number(browser: Chromium, window: Window) -> None:
    agree(browser, window)
    spoken = "document.getElementById('spoken').textContent"
    said = browser.wait(spoken)
    window.show(IMAGE, None, hint="Turn a little left: 7 of 10 degrees", poses=states_of(1, 5))
    browser.wait("document.getElementById('hint').textContent.includes('7 of 10')")
    assert browser.evaluate(spoken) == said


def test_a_phones_table_is_still_one_to_a_screen_reader(browser: Chromium, status: str) -> None:
    browser.set_screen(*NARROW, mobile=True)
    browser.go(status)
    browser.wait("document.title === 'The door'")
    heard = browser.heard()
    roles = [role for role, _ in heard]
    assert [name for role, name in heard if role == "table"] == ["Last events", "People"]
    assert roles.count("row") == 2 + 3  # the heads, two events, one person
    assert "columnheader" in roles
    assert "cell" in roles
    assert "button" not in roles


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_nothing_is_wider_than_a_narrow_phone_in_either_light(
    browser: Chromium, window: Window, status: str, is_dark: bool
) -> None:
    browser.set_screen(*NARROW, dark=is_dark, mobile=True)
    ground = "rgb(18, 18, 18)" if is_dark else "rgb(255, 255, 255)"

    def check() -> None:
        browser.wait(f"{GROUND} === '{ground}'")  # with the page's style
        assert not browser.evaluate(IS_WIDER)
        assert browser.evaluate(SMALL) == []

    browser.go(status)
    browser.wait("document.title === 'The door'")
    check()
    browser.go(address(window))
    browser.wait("!!document.getElementById('token')")
    check()
    agree(browser, window)
    check()
    assert browser.complaints == []


def test_a_script_that_was_smuggled_in_does_not_run(browser: Chromium, window: Window) -> None:
    agree(browser, window)
    browser.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.bad = 1\">')"
    )
    browser.evaluate(
        "const evil = document.createElement('script'); evil.textContent = 'window.bad = 1'; document.body.append(evil)"
    )
    browser.evaluate("fetch('https://203.0.113.9/').catch(() => { window.kept = 1 })")
    assert browser.wait("window.kept") == 1
    assert browser.evaluate("window.bad === undefined")
    assert any("Content Security Policy" in each for each in browser.complaints)


def test_the_way_back_shows_no_picture(browser: Chromium, window: Window) -> None:
    agree(browser, window)
    window.end(hint="Ended")
    browser.wait("document.getElementById('hint').textContent === 'Ended'")
    window.close()
    browser.go("about:blank")
    browser.evaluate("history.back()")
    assert browser.wait("!document.getElementById('view')?.src.startsWith('data:')")
