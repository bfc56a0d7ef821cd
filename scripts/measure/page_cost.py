"""Measure what the pages cost: python scripts/measure/page_cost.py

An enrollment of five samples from a clip is run without and with its page, which a client asks as a browser does; then
the status page is started and asked once. Prints peak resident memory of each process, MiB, and the CPU time that the
door spends for the status page on one line of its log, with a full file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.errors import FaceUnlockError
from device.journal.status import make_line
from device.page.snapshot import EVENTS_KEPT, Snapshot
from device.programs import Parser, run
from scripts.stage.paged import Paged
from scripts.stage.posing import write_posing

PORTRAIT = ROOT / "tests/data/astronaut.jpg"
MIB = 1024
LINES = 190  # fewer than a queue drops


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and return the exit code."""
    return run("page_cost", lambda: act(parse(arguments)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    return Parser(prog="page_cost.py", description="Measure what the pages cost.").parse_args(arguments)


def act(_: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_posing(folder / "posing.mp4", PORTRAIT, rounds=4)
        without, (with_page, page) = enrollment_kb(clip, folder), enrollment_with_page_kb(clip, folder)
        print(f"enrollment without a page   {without / MIB:6.0f} MiB")
        print(f"enrollment with a page      {with_page / MIB:6.0f} MiB")
        print(f"its page's process          {page / MIB:6.0f} MiB")
        print(f"status page, after a look   {status_kb(folder) / MIB:6.0f} MiB")
        print(f"a line of the door          {line_ms(folder / 'status.json'):6.2f} ms of CPU")
    return 0


def options(clip: Path, folder: Path, name: str) -> list[str]:
    return ["--name", "eileen", "--camera", str(clip), "--gallery", str(folder / f"{name}.db"), "--no-sheet"]


def enrollment_kb(clip: Path, folder: Path) -> int:
    command = [sys.executable, str(ROOT / "enroll.py"), *options(clip, folder, "without")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return peak_kb(process)


def enrollment_with_page_kb(clip: Path, folder: Path) -> tuple[int, int]:
    """Return the peaks of the enrollment and of its page's process."""
    program = Paged("enroll.py", *options(clip, folder, "with"), "--page-at", "127.0.0.1:0", folder=folder)
    page_kb = visit(program)
    return peak_kb(program.process), page_kb


def visit(program: Paged) -> int:
    """Enter, agree and look until the end, as the page's script does; return the peak of the page's process."""
    host = f"127.0.0.1:{program.port}"
    client = http.client.HTTPConnection(host)
    headers = {"Origin": f"http://{host}", "Content-Type": "application/x-www-form-urlencoded"}

    def post(path: str, **fields: str) -> http.client.HTTPResponse:
        client.request("POST", path, urlencode(fields), headers)
        answer = client.getresponse()
        answer.read()
        return answer

    cookie = post("/enter", token=program.address.rpartition("#")[2]).getheader("set-cookie", "")
    headers["Cookie"] = cookie.partition(";")[0]
    post("/answer", answer="yes")
    number, is_over = 0, False
    while not is_over:
        client.request("GET", f"/look?after={number}", headers=headers)
        told = json.loads(client.getresponse().read())
        number, is_over = told["number"], told["over"]
    page_kb = high_water_kb(program.page_process)
    post("/taken")
    return page_kb


def status_kb(folder: Path) -> int:
    bound = folder / "page.sock"
    module = ["-m", "device.page.status", "--file", str(folder / "none.json"), "--socket", str(bound)]
    process = subprocess.Popen([sys.executable, *module], cwd=ROOT)
    ask(bound)
    kb = high_water_kb(process.pid)
    process.terminate()
    process.wait()
    return kb


def line_ms(path: Path) -> float:
    """Return the CPU time that a door spends on each line for the page, ms."""
    about = {"stage": "compared", "reason": "below_threshold", "closeness": "far_below", "took_s": 2.1}
    line = make_line("approach", about, at=datetime.now(timezone.utc), demo=False)
    snapshot = Snapshot(path)
    for _ in range(EVENTS_KEPT):
        snapshot.put(line)
    began_s = time.process_time()
    for _ in range(LINES):
        snapshot.put(line)
    snapshot.close(60.0)
    return 1e3 * (time.process_time() - began_s) / LINES


def high_water_kb(number: int) -> int:
    """Return the peak of a running process; wait4 would give a small one its parent's, of before it was its own."""
    text = Path(f"/proc/{number}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s*(\d+) kB", text)
    assert found is not None
    return int(found[1])


def ask(bound: Path, patience_s: float = 60.0) -> None:
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(bound))
            except OSError:
                time.sleep(0.1)
                continue
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if re.match(rb"HTTP/1.1 200", client.recv(1000)):
                return
    raise FaceUnlockError("the status page does not answer: run it by hand to see why")


def peak_kb(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """Wait for a process to end; return its peak resident memory."""
    _, _, used = os.wait4(process.pid, 0)
    return used.ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
