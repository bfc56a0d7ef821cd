"""Ask the lock process for one pulse as the recognizer would, and stay: for a machine too slow to recognize anybody.

sudo -u face-unlock /opt/face-unlock/.venv/bin/python scripts/board/ask.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.lock.client import RemoteLock
from device.programs import Parser, run

SOCKET = Path("/run/face-unlock-lock/bolt.sock")  # of face-unlock-lock.service
LOOK_S = 0.2  # a frame each


def main(arguments: list[str] | None = None) -> int:
    """Ask once, then beat until it is stopped."""
    Parser(
        prog="ask.py", description="Ask the lock process for one pulse, as the recognizer would."
    ).parse_args(arguments)
    return run("ask", ask)


def ask() -> int:
    lock = RemoteLock(SOCKET, life_s=10.0)
    lock.unlock()
    print("asked", flush=True)
    while True:
        lock.check()
        time.sleep(LOOK_S)


if __name__ == "__main__":
    sys.exit(main())
