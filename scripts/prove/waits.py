"""How long the machine kept the door's processes waiting for a processor: no bound of the door can hold that back.

Linux counts it for each thread: the time in which it was ready to run and another ran (/proc/PID/task/TID/schedstat).
It is near zero on a machine that does nothing else, and a process that hangs or was stopped gathers none. Linux counts
a wait once it is over, and who was killed waits for a processor once more and is then gone: so a wait under way counts
too, from the reading on that saw it. Where the kernel does not count, it is zero, and every bound stands as written.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path

STEP_S = 0.05  # between two readings


def waited_s(threads: Iterable[Path]) -> dict[str, float]:
    """Return for each thread, a folder of /proc, the seconds that it has waited for a processor."""
    found = {}
    for thread in threads:
        try:
            found[str(thread)] = int((thread / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # it has ended, or nobody counts here
            continue
    return found


def threads_of(pid: int) -> list[Path]:
    """Return the threads of a process as folders of /proc; none where it has ended."""
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


class Underway:
    """Waits that the kernel has not counted yet: of threads that are ready, and have not run since that was seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}  # what the kernel counted, and when that was first read

    def waited_s(self, threads: Iterable[Path], now_s: float) -> dict[str, float]:
        """Return for each thread the seconds that it has waited, with those of a wait under way."""
        known, self._seen, found = self._seen, {}, {}
        for thread in threads:
            try:
                counted = (thread / "schedstat").read_text(encoding="ascii")
                state = (
                    (thread / "stat")
                    .read_text(encoding="utf-8", errors="replace")
                    .rpartition(")")[2]
                    .split()[0]
                )
                waited_s = int(counted.split()[1]) / 1e9
            except (OSError, ValueError, IndexError):  # it has ended, or nobody counts here
                continue
            before, since_s = known.get(str(thread), ("", now_s))
            if counted != before:
                since_s = now_s
            self._seen[str(thread)] = counted if state == "R" else "", since_s
            found[str(thread)] = waited_s + (now_s - since_s if state == "R" else 0.0)
        return found


class Waits:
    """Reads again and again how long some processes have waited, and tells it of any time that is past.

    Args:
        pids: gives the processes that are alive now.
        threads: threads of this process that count too, by their native number.
    """

    def __init__(
        self, pids: Callable[[], Iterable[int]], threads: Callable[[], Iterable[int]] = tuple
    ) -> None:
        self._pids, self._threads = pids, threads
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._reader = threading.Thread(target=self._run, daemon=True)
        self._at_s, self._sums_s, self._underway = [time.monotonic()], [0.0], Underway()
        with self._lock:
            self._reader.start()
            self._last = self._now()

    def between(self, start_s: float, end_s: float) -> float:
        """Return the seconds of waiting between two monotonic times, a reading more at both ends."""
        self._read()
        with self._lock:
            first = max(0, bisect_right(self._at_s, start_s) - 1)
            last = min(len(self._at_s) - 1, bisect_left(self._at_s, end_s))
            return self._sums_s[last] - self._sums_s[first]

    def since(self, start_s: float) -> float:
        """Return the seconds of waiting from a monotonic time until now."""
        return self.between(start_s, time.monotonic())

    def close(self) -> None:
        self._ending.set()
        self._reader.join(10)

    def _run(self) -> None:
        while not self._ending.wait(STEP_S):
            self._read()

    def _now(self) -> dict[str, float]:
        own = [Path(f"/proc/self/task/{each}") for each in (*self._threads(), self._reader.native_id)]
        threads = [*own, *(thread for pid in self._pids() for thread in threads_of(pid))]
        return self._underway.waited_s(threads, time.monotonic())

    def _read(self) -> None:
        with self._lock:
            now = self._now()
            added = sum(max(0.0, seconds - self._last.get(name, 0.0)) for name, seconds in now.items())
            self._last = now
            self._at_s.append(time.monotonic())
            self._sums_s.append(self._sums_s[-1] + added)
