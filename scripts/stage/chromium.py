"""A headless Chromium, driven over its debugging pipe (the Chrome DevTools Protocol); nothing else to install."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from device.errors import UsageError

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60.0
REBOUND = "rebound.example"  # a name that somebody bound anew to this machine
COMPLAINTS = {"Log.entryAdded": ("entry", "text"), "Runtime.exceptionThrown": ("exceptionDetails", "text")}
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
    "--ignore-certificate-errors", "--remote-debugging-pipe",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
)  # fmt: skip


def find_chromium() -> str:
    """Return the path of a Chromium; UsageError where there is none."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        raise UsageError(f"no Chromium: expected {' or '.join(NAMES)} on the path: apt install chromium")
    return found


class Chromium:
    """One browser with one tab at a time in hand; a context manager."""

    def __init__(self, folder: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # numbers that are neither 3 nor 4, which the browser reads and writes
        theirs = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (theirs_in, theirs_out)]

        def put_pipes() -> None:
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        command = [find_chromium(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            preexec_fn=put_pipes,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for each in (theirs_in, theirs_out, *theirs):
            os.close(each)
        self._out, self._in = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb", 0)
        self._rest, self._number, self._session = b"", 0, ""
        self._visitors: list[str] = []
        self.complaints: list[str] = []  # of what a page does: scripts that fail, content that is blocked
        self.open_tab()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self.ask("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()
        self._in.close()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session and not method.startswith(("Browser.", "Target.")):
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            if place := COMPLAINTS.get(answer.get("method", "")):
                about, text = place
                self.complaints.append(str(answer["params"][about][text]))

    def open_tab(self) -> None:
        """Open a tab that knows nothing of the others, as another browser's, and take it in hand."""
        self.complaints = []
        self._visitors.append(self.ask("Target.createBrowserContext")["browserContextId"])
        opened = self.ask("Target.createTarget", url="about:blank", browserContextId=self._visitors[-1])
        self._target = opened["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def close_tab(self) -> None:
        self.ask("Target.closeTarget", targetId=self._target)
        self._session = ""

    def close_tabs(self) -> None:
        """Close what is open, and forget what it knew."""
        self._session = ""
        while self._visitors:
            self.ask("Target.disposeBrowserContext", browserContextId=self._visitors.pop())

    def go(self, address: str) -> str:
        """Open an address; return what failed, "" where nothing did."""
        return str(self.ask("Page.navigate", url=address).get("errorText", ""))

    def evaluate(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, script: str, patience_s: float = PATIENCE_S) -> Any:
        """Wait until a script gives something true, and return that."""
        until_s = time.monotonic() + patience_s
        while time.monotonic() < until_s:
            with contextlib.suppress(RuntimeError):  # between two documents
                if found := self.evaluate(script):
                    return found
            time.sleep(0.1)
        raise AssertionError(
            f"never true: {script}; the page says: {self.evaluate('document.body.innerText')}"
        )

    def heard(self) -> list[tuple[str, str]]:
        """Return role and name of all that a screen reader meets on this page."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return [
            (str(each["role"]["value"]), str(each.get("name", {}).get("value", "")))
            for each in nodes
            if not each["ignored"] and "role" in each
        ]

    def press(self, key: str) -> None:
        """Press and release a key: Tab, Enter."""
        codes = {"Tab": (9, ""), "Enter": (13, "\r")}
        code, text = codes[key]
        for kind in ("keyDown", "keyUp"):
            about = {"text": text} if text and kind == "keyDown" else {}
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **about
            )

    def set_screen(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def photograph(self) -> bytes:
        """Return what is shown now as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._in.fileno(), 65536)
            if not part:
                raise OSError("the browser has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))
