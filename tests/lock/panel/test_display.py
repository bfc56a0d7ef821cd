"""The display at the door: large words for what is asked, drawn aside; without it or with a broken one all goes on."""

from __future__ import annotations

import threading
import time
from importlib.util import find_spec

import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory

from device.config import Config, LivenessConfig
from device.decide.moves import Move
from device.doctor.checks.challenge import ways_to_tell
from device.lock.panel import display
from device.lock.panel.display import TEXTS, Display, drawn, open_display
from device.lock.panel.outputs import Outputs
from device.lock.wire import ALARM, QUIET, SIGNALS

pytest.importorskip("PIL", reason="luma.oled brings Pillow")


class Screen:
    """What is used of a luma device; `drawn` waits for a text that is shown."""

    width, height, mode = 128, 64, "1"

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []
        self.hidden = False

    def display(self, image) -> None:
        self.pictures.append(np.asarray(image, np.uint8))

    def hide(self) -> None:
        self.hidden = True


def until(condition, seconds: float = 5.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    assert condition()


@pytest.mark.parametrize("text", sorted(set(TEXTS.values())))
def test_each_text_is_large_and_within_the_screen(text):
    picture = np.asarray(drawn(text, Screen()), np.uint8)
    assert picture.shape == (64, 128)
    rows, columns = np.nonzero(picture)
    assert np.ptp(columns) >= 40
    assert np.ptp(rows) >= 24
    assert rows.min() > 0
    assert rows.max() < 63


def test_there_is_a_text_for_each_signal_and_for_each_move():
    assert set(TEXTS) == set(SIGNALS) - {QUIET, ALARM}
    assert {str(move) for move in Move} <= set(TEXTS)


def test_what_is_asked_is_shown_then_nothing_and_the_end_leaves_a_dark_screen():
    screen = Screen()
    shown = Display(lambda: screen, pytest.fail)
    shown.show("turn\nleft")
    until(lambda: any(picture.any() for picture in screen.pictures))
    shown.show("")
    until(lambda: not screen.pictures[-1].any())
    shown.show("nod")
    until(lambda: screen.pictures[-1].any())
    shown.close()
    assert not screen.pictures[-1].any()
    assert screen.hidden


def test_a_bus_that_hangs_holds_nobody_up():
    hangs, told = threading.Event(), []
    shown = Display(lambda: hangs.wait(30), told.append)
    began_s = time.monotonic()
    for text in TEXTS.values():
        shown.show(text)
    assert time.monotonic() - began_s < 1
    shown.close()
    hangs.set()


def test_a_screen_that_is_not_there_is_told_once_and_tried_again(monkeypatch):
    monkeypatch.setattr(display, "RETRY_S", 0.02)
    told, tries, screen = [], [], Screen()

    def open_screen() -> Screen:
        tries.append(1)
        if len(tries) < 4:
            raise OSError(121, "Remote I/O error")
        return screen

    shown = Display(open_screen, told.append)
    shown.show("nod")
    until(lambda: any(picture.any() for picture in screen.pictures))
    shown.close()
    assert len(told) == 1
    assert "Remote I/O error: the door works without it" in told[0]


def test_a_cable_that_is_pulled_and_put_back_shows_the_text_again(monkeypatch):
    monkeypatch.setattr(display, "RETRY_S", 0.02)
    told, screen = [], Screen()
    pulled = [False]
    real = screen.display

    def display_or_fail(image) -> None:
        if pulled[0]:
            raise OSError(5, "Input/output error")
        real(image)

    screen.display = display_or_fail
    shown = Display(lambda: screen, told.append)
    until(lambda: screen.pictures)
    pulled[0] = True
    shown.show("nod")
    until(lambda: told)
    pulled[0] = False
    until(lambda: screen.pictures[-1].any())
    shown.close()


def test_no_display_is_started_where_none_is_configured():
    assert open_display(LivenessConfig(), pytest.fail) is None


@pytest.mark.skipif(find_spec("luma") is not None, reason="luma.oled is installed here")
def test_without_the_library_the_door_works_and_says_what_is_missing():
    told: list[str] = []
    shown = open_display(LivenessConfig(display="ssd1306"), told.append)
    until(lambda: told)
    shown.close()
    assert "No module named 'luma'" in told[0]
    assert "requirements/display.txt" in told[0]


def test_the_outputs_show_what_they_play(monkeypatch):
    shown: list[str] = []

    class Shown:
        def show(self, text: str) -> None:
            shown.append(text)

        def close(self) -> None:
            shown.append("closed")

    monkeypatch.setattr("device.lock.panel.outputs.open_display", lambda settings, warn: Shown())
    outputs = Outputs(Config(liveness=LivenessConfig(display="ssd1306")), pin_factory=MockFactory())
    for signal in ("hold_still", "turn_left", QUIET):
        outputs.play(signal)
    outputs.play(ALARM)
    outputs.close()
    assert shown == [TEXTS["hold_still"], TEXTS["turn_left"], "", "closed"]


def test_a_display_tells_a_challenge_to_the_doctor_too():
    assert ways_to_tell(Config(liveness=LivenessConfig(display="ssd1306", led_pin=22))) == ["led", "display"]
