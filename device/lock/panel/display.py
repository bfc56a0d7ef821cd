"""Display: a small screen at the door that says in large words what a challenge asks for.

An SSD1306 on I2C, through luma.oled (requirements/display.txt). A thread of its own draws: a bus that hangs holds up no
lock. Like buzzer and LED, it may be missing, and is told once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from device.config import LivenessConfig

# What is shown for each signal; left and right are the person's own.
TEXTS = {
    "hold_still": "look\nhere",
    "blink": "close\nyour eyes",
    "turn_left": "turn\nleft",
    "turn_right": "turn\nright",
    "turn_left_little": "a little\nleft",
    "turn_right_little": "a little\nright",
    "turn_left_far": "far\nleft",
    "turn_right_far": "far\nright",
    "nod": "nod",
    "back": "look\nhere",
}
LARGEST_PX, SMALLEST_PX = 60, 8  # of the letters
RETRY_S = 10.0  # a screen that failed is opened anew this often
CLOSE_WAIT_S = 1.0


class Screen(Protocol):
    """What is used of a luma device."""

    width: int
    height: int
    mode: str

    def display(self, image: Any) -> None: ...
    def hide(self) -> None: ...


class Display:
    """Show one text at a time; `show` never waits.

    Args:
        open_screen: opens the screen; it may fail, hang and be called again.
        warn: hears once of each outage, in the thread of the display.
    """

    def __init__(self, open_screen: Callable[[], Screen], warn: Callable[[str], None]) -> None:
        self._open_screen, self._warn = open_screen, warn
        self._changed = threading.Condition()
        self._text, self._shown = "", ""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        """Show a text, "" for nothing; of several that come while one is drawn, the last."""
        with self._changed:
            self._text = text
            self._changed.notify_all()

    def close(self) -> None:
        """Clear the screen and end; never hangs, even where the bus does."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_WAIT_S)

    def _run(self) -> None:
        told = False
        while not self._closing:
            try:
                self._follow(self._open_screen())
                return
            except Exception as error:  # no library, no bus, no screen, a cable that was pulled
                if not told:
                    told = True
                    text = " ".join(str(error).split()) or type(error).__name__
                    self._warn(
                        f"liveness.display: {text}: the door works without it: check cable, bus, address and "
                        "requirements/display.txt"
                    )
            self._shown = ""
            with self._changed:
                self._changed.wait_for(lambda: self._closing, RETRY_S)

    def _follow(self, screen: Screen) -> None:
        """Draw each text that is new, until the end."""
        screen.display(drawn("", screen))
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._text != self._shown)
                text = self._text
            if text != self._shown:
                screen.display(drawn(text, screen))
                self._shown = text
        with suppress(Exception):
            screen.display(drawn("", screen))
            screen.hide()


def drawn(text: str, screen: Screen) -> Any:
    """Return a picture of the screen's size with a text in its middle, in the largest letters that fit."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new(screen.mode, (screen.width, screen.height))
    pen = ImageDraw.Draw(picture)
    for size_px in range(LARGEST_PX, SMALLEST_PX - 1, -2):
        font = ImageFont.load_default(size=size_px)
        left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font, align="center", spacing=2)
        if right - left <= screen.width and bottom - top <= screen.height:
            break
    at = ((screen.width - right - left) / 2, (screen.height - bottom - top) / 2)
    pen.multiline_text(at, text, fill="white", font=font, align="center", spacing=2)
    return picture


def open_display(settings: LivenessConfig, warn: Callable[[str], None]) -> Display | None:
    """Start the configured display, None where there is none."""
    if not settings.display:
        return None

    def open_screen() -> Screen:
        from luma.core.interface.serial import i2c
        from luma.oled.device import ssd1306

        screen = ssd1306(i2c(port=settings.display_bus, address=settings.display_address))
        screen.persist = True  # else luma talks to the bus once more at the interpreter's end
        return screen

    return Display(open_screen, warn)
